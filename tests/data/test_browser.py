"""Any row of a dataset, by an index that is right or absent."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import DataError
from mg_tui.data import line_index as indexes
from mg_tui.data.browser import Browser, PagedBrowser, open_browser
from mg_tui.data.indexed_browser import IndexedBrowser, ItemBrowser
from mg_tui.data.jsonl import read_rows
from mg_tui.data.line_index import LineIndex
from mg_tui.data.rows import Row
from mg_tui.data.sources.json_array import ArrayScanner
from mg_tui.data.sources.opener import open_source


def write_rows(path: Path, count: int, *, width: int = 0) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, count + 1):
            row = {"text": f"question {number}", "image": None, "response": "x" * width + f"Answer {number}"}
            file.write(json.dumps(row) + "\n")
    return path


def browser_of(path: Path, cache: Path | None) -> Browser:
    return open_browser(open_source(str(path), cwd=path.parent, cache=cache), cache)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "data.jsonl", 1000)


def row_numbers(rows: list[Row]) -> list[int]:
    return [row.number for row in rows]


def test_first_rows_come_before_any_index(lines: Path, tmp_path: Path) -> None:
    browser = browser_of(lines, tmp_path / "cache")
    assert isinstance(browser, IndexedBrowser)
    assert (browser.last_row, browser.indexed_share) == (None, 0.0)
    assert [row.values["text"] for row in browser.read_rows(1, 3) if row.values] == [
        "question 1", "question 2", "question 3"
    ]  # fmt: skip
    assert row_numbers(browser.read_rows(998, 10)) == [998, 999, 1000]


def test_the_index_reaches_every_row_and_is_kept(lines: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shares: list[float] = []
    browser = browser_of(lines, cache)
    assert browser.build_index(shares.append)
    assert shares[-1] == browser.indexed_share == 1.0
    assert browser.last_row == 1000
    again = browser_of(lines, cache)
    assert (again.last_row, again.indexed_share) == (1000, 1.0)
    whole = list(read_rows(lines))
    for number in (1, 2, 63, 64, 65, 66, 128, 500, 999, 1000):
        assert again.read_row(number) == whole[number - 1]


def test_rows_of_any_size_and_blank_lines_keep_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(indexes, "BYTES_PER_ANCHOR", 700)
    path = tmp_path / "data.jsonl"
    parts = [b'{"a": 1}\n', b"\n", b"not json\n", b'{"a": "' + b"y" * 5000 + b'"}\r\n', b"  \n", b'{"a": "\r"}'] * 40
    path.write_bytes(b"".join(parts))
    whole = {row.number: row for row in read_rows(path)}
    browser = IndexedBrowser(path, tmp_path / "cache")
    browser.build_index()
    assert browser.last_row == path.read_bytes().count(b"\n") + 1
    for number in range(1, 202):
        if number in whole:
            assert browser.read_row(number) == whole[number]
        else:
            with pytest.raises(DataError, match="blank"):
                browser.read_row(number)
    assert row_numbers(browser.read_rows(1, 10_000)) == sorted(whole)


def test_a_changed_file_has_another_index(lines: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    browser_of(lines, cache).build_index()
    write_rows(lines, 10)
    assert browser_of(lines, cache).last_row is None
    write_rows(lines, 1000)  # the same size and the same bytes at both ends, changed later
    os.utime(lines, ns=(1, 1))
    assert browser_of(lines, cache).last_row is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "junk", "number"])
def test_a_damaged_index_is_made_again(lines: Path, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "cache"
    browser_of(lines, cache).build_index()
    (index_file,) = (cache / "indexes").iterdir()
    content = bytearray(index_file.read_bytes())
    match damage:
        case "cut":
            del content[-5:]
        case "flip":
            content[-5] ^= 1
        case "empty":
            content.clear()
        case "junk":
            content[:] = os.urandom(200)
        case "number":
            content[:] = content.replace(b'"checkpoints": ', b'"checkpoints": "x", "y": ')
    index_file.write_bytes(content)
    browser = browser_of(lines, cache)
    assert browser.last_row is None
    browser.build_index()
    assert browser.read_row(777).number == 777


def test_an_interrupted_scan_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "_BLOCK_BYTES", 5000)
    path = write_rows(tmp_path / "data.jsonl", 3000)
    first = LineIndex(path, tmp_path / "cache")
    assert not first.build(until=900)
    scanned = first.scanned_share
    assert 0 < scanned < 0.5
    second = LineIndex(path, tmp_path / "cache")
    assert second.scanned_share == scanned
    assert second.nearest_anchor(900) == first.nearest_anchor(900)
    read: list[int] = []
    real = LineIndex._scan_block

    def scan(index: LineIndex, block: bytes) -> None:
        read.append(len(block))
        real(index, block)

    monkeypatch.setattr(LineIndex, "_scan_block", scan)
    assert second.build()
    assert sum(read) == path.stat().st_size - int(first.scanned_share * path.stat().st_size)
    assert second.line_count == 3000


def test_an_index_is_small(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data.jsonl", 50_000)
    LineIndex(path, tmp_path / "cache").build()
    (index_file,) = (tmp_path / "cache" / "indexes").iterdir()
    assert index_file.stat().st_size < 50_000 / 64 * 16 + 1000


def test_without_a_cache_or_with_one_that_cannot_be_written(lines: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for cache in (None, tmp_path / "file"):
        browser = IndexedBrowser(lines, cache)
        assert browser.build_index()
        assert browser.read_row(1000).number == 1000


def test_what_is_not_there_is_said(lines: Path, tmp_path: Path) -> None:
    browser = browser_of(lines, tmp_path)
    browser.build_index()
    with pytest.raises(DataError, match=r"row 1,001 does not exist; the last row is 1,000"):
        browser.read_row(1001)
    lines.write_text("")
    with pytest.raises(DataError, match="modified while it was being read"):
        browser.read_row(500)
    lines.unlink()
    with pytest.raises(DataError, match="cannot read the dataset"):
        browser.read_rows(1, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("question 77", [77, *range(770, 780)]),
        ("ANSWER 999", [999]),
        ("nothing of that kind", []),
        ("text", []),  # the name of a field is no text of a row
    ],
)
def test_find(lines: Path, tmp_path: Path, text: str, expected: list[int]) -> None:
    assert list(browser_of(lines, tmp_path).find(text)) == expected
    assert list(PagedBrowser(open_source(str(lines), cwd=tmp_path, cache=None)).find(text)) == expected


def test_find_sees_through_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.jsonl"
    texts = [
        "a cat",
        "Gr\u00fc\u00dfe",
        'he said "no"',
        "two\nlines",
        "back\\slash",
        "x/y",
        "\U0001f600 smile",
        "\u0130stanbul",
    ]
    path.write_text(
        "".join(json.dumps({"text": t}, ensure_ascii=a) + "\n" for t in texts for a in (True, False)), encoding="utf-8"
    )
    browser = browser_of(path, tmp_path)
    queries = ["CAT", "gr\u00dc", '"no"', "two\nlines", "k\\s", "X/Y", "\U0001f600", "stanbul"]
    for place, text in enumerate(queries):
        assert list(browser.find(text)) == [2 * place + 1, 2 * place + 2], text
    assert list(browser.find("cat", first=2)) == [2]


def test_find_can_be_stopped(lines: Path, tmp_path: Path) -> None:
    assert list(browser_of(lines, tmp_path).find("question", stop=lambda: True)) == []


class CountingSource:
    """A source that counts how often it is asked to begin."""

    name, format, path = "x", "csv", None
    base = Path()

    def __init__(self, count: int) -> None:
        self.began: list[int] = []
        self._count = count

    def rows(self, start: int = 1) -> Iterator[Row]:
        self.began.append(start)
        return (Row(number, {"text": str(number)}, None) for number in range(start, self._count + 1))

    def count(self) -> int | None:
        return None


def test_pages_of_a_stream(tmp_path: Path) -> None:
    source: Any = CountingSource(1000)
    browser = PagedBrowser(source)
    assert row_numbers(browser.read_rows(1, 5)) == [1, 2, 3, 4, 5]
    assert row_numbers(browser.read_rows(30, 10)) == list(range(30, 40))
    assert source.began == [1], "rows that follow are read on"
    assert browser.read_row(700).number == 700
    assert browser.read_row(3).number == 3
    assert len(source.began) == 2
    assert row_numbers(browser.read_rows(990, 50)) == list(range(990, 1001))
    assert browser.last_row == 1000
    with pytest.raises(DataError, match="the last row is 1,000"):
        browser.read_row(1001)
    assert browser.read_rows(5000, 3) == []


def test_counting_a_stream_can_be_stopped() -> None:
    source: Any = CountingSource(1000)
    browser = PagedBrowser(source)
    assert not browser.build_index(stop=lambda: True)
    assert [browser.last_row] == [None]
    assert browser.build_index()
    assert (browser.last_row, browser.indexed_share) == (1000, 1.0)


ITEMS = [
    {"text": 'a, ] } [ { "\\\\', "response": "\u00e9" * number, "nested": [{"a": [1, {"b": "]"}]}, number]}
    for number in range(1500)
]


@pytest.mark.parametrize("indent", [None, 1])
def test_items_of_an_array_are_read_through_an_index(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "data.json"
    path.write_text(" " + json.dumps(ITEMS, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    source = open_source("data.json", cwd=tmp_path, cache=None)
    expected = list(source.rows())
    browser = open_browser(source, tmp_path / "cache")
    assert isinstance(browser, ItemBrowser)
    assert browser.last_row is None
    assert browser.read_rows(700, 3) == expected[699:702]  # without an index
    browser.index_up_to(900)
    assert 0 < browser.indexed_share < 1
    assert browser.build_index()
    assert browser.last_row == 1500
    again = open_browser(source, tmp_path / "cache")  # the index comes from the cache
    assert again.last_row == 1500
    for number in (1, 2, 64, 65, 1024, 1499, 1500):
        assert again.read_row(number) == expected[number - 1]
    with pytest.raises(DataError, match="does not exist"):
        again.read_row(1501)
    assert list(again.find("\u00e9" * 1499)) == [1500]


def test_a_row_of_an_indexed_array_reads_little_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps(ITEMS), encoding="utf-8")
    source = open_source("data.json", cwd=tmp_path, cache=None)
    open_browser(source, tmp_path / "cache").build_index()
    browser = open_browser(source, tmp_path / "cache")
    scanned: list[int] = []
    real = ArrayScanner._item

    def item(scanner: ArrayScanner, *, last: bool = False) -> Iterator[Row]:
        scanned.append(scanner._number)
        return real(scanner, last=last)

    monkeypatch.setattr(ArrayScanner, "_item", item)
    assert browser.read_row(1450).number == 1450
    assert len(scanned) <= 64


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2}', '[{"a": 1}] trailing', "[1, 2]", '[{"a": 1},, {"a": 2}]'])
def test_damaged_arrays_have_the_same_rows_with_an_index(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text)
    source = open_source("data.json", cwd=tmp_path, cache=None, format="json")
    browser = open_browser(source, tmp_path / "cache")
    browser.build_index()
    assert browser.read_rows(1, 10) == list(source.rows())
    assert browser.last_row == len(list(source.rows()))
