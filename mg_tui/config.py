"""Configuration: garden.toml, the environment, paths.

Later wins: built-in defaults, the user's `garden.toml` (the platform's configuration folder), `./garden.toml`,
`MODEL_GARDEN_*` in the environment, flags. `MODEL_GARDEN_HOME` names the home; `MODEL_GARDEN_TRAIN_LEARNING_RATE=1e-4`
sets a default of `train-vision`. The keys of [paths], [ui], [runs], [server] and [cost] are in `mg_tui.core.settings`,
those of [train] and of each [presets.NAME] are the fields of TrainingSpec, those of [datasets.NAME] are in
`mg_tui.core.named_datasets`; [filters] has filters of runs by name; [keys] names actions of the dashboard; [notify]
has URLs for messages by name, as MODEL_GARDEN_NOTIFY_NAME does.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.paths import expand_user
from mg_tui.core.settings import SETTINGS, SETTINGS_BY_ID, Setting

APP_NAME: Final = "model-garden"
CONFIG_FILE_NAME: Final = "garden.toml"
ENV_PREFIX: Final = "MODEL_GARDEN_"

_OTHER_TABLES: Final = ("train", "presets", "datasets", "filters", "keys", "notify")
TABLES: Final = (*dict.fromkeys(setting.table for setting in SETTINGS), *_OTHER_TABLES)
DEFAULT_ORIGIN: Final = "default"
HOME_FLAG: Final = "--home"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of every front end.

    Attributes:
        home: folder of runs, created on first use.
        cache: folder of downloads and other data that can be recreated.
        train: defaults for fields of `TrainingSpec`, by name; values as the files or the environment gave them.
        ui, runs, cost, server: the `[ui]`, `[runs]`, `[cost]` and `[server]` tables, with values from the environment.
        presets: named sets of values for fields of `TrainingSpec`, as the files gave them.
        datasets: named datasets, by keys of `mg_tui.core.named_datasets.DATASET_KEYS`, as the files gave them.
        filters: filters of runs by name, as the files gave them.
        keys: keys of the dashboard's actions, by the action's id, with commas between several.
        notify: URLs that messages are sent to, by name.
        sources: the files that were read, later ones over earlier ones.
        origins: where the value of each setting is from, by its id: a file, a variable, a flag, or "default"; and the
            file or variable of each entry of `[keys]` and `[train]`.
    """

    home: Path
    cache: Path
    train: Mapping[str, Any] = field(default_factory=dict)
    ui: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    filters: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    notify: Mapping[str, str] = field(default_factory=dict, repr=False)
    sources: tuple[Path, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def value(self, setting: Setting) -> Any:
        """The effective value of a setting."""
        if setting.table == "paths":
            return str(getattr(self, setting.name))
        return getattr(self, setting.table).get(setting.name, setting.default)

    @property
    def resume_interrupted(self) -> bool:
        """Whether runs interrupted by a restart are resumed automatically."""
        return bool(self.value(SETTINGS_BY_ID["runs.resume_interrupted"]))

    def train_origins(self) -> dict[str, str]:
        """File or variable of each default of `train-vision`, by field, for messages."""
        origins = {name: self.origins.get(f"train.{name}") for name in self.train}
        return {name: origin for name, origin in origins.items() if origin is not None}


def load_settings(
    *, home: Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Settings:
    """Read the configuration files and the environment.

    Args:
        home: the value of `--home`, which wins over everything.
        environ: the environment; by default the process's own.
        cwd: the folder of `./garden.toml`; by default the working directory.

    Raises:
        UsageError: a file is not TOML, or a file or variable has an unknown table, key or value.
    """
    environ = os.environ if environ is None else environ
    tables: dict[str, dict[str, Any]] = {name: {} for name in TABLES}
    origins = {setting.id: DEFAULT_ORIGIN for setting in SETTINGS}
    sources = []
    for path in (user_config_file(environ), (cwd or Path.cwd()) / CONFIG_FILE_NAME):
        if path.is_file():
            sources.append(path)
            for name, table in read_config_file(path).items():
                tables[name].update(table)
                known = (key for key in table if f"{name}.{key}" in SETTINGS_BY_ID or name in ("keys", "train"))
                origins.update({f"{name}.{key}": str(path) for key in known})
    for setting in SETTINGS:
        if value := environ.get(setting.env_variable):
            tables[setting.table][setting.name] = _parse_setting(
                setting, value, where="environment", name=setting.env_variable
            )
            origins[setting.id] = setting.env_variable
    defaults = _train_from_environment(environ)
    tables["train"].update(defaults)
    origins.update({f"train.{name}": f"{ENV_PREFIX}TRAIN_{name.upper()}" for name in defaults})
    if home:
        origins["paths.home"] = HOME_FLAG

    return Settings(
        home=_absolute_path(home or tables["paths"].get("home") or platformdirs.user_data_path(APP_NAME)),
        cache=_absolute_path(tables["paths"].get("cache") or platformdirs.user_cache_path(APP_NAME)),
        train=tables["train"],
        ui=tables["ui"],
        runs=tables["runs"],
        cost=tables["cost"],
        server=tables["server"],
        presets=tables["presets"],
        datasets=tables["datasets"],
        filters=tables["filters"],
        keys={action: keys if isinstance(keys, str) else ",".join(keys) for action, keys in tables["keys"].items()},
        notify={**tables["notify"], **_notify_from_environment(environ)},
        sources=tuple(sources),
        origins=origins,
    )


def user_config_file(environ: Mapping[str, str] | None = None) -> Path:
    """Path of the user's own `garden.toml`, which may not exist; `MODEL_GARDEN_CONFIG` names another."""
    named = (os.environ if environ is None else environ).get(f"{ENV_PREFIX}CONFIG")
    return Path(named) if named else platformdirs.user_config_path(APP_NAME) / CONFIG_FILE_NAME


def _absolute_path(path: str | Path) -> Path:
    return expand_user(path).absolute()


def read_config_file(path: Path) -> dict[str, dict[str, Any]]:
    """One garden.toml, checked.

    Raises:
        UsageError: it is not TOML, or has an unknown table, key or value; names file, key and value.
    """
    import tomli

    try:
        document = tomli.loads(path.read_text(encoding="utf-8"))
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("invalid TOML in the configuration file", where=str(path), why=str(error)) from None
    except OSError as error:
        raise UsageError("the configuration file cannot be read", where=str(path), why=error.strerror) from None
    for name, table in document.items():
        if name not in TABLES or not isinstance(table, dict):
            raise UsageError(
                f"unknown table [{name}]",
                where=str(path),
                hint="tables are " + ", ".join(f"[{known}]" for known in TABLES),
            )
        _check_table(name, table, str(path))
    return document


def write_config_value(path: Path, keys: Sequence[str], value: Any) -> None:
    """Set one value of a garden.toml, or remove it when it is None; comments and everything else are kept.

    Args:
        path: the file, created if it does not exist.
        keys: the tables and the key, from the outside in: `("ui", "theme")`, `("presets", "mine")`.
        value: a TOML value; a mapping becomes a table.

    Raises:
        UsageError: the existing file is not TOML.
        EnvironmentProblem: it cannot be written; the old file is unchanged.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise UsageError("invalid TOML in the configuration file", where=str(path), why=str(error)) from None
    except OSError as error:
        raise UsageError("the configuration file cannot be read", where=str(path), why=error.strerror) from None
    table: Any = document
    for depth, name in enumerate(keys[:-1]):
        if name not in table:
            if value is None:
                return
            table[name] = tomlkit.table(is_super_table=depth < len(keys) - 2 or isinstance(value, Mapping))
        table = table[name]
    if value is None:
        table.pop(keys[-1], None)
    else:
        table[keys[-1]] = dict(value) if isinstance(value, Mapping) else value
    _replace_file(path, tomlkit.dumps(document))


def _replace_file(path: Path, text: str) -> None:
    """Write a file atomically; a symbolic link is kept, and its target is replaced."""
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, text.encode(), mode=target.stat().st_mode if target.exists() else None)
    except OSError as error:
        raise EnvironmentProblem(
            "the configuration file cannot be written", where=str(path), why=error.strerror
        ) from None


def _check_table(name: str, table: dict[str, Any], where: str) -> None:
    if name == "keys":
        for action, keys in table.items():
            if not (isinstance(keys, str) and keys.strip()) and not (
                isinstance(keys, list) and keys and all(isinstance(key, str) and key.strip() for key in keys)
            ):
                raise UsageError(
                    f'[keys] {action}: got {keys!r}; expected a key or a list of keys (e.g. "ctrl+r")', where=where
                )
    elif name == "notify":
        for entry, url in table.items():
            if not isinstance(url, str) or "://" not in url:  # the value is a secret, and not repeated
                raise UsageError(f"[notify] {entry}: expected a URL (e.g. ntfy://TOPIC)", where=where)
    elif name == "filters":
        for entry, words in table.items():
            if not isinstance(words, str) or not words.strip():
                raise UsageError(
                    f'[filters] {entry}: got {words!r}; expected words (e.g. "receipts -failed")', where=where
                )
    elif name in ("presets", "datasets"):
        known = _train_table_keys() if name == "presets" else _dataset_table_keys()
        for entry, values in table.items():
            if not isinstance(values, dict):
                raise UsageError(f"[{name}] {entry}: got {values!r}; write it as [{name}.{entry}]", where=where)
            _check_keys(f"{name}.{entry}", values, known, where)
    elif name == "train":
        _check_keys(name, table, _train_table_keys(), where)
    else:
        _check_keys(name, table, frozenset(entry.name for entry in SETTINGS if entry.table == name), where)
        for key, value in table.items():
            table[key] = _parse_setting(SETTINGS_BY_ID[f"{name}.{key}"], value, where=where, name=f"[{name}] {key}")


def _check_keys(name: str, table: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for key in table:
        if key not in known:
            suggestion = _suggest_option(key) if name == "train" or name.startswith("presets.") else ""
            hint = "keys are " + ", ".join(sorted(known))
            raise UsageError(f"unknown key {key} in [{name}]{suggestion}", where=where, hint=hint)


def _parse_setting(setting: Setting, value: Any, *, where: str, name: str) -> Any:
    try:
        return setting.read(value)
    except ValueError as error:
        raise UsageError(f"{name}: {error}", where=where) from None


def _train_table_keys() -> frozenset[str]:
    from mg_tui.core.spec import TrainingSpec

    return frozenset(TrainingSpec.model_fields)


def _suggest_option(name: str) -> str:
    from mg_tui.core.options import options_of, suggest_option
    from mg_tui.core.spec import TrainingSpec

    return suggest_option(name, options_of(TrainingSpec))


def _dataset_table_keys() -> frozenset[str]:
    from mg_tui.core.named_datasets import DATASET_KEYS

    return frozenset(DATASET_KEYS)


def _notify_from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """MODEL_GARDEN_NOTIFY_PHONE is the entry `phone` of [notify]."""
    prefix = f"{ENV_PREFIX}NOTIFY_"
    return {name.removeprefix(prefix).lower(): url for name, url in environ.items() if name.startswith(prefix) and url}


def _train_from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    prefix = f"{ENV_PREFIX}TRAIN_"
    values = {name.removeprefix(prefix).lower(): value for name, value in environ.items() if name.startswith(prefix)}
    if values and (unknown := sorted(set(values) - _train_table_keys())):
        raise UsageError(
            f"{prefix}{unknown[0].upper()} is not an option of train-vision{_suggest_option(unknown[0])}",
            where="environment",
            hint="see `model-garden train-vision --help`",
        )
    if not values:
        return {}
    from mg_tui.core.options import options_of
    from mg_tui.core.spec import TrainingSpec

    # One variable holds one text; an option that takes several values is written with commas.
    lists = {opt.name for opt in options_of(TrainingSpec) if opt.kind == "list"}
    return {name: tuple(filter(None, value.split(","))) if name in lists else value for name, value in values.items()}
