"""JSON arrays are read item by item: the same rows as json's, whatever is cut where."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mg_tui.core.errors import DataError
from mg_tui.data.rows import Row
from mg_tui.data.sources import json_array
from mg_tui.data.sources.base import Source
from mg_tui.data.sources.opener import open_source


def open_dataset(given: str | Path, folder: Path, **more: Any) -> Source:
    return open_source(str(given), cwd=folder, cache=None, **more)


@pytest.mark.parametrize("size", [1, 7, 1 << 18])
def test_arrays_are_read_item_by_item(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "_CHUNK_BYTES", size)
    items = ['{"a": "],[{\\"\\\\"}', '{"a": [[1, 2], {"b": "]"}]}', "3", '{"a": "é"}', "{oops}", '{"a": 1}']
    (tmp_path / "a.json").write_bytes(("\ufeff [" + " , \n".join(items) + " ] ").encode())
    source = open_dataset("a.json", tmp_path)
    rows = list(source.rows())
    assert [row.number for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0].values == {"a": '],[{"\\'}
    assert rows[1].values == {"a": [[1, 2], {"b": "]"}]}
    assert str(rows[2].problem) == "row 3: is a number (3), expected a JSON object"
    assert "row 5: is invalid JSON" in str(rows[4].problem)
    assert "at item 5, character 2" in str(rows[4].problem)
    assert [source.raw(row) for row in rows if row.values] == [items[0], items[1], items[3], items[5]]


def test_arrays_that_do_not_end_and_ones_that_go_on(tmp_path: Path) -> None:
    def last(text: str) -> Row:
        (tmp_path / "a.json").write_text(text)
        return list(open_dataset("a.json", tmp_path).rows())[-1]

    assert "row 2: is unterminated" in str(last('[{"a": 1}, {"a":').problem)
    assert "row 2: is unterminated" in str(last('[{"a": 1}, {"a": "\\').problem)
    assert "row 2: follows the end of the array" in str(last('[{"a": 1}] {"a": 2}').problem)
    assert last('[{"a": 1}, {"a": 2},]').values == {"a": 2}
    with pytest.raises(DataError, match="dataset is empty"):
        last("[]")


def test_an_overlong_item_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_array, "MAX_ROW_BYTES", 1000)
    monkeypatch.setattr(json_array, "_CHUNK_BYTES", 64)
    text = json.dumps([{"a": 1}, {"a": "x" * 9000}, {"a": 3}])
    (tmp_path / "a.json").write_text(text)
    rows = list(open_dataset("a.json", tmp_path).rows())
    assert [row.number for row in rows] == [1, 2, 3]
    assert "has 9,010 bytes" in str(rows[1].problem)
    assert rows[2].values == {"a": 3}
    assert text[rows[2].offset : rows[2].offset + rows[2].length].strip() == '{"a": 3}'


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text('"\\{}[],: \né', max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text('"\\{}', max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(
    items=st.lists(st.dictionaries(st.text('a"\\]', max_size=3), JSON, max_size=3), min_size=1, max_size=4),
    size=st.integers(1, 12),
    indent=st.sampled_from([None, 0, 2]),
    ascii=st.booleans(),
)
def test_an_array_is_what_json_says_it_is(items: list[Any], size: int, indent: int | None, ascii: bool) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_CHUNK_BYTES", size)
        path = Path(name) / "a.json"
        path.write_text(json.dumps(items, indent=indent, ensure_ascii=ascii))
        source = open_dataset(path, Path(name), format="json")
        rows = list(source.rows())
        assert [row.values for row in rows] == items
        assert [json.loads(source.raw(row)) for row in rows] == items
