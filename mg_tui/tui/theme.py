"""Colors by meaning. Widgets name a tone; only this module defines its color.

The colors of states differ in lightness as well as in hue (sky, bluish green, gray, vermilion, pink), and stay distinct
for color-blind people, as do those of compared runs (after Okabe and Ito, 2008). A glyph and a word always accompany
them, so nothing is lost without color.
"""

from collections.abc import Mapping
from typing import Final

from textual.color import Color
from textual.theme import Theme

DARK_NAME: Final = "garden"
LIGHT_NAME: Final = "garden-light"

_DARK: Final[Mapping[str, str]] = {
    "dim": "#8b9a91",
    "faint": "#4a584f",
    "key": "#9fe0b8",
    "created": "#d9c36a",
    "queued": "#d9c36a",
    "running": "#6cc7ff",
    "finished": "#5fd0a0",
    "stopped": "#aab4ae",
    "failed": "#ff8f66",
    "crashed": "#f59ad0",
    "interrupted": "#f59ad0",
    "raw": "#4f8069",
    "smooth": "#7fe0b4",
    "spark": "#4a9c7a",
    "eval": "#ffc857",
    "meter": "#5fd0a0",
    "meter-high": "#ffc857",
    "meter-full": "#ff8f66",
    "track": "#2b3630",
    "run-1": "#56b4e9",
    "run-2": "#e69f00",
    "run-3": "#2fd0a0",
    "run-4": "#f0e442",
    "run-5": "#e08cc0",
    "run-6": "#ff7a45",
}
_LIGHT: Final[Mapping[str, str]] = {
    "dim": "#5a6860",
    "faint": "#a3b0a7",
    "key": "#00694f",
    "created": "#7a6200",
    "queued": "#7a6200",
    "running": "#0066a6",
    "finished": "#00734f",
    "stopped": "#5d6660",
    "failed": "#b53f00",
    "crashed": "#a02c78",
    "interrupted": "#a02c78",
    "raw": "#9cc4b0",
    "smooth": "#00734f",
    "spark": "#5aa386",
    "eval": "#a86a00",
    "meter": "#00876a",
    "meter-high": "#b07a00",
    "meter-full": "#b53f00",
    "track": "#d3dcd4",
    "run-1": "#0072b2",
    "run-2": "#a85a00",
    "run-3": "#00785a",
    "run-4": "#6f6400",
    "run-5": "#a0337a",
    "run-6": "#c03a00",
}
TONES: Final = frozenset(_DARK)


def tone(name: str, *styles: str) -> str:
    """A style for `Content`: the color of a meaning, after text styles such as "bold"."""
    return " ".join([*styles, f"$tone-{name}"])


def variable_defaults(theme: Theme) -> dict[str, str]:
    """Our variables for a theme that is not ours: tones of the dark or the light theme, surfaces of its own colors."""
    own = DARK if theme.dark else LIGHT
    if theme.name in (DARK_NAME, LIGHT_NAME) or theme.name.startswith("ansi-"):
        return dict(own.variables)
    background = Color.parse(theme.background or ("#121212" if theme.dark else "#f2f2f2"))
    primary = Color.parse(theme.primary)
    surfaces = {
        "cursor": background.blend(primary, 0.28),
        "cursor-blurred": background.blend(primary, 0.12),
        "bar": Color.parse(theme.surface) if theme.surface else background.blend(primary, 0.08),
        "band": background.blend(Color.parse(theme.error or own.error or "#ff0000"), 0.16),
        "tone-key": primary,
        "tone-smooth": primary,
    }
    return {**own.variables, **{name: color.hex for name, color in surfaces.items()}}


def other_shade(name: str, dark: bool) -> str:
    """The light theme that belongs to a dark one, and the other way round; ours where there is none."""
    return _PAIRS.get(name) or (LIGHT_NAME if dark else DARK_NAME)


_PAIR_LIST: Final = (
    (DARK_NAME, LIGHT_NAME),
    ("textual-dark", "textual-light"),
    ("catppuccin-mocha", "catppuccin-latte"),
    ("solarized-dark", "solarized-light"),
    ("rose-pine", "rose-pine-dawn"),
    ("atom-one-dark", "atom-one-light"),
    ("ansi-dark", "ansi-light"),
)
_PAIRS: Final[Mapping[str, str]] = {**dict(_PAIR_LIST), **{light: dark for dark, light in _PAIR_LIST}}


def _variables(tones: Mapping[str, str], **more: str) -> dict[str, str]:
    return {**{f"tone-{name}": color for name, color in tones.items()}, **more}


DARK: Final = Theme(
    name=DARK_NAME,
    primary="#7fe0b4",
    secondary="#6cc7ff",
    accent="#ffc857",
    success="#5fd0a0",
    warning="#ffc857",
    error="#ff8f66",
    foreground="#dbe4dd",
    background="#0e1411",
    surface="#141c18",
    panel="#1d2822",
    dark=True,
    variables=_variables(
        _DARK,
        **{
            "cursor": "#1f3a2f",
            "cursor-blurred": "#1a2620",
            "bar": "#18221d",
            "band": "#36201a",
            "scrollbar": "#2b3630",
            "scrollbar-background": "#0e1411",
            "scrollbar-hover": "#4a584f",
            "scrollbar-active": "#7fe0b4",
            "input-selection-background": "#2f6650",
        },
    ),
)
LIGHT: Final = Theme(
    name=LIGHT_NAME,
    primary="#00734f",
    secondary="#0066a6",
    accent="#a86a00",
    success="#00734f",
    warning="#a86a00",
    error="#b53f00",
    foreground="#1b2821",
    background="#f8faf6",
    surface="#eff3ed",
    panel="#e3eae2",
    dark=False,
    variables=_variables(
        _LIGHT,
        **{
            "cursor": "#cfe8da",
            "cursor-blurred": "#e6eee7",
            "bar": "#e6ede5",
            "band": "#fbe3d8",
            "scrollbar": "#c2cec5",
            "scrollbar-background": "#f8faf6",
            "scrollbar-hover": "#a3b0a7",
            "scrollbar-active": "#00734f",
            "input-selection-background": "#b7dcc8",
        },
    ),
)
