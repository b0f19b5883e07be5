"""What is written to a terminal when something ended: the right sequence, and nothing of a hostile name."""

import pytest

from mg_tui.core.terminal_notice import end_notice, window_title

OSC9 = "\x1b]9;Model Garden: invoices finished\a"
OSC777 = "\x1b]777;notify;Model Garden;invoices finished\a"


@pytest.mark.parametrize(
    ("mode", "environ", "written"),
    [
        ("auto", {"TERM": "xterm-kitty"}, "\a" + OSC9),
        ("auto", {"TERM": "xterm-256color", "VTE_VERSION": "7600"}, "\a" + OSC777),
        ("auto", {"TERM": "foot"}, "\a" + OSC777),
        ("osc777", {"TERM": "xterm"}, "\a" + OSC777),
        ("osc9", {"TERM": "foot"}, "\a" + OSC9),
        ("bell", {"TERM": "xterm"}, "\a"),
        ("off", {"TERM": "xterm"}, ""),
        ("auto", {"TERM": "linux"}, "\a"),
        ("auto", {}, "\a"),
        ("auto", {"TERM": "tmux-256color", "TMUX": "/tmp/s,1,0"}, f"\a\x1bPtmux;\x1b{OSC9}\x1b\\"),
        ("auto", {"TERM": "screen"}, f"\a\x1bP{OSC9}\x1b\\"),
    ],
)
def test_what_is_written(mode: str, environ: dict[str, str], written: str) -> None:
    assert end_notice("Model Garden", "invoices finished", mode, environ) == written


def test_a_name_ends_no_sequence_and_begins_none() -> None:
    hostile = "a\x07\x1b]0;gone\x1b\\;b\n\u202ec"
    for mode in ("osc9", "osc777"):
        written = end_notice("Model Garden", hostile, mode, {"TERM": "xterm"})
        assert written.count("\x1b") == 1 and written.count("\a") == 2 and "\n" not in written
    assert end_notice("t", hostile, "osc777", {"TERM": "xterm"}).count(";") == 3
    title = window_title(hostile, {"TERM": "xterm"})
    assert title.startswith("\x1b]2;") and title.count("\x1b") == 1 and title.count("\a") == 1
    assert window_title("x", {"TERM": "linux"}) == ""
