"""An action of the dashboard, and how its keys are written."""

from dataclasses import dataclass
from typing import Final

_KEY_NAMES: Final = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "slash": "/",
    "colon": ":",
    "escape": "esc",
    "pagedown": "pgdn",
    "pageup": "pgup",
    "down": "↓",
    "up": "↑",
    "left": "←",
    "right": "→",
    "plus": "+",
    "minus": "-",
    "comma": ",",
    "full_stop": ".",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "equals_sign": "=",
    "vertical_line": "|",
    "number_sign": "#",
    "f1": "F1",
    "f2": "F2",
    "f3": "F3",
}


@dataclass(frozen=True, slots=True)
class Action:
    """An entry of the registry of actions.

    Attributes:
        id: `<scope>.<name>`, as in `[keys]` of garden.toml.
        keys: Textual's names of the keys, the one to show first.
        title: a few words, for the palette and the help.
        help: one sentence.
        scope: the screen or widget that implements it; `HEADINGS` of the declaring module has its title.
        group: heading in the help.
        footer_label: a word for the line of keys; empty when it is not shown there.
        footer_rank: the highest is dropped first when the line of keys is too long.
        destructive: whether it asks for confirmation.
        local_only: why it does not work on the runs of a server (`--server`); empty when it does.
        in_palette: whether the command palette offers it.
    """

    id: str
    keys: tuple[str, ...]
    title: str
    help: str
    scope: str
    group: str
    footer_label: str = ""
    footer_rank: int = 5
    destructive: bool = False
    in_palette: bool = True
    local_only: str = ""

    @property
    def name(self) -> str:
        """The part of the id after the scope."""
        return self.id.partition(".")[2]

    @property
    def textual_action(self) -> str:
        """The action in Textual's notation."""
        return f"app.{self.name}" if self.scope == "app" else self.name


def format_key(key: str) -> str:
    """A key as shown: `ctrl+p` stays, `question_mark` is `?`."""
    return _KEY_NAMES.get(key, key)


def format_keys(action: Action) -> str:
    """All keys of an action as shown."""
    return " ".join(format_key(key) for key in action.keys)
