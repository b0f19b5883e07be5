"""The worker's log, read from its end."""

from pathlib import Path

import pytest

from mg_tui.runs.worker_log import LogReader, read_tail, strip_terminal_codes


@pytest.mark.parametrize(("lines", "expected"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_tail(tmp_path: Path, lines: int, expected: list[str]) -> None:
    log = tmp_path / "log"
    log.write_text("a\nb\nc\n")
    assert read_tail(log, lines) == expected
    log.write_text("a\nb\nc")
    assert read_tail(log, lines) == expected


def test_tail_of_a_long_log_and_of_none(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert read_tail(log, 5) == []
    log.write_text("".join(f"line {n}\n" for n in range(50_000)))
    assert read_tail(log, 3) == ["line 49997", "line 49998", "line 49999"]
    log.write_bytes(b"\xff\xfe\nok\n")
    assert read_tail(log, 1) == ["ok"]


def test_only_whole_new_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    reader = LogReader(log)
    assert reader.last(1) == ["old"]
    for text, expected in [("ne", []), ("w\nmore", ["new"]), ("\r\n\n", ["more", ""])]:
        with log.open("a") as file:
            file.write(text)
        assert list(reader.new()) == expected
    log.write_text("cut\n")
    assert list(reader.new()) == ["cut"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("10%\r20%\r30%\r", "30%"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;aGk=\x1b\\text", "text"),
    ],
)
def test_clean(line: str, expected: str) -> None:
    assert strip_terminal_codes(line) == expected
