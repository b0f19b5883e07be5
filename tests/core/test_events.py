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


def test_no_flipped_bit_is_taken_for_what_was_written() -> None:
    """One bit anywhere in a line: it is refused, or (in the name of the checksum itself) says what was written."""
    event = Event(n=17, t=1764000000.125, kind="step", data={"step": 3, "loss": 1.25, "text": "k\u00e4se", "tokens": 9})
    line = event.to_line().encode()[:-1]
    for place in range(8 * len(line)):
        damaged = bytearray(line)
        damaged[place // 8] ^= 1 << place % 8
        try:
            read = Event.from_line(bytes(damaged))
        except ValueError:
            continue
        assert (read.n, read.kind, read.v) == (17, "step", 1)
        assert event.data.items() <= read.data.items(), bytes(damaged)


@pytest.mark.parametrize(
    "fields",
    [
        '"kind":"step","stgp":3',
        '"kind":"step","step":null',
        '"kind":"step","step":"3"',
        '"kind":"step","step":3,"supervised_tokens":{}',
        '"kind":"step","step":3,"loss":"many"',
        '"kind":"step","step":3,"gpu_seconds":[1]',
        '"kind":"created","cwd":7',
        '"kind":"checkpoint","step":3',
    ],
)
def test_a_line_without_checksum_is_checked_by_its_fields(fields: str) -> None:
    with pytest.raises(ValueError):
        Event.from_line(f'{{"v":1,"n":4,"t":1.0,{fields}}}')


def test_a_line_of_an_older_version_has_no_checksum() -> None:
    event = Event.from_line('{"v":1,"n":4,"t":1.0,"kind":"step","step":3,"loss":"nan","grad_norm":null}\n')
    assert event == Event(n=4, t=1.0, kind="step", data={"step": 3, "loss": "nan", "grad_norm": None})
