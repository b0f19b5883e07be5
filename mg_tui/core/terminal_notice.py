"""Escape sequences by which a terminal tells a person something: bell, desktop notification, window title.

A terminal ignores what it does not know, except that the Linux console prints parts of it, and that programs between us
and it (tmux, screen) swallow it unless it is wrapped. Nothing is answered, so nothing here says that it was shown.
"""

from collections.abc import Mapping
from typing import Final

from mg_tui.core.text import one_line

NOTICE_MODES: Final = ("auto", "osc9", "osc777", "bell", "off")
BELL: Final = "\a"
# The title is saved on the terminal's stack and restored from it (XTWINOPS 22 and 23).
SAVE_TITLE: Final = "\x1b[22;2t"
RESTORE_TITLE: Final = "\x1b[23;2t"

_OSC_777_TERMS: Final = ("foot", "rxvt")
_NO_OSC_TERMS: Final = ("", "dumb", "linux")
_MAX_TEXT: Final = 160


def end_notice(title: str, text: str, mode: str, environ: Mapping[str, str]) -> str:
    """What to write to the terminal when something ended.

    Args:
        title, text: any text; control characters do not survive.
        mode: one of `NOTICE_MODES`. `auto` is a bell and the notification that the terminal of `environ` knows: OSC 777
            for foot, rxvt and terminals made with VTE, else OSC 9 (iTerm2, kitty, WezTerm, Ghostty, Windows Terminal).
        environ: the environment of the process.
    """
    if mode == "off":
        return ""
    term = environ.get("TERM", "")
    if mode == "bell" or term in _NO_OSC_TERMS:
        return BELL
    title, text = (one_line(part, limit=_MAX_TEXT).replace(";", ",") for part in (title, text))
    if mode == "auto":
        mode = "osc777" if term.startswith(_OSC_777_TERMS) or environ.get("VTE_VERSION") else "osc9"
    # OSC 9 that begins with a number and a semicolon is a progress bar to some terminals: the title comes first.
    sequence = f"\x1b]777;notify;{title};{text}\a" if mode == "osc777" else f"\x1b]9;{title}: {text}\a"
    return BELL + _through_multiplexer(sequence, term, environ)


def window_title(text: str, environ: Mapping[str, str]) -> str:
    """What to write to the terminal to give its window a title; empty where there is none to give."""
    if environ.get("TERM", "") in _NO_OSC_TERMS:
        return ""
    return f"\x1b]2;{one_line(text, limit=_MAX_TEXT)}\a"


def _through_multiplexer(sequence: str, term: str, environ: Mapping[str, str]) -> str:
    """`sequence` wrapped so that tmux (`allow-passthrough on`) and screen hand it on."""
    if environ.get("TMUX"):
        return "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    if term.startswith("screen"):
        return f"\x1bP{sequence}\x1b\\"
    return sequence
