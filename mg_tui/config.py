"""Where things live and what the defaults are: garden.toml, the environment, paths.

Later wins: built-in defaults, the user's `garden.toml` (the platform's configuration folder), `./garden.toml`,
`MODEL_GARDEN_*` in the environment, flags. `MODEL_GARDEN_HOME` names the home; `MODEL_GARDEN_TRAIN_LEARNING_RATE=1e-4`
sets a default of `train-vision`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import platformdirs

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expanded

APP_NAME: Final = "model-garden"
FILE_NAME: Final = "garden.toml"
ENV_PREFIX: Final = "MODEL_GARDEN_"

# Every table and key of garden.toml but those of [train], which are the fields of TrainingSpec.
KNOWN_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "paths": frozenset({"home", "cache"}),
    "ui": frozenset({"theme", "updates_per_second"}),
    "train": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What every face starts from.

    Attributes:
        home: folder of runs, created on first use.
        cache: folder of downloads and other things that can be made again.
        train: defaults for fields of `TrainingSpec`, by name; values as the files or the environment gave them.
        ui: the `[ui]` table.
        sources: the files that were read, later ones over earlier ones.
    """

    home: Path
    cache: Path
    train: Mapping[str, Any] = field(default_factory=dict)
    ui: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Path, ...] = ()

    def train_source(self) -> str | None:
        """Where defaults of `train-vision` may have come from, for messages."""
        return ", ".join(map(str, self.sources)) or None


def load_settings(
    *, home: Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Settings:
    """Read the configuration files and the environment.

    Args:
        home: the value of `--home`, which wins over everything.
        environ: the environment; the process's own when left out.
        cwd: the folder whose `garden.toml` counts; the working folder when left out.

    Raises:
        UsageError: a file is not TOML, or holds a table or key that means nothing here.
    """
    environ = os.environ if environ is None else environ
    tables: dict[str, dict[str, Any]] = {name: {} for name in KNOWN_KEYS}
    sources = []
    for path in (user_file(environ), (cwd or Path.cwd()) / FILE_NAME):
        if path.is_file():
            sources.append(path)
            for name, table in _read(path).items():
                tables[name].update(table)
    tables["train"].update(_train_from_environment(environ))

    chosen_home = home or environ.get(f"{ENV_PREFIX}HOME") or tables["paths"].get("home")
    chosen_cache = environ.get(f"{ENV_PREFIX}CACHE") or tables["paths"].get("cache")
    return Settings(
        home=_absolute(chosen_home or platformdirs.user_data_path(APP_NAME)),
        cache=_absolute(chosen_cache or platformdirs.user_cache_path(APP_NAME)),
        train=tables["train"],
        ui=tables["ui"],
        sources=tuple(sources),
    )


def user_file(environ: Mapping[str, str] | None = None) -> Path:
    """The user's own `garden.toml`, whether or not it is there; `MODEL_GARDEN_CONFIG` names another."""
    named = (os.environ if environ is None else environ).get(f"{ENV_PREFIX}CONFIG")
    return Path(named) if named else platformdirs.user_config_path(APP_NAME) / FILE_NAME


def _absolute(path: str | Path) -> Path:
    return expanded(path).absolute()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    import tomli

    try:
        document = tomli.loads(path.read_text(encoding="utf-8"))
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("the configuration file is not TOML", where=str(path), why=str(error)) from None
    except OSError as error:
        raise UsageError("the configuration file cannot be read", where=str(path), why=error.strerror) from None
    for name, table in document.items():
        if name not in KNOWN_KEYS or not isinstance(table, dict):
            raise UsageError(
                f"garden.toml has no table [{name}]",
                where=str(path),
                hint="tables are " + ", ".join(f"[{known}]" for known in KNOWN_KEYS),
            )
        known_keys = KNOWN_KEYS[name] or _train_keys()
        for key in table:
            if key not in known_keys:
                raise UsageError(
                    f"[{name}] has no key {key}", where=str(path), hint="keys are " + ", ".join(sorted(known_keys))
                )
    return document


def _train_keys() -> frozenset[str]:
    from mg_tui.core.spec import TrainingSpec

    return frozenset(TrainingSpec.model_fields)


def _train_from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    prefix = f"{ENV_PREFIX}TRAIN_"
    found = {name.removeprefix(prefix).lower(): value for name, value in environ.items() if name.startswith(prefix)}
    if found and (unknown := sorted(set(found) - _train_keys())):
        raise UsageError(
            f"{prefix}{unknown[0].upper()} names no option of train-vision",
            where="environment",
            hint="`model-garden train-vision --help` lists them",
        )
    if not found:
        return {}
    from mg_tui.core.options import options_of
    from mg_tui.core.spec import TrainingSpec

    # One variable holds one text; an option that takes several values is written with commas.
    lists = {opt.name for opt in options_of(TrainingSpec) if opt.kind == "list"}
    return {name: tuple(filter(None, value.split(","))) if name in lists else value for name, value in found.items()}
