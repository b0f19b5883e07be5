"""Settings other than the options of a run: keys of single tables of garden.toml, declared once.

Reading garden.toml and the environment, error messages, and the dashboard's settings screen all use `SETTINGS`. Only
the standard library is imported: every command reads settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from mg_tui.core.run_columns import DEFAULT_RUN_COLUMNS, RUN_COLUMN_KEYS
from mg_tui.core.terminal_notice import NOTICE_MODES

SettingKind = Literal["path", "choice", "number", "switch", "text", "list"]

OWN_THEMES: Final = ("garden", "garden-light")
# Those of Textual 8.2; a test compares the names, because this module may not import Textual.
TEXTUAL_THEMES: Final = (
    *("textual-dark", "textual-light", "nord", "gruvbox", "catppuccin-mocha", "dracula", "tokyo-night", "monokai"),
    *("flexoki", "catppuccin-latte", "catppuccin-frappe", "catppuccin-macchiato", "solarized-light", "solarized-dark"),
    *("rose-pine", "rose-pine-moon", "rose-pine-dawn", "atom-one-dark", "atom-one-light", "ansi-dark", "ansi-light"),
)
THEMES: Final = (*OWN_THEMES, *TEXTUAL_THEMES)
_SWITCH_VALUES: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_MAX_TEXT_LENGTH: Final = 16  # characters of a text
IMAGE_MODES: Final = ("half-cell", "kitty", "sixel")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of garden.toml.

    Attributes:
        table, name: its place in the file: `[table]`, `name = ...`.
        title: a few words.
        help: one sentence.
        kind: what kind of value it takes.
        default: the default; None where the platform decides.
        choices: of a choice or a list.
        low, high: inclusive bounds of a number.
        unit: of a number.
        needs_restart: a change takes effect at the next start.
    """

    table: str
    name: str
    title: str
    help: str
    kind: SettingKind
    default: Any = None
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    unit: str = ""
    needs_restart: bool = False

    @property
    def id(self) -> str:
        """`table.name`."""
        return f"{self.table}.{self.name}"

    @property
    def env_variable(self) -> str:
        """The environment variable that sets it."""
        return "MODEL_GARDEN_" + (self.name if self.table == "paths" else f"{self.table}_{self.name}").upper()

    @property
    def accepted(self) -> str:
        """What would be accepted, as the end of a sentence."""
        if self.kind == "choice":
            return "choose one of " + ", ".join(self.choices)
        if self.kind == "list":
            return "choose any of " + ", ".join(self.choices)
        if self.kind == "number":
            return f"give a number{' of ' + self.unit if self.unit else ''} from {self.low:g} to {self.high:g}"
        if self.kind == "switch":
            return "give true or false"
        if self.kind == "text":
            return "enter a short text"
        return "give a path"

    def read(self, value: Any) -> Any:
        """The parsed value, from a file or, as text, from the environment or the user.

        Raises:
            ValueError: it is invalid; the message has the value and what would be accepted.
        """
        if self.kind == "number":
            try:
                number = float(str(value))
            except ValueError:
                number = float("nan")
            if self.low <= number <= self.high:
                return number
        elif self.kind == "choice":
            if value in self.choices:
                return value
        elif self.kind == "list":
            items = value.split(",") if isinstance(value, str) else value
            if isinstance(items, list | tuple) and all(isinstance(item, str) for item in items):
                chosen = tuple(filter(None, (item.strip() for item in items)))
                if set(chosen) <= set(self.choices):
                    return tuple(dict.fromkeys(chosen))
        elif self.kind == "switch":
            if isinstance(value, bool):
                return value
            if (word := str(value).lower()) in _SWITCH_VALUES:
                return _SWITCH_VALUES[word]
        elif self.kind == "text":
            if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= _MAX_TEXT_LENGTH:
                return value.strip()
        elif isinstance(value, str) and value and "\0" not in value:
            return value
        raise ValueError(f"got {value!r}; {self.accepted}")


SETTINGS: Final = (
    Setting(
        "paths",
        "home",
        "Home folder",
        "Folder for runs; runs in other home folders are not listed.",
        "path",
        needs_restart=True,
    ),
    Setting(
        "paths", "cache", "Cache folder", "Downloads and other data that can be recreated.", "path", needs_restart=True
    ),
    Setting(
        "ui",
        "theme",
        "Theme",
        "Colors of the dashboard; ctrl+t changes between dark and light.",
        "choice",
        THEMES[0],
        THEMES,
    ),
    Setting(
        "ui",
        "updates_per_second",
        "Update rate",
        "Maximum refresh rate of the screen; lower it on slow connections.",
        "number",
        2.0,
        low=0.1,
        high=2.0,
        unit="updates/s",
        needs_restart=True,
    ),
    Setting(
        "ui",
        "images",
        "Images",
        "How images are drawn: half-cell works everywhere; kitty and sixel require terminal support and the extra "
        "`graphics`.",
        "choice",
        IMAGE_MODES[0],
        IMAGE_MODES,
        needs_restart=True,
    ),
    Setting(
        "ui",
        "notify",
        "When a run ends",
        "How the terminal says that a run ended: auto is a bell and a desktop notification (OSC 9 or 777, whichever "
        "the terminal knows).",
        "choice",
        NOTICE_MODES[0],
        NOTICE_MODES,
    ),
    Setting(
        "ui",
        "terminal_title",
        "Progress in the title",
        "Show the progress of running runs in the title of the terminal's window.",
        "switch",
        True,
    ),
    Setting(
        "ui",
        "run_columns",
        "Columns of the runs",
        "Columns of the list of runs, in this order; in a narrow terminal the last ones are left out first.",
        "list",
        DEFAULT_RUN_COLUMNS,
        RUN_COLUMN_KEYS,
    ),
    Setting(
        "runs",
        "resume_interrupted",
        "Resume interrupted runs",
        "Automatically resume interrupted runs after a restart of the container or the machine.",
        "switch",
        False,
    ),
    Setting(
        "cost",
        "per_kwh",
        "Price of a kWh",
        "Price of a kilowatt hour; runs then report the cost of GPU energy.",
        "number",
        low=0.0,
        high=1_000_000.0,
    ),
    Setting(
        "cost",
        "per_gpu_hour",
        "Price of a GPU hour",
        "Price of one GPU hour, e.g. rental; added to the cost of energy.",
        "number",
        low=0.0,
        high=1_000_000.0,
    ),
    Setting(
        "cost",
        "per_hour",
        "Price of an hour",
        "Price of an hour of this machine, e.g. rental, whatever it computes; added to the other costs.",
        "number",
        low=0.0,
        high=1_000_000.0,
    ),
    Setting(
        "server",
        "token_file",
        "Token for --server",
        "File with the token that --server sends; also --token-file, or the token itself in MODEL_GARDEN_TOKEN.",
        "path",
    ),
    Setting(
        "server",
        "uploads_gib",
        "Room for uploads",
        "Most that all files take together that callers of the API uploaded.",
        "number",
        50.0,
        low=0.0,
        high=1_000_000.0,
        unit="GiB",
    ),
    Setting("cost", "currency", "Currency", "Currency of the amounts shown.", "text", "EUR"),
)
SETTINGS_BY_ID: Final[Mapping[str, Setting]] = {setting.id: setting for setting in SETTINGS}
