"""Lines of the journal."""

import math

import pytest

from mg_tui.core.events import Event


def test_round_trip() -> None:
    event = Event(n=3, t=1764000000.125, kind="step", data={"loss": 1.5, "text": "käse\n\x1b[31m"})
    line = event.to_line()
    assert line.count("\n") == 1 and line.endswith("\n")
    assert Event.from_line(line) == event


def test_numbers_json_cannot_hold_reach_the_reader() -> None:
    event = Event.from_line(Event(n=1, t=0.0, kind="step", data={"loss": math.nan, "by": [math.inf]}).to_line())
    assert event.data == {"loss": "nan", "by": ["inf"]}


@pytest.mark.parametrize("line", ["", "{", "[]", '{"n": 1}', '{"n": null, "t": 1, "kind": "x", "v": 1}', "\x00"])
def test_a_line_that_is_no_event(line: str) -> None:
    with pytest.raises(ValueError):
        Event.from_line(line)
