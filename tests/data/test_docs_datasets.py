"""docs/datasets.md names every format and layout there is, and its examples are what it says they are."""

import json
import re
from pathlib import Path

import pytest

from mg_tui.core.named_datasets import DATASET_KEYS
from mg_tui.core.options import options_of
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.checks.kinds import KINDS
from mg_tui.data.embedded_images import EmbeddedImageStore
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import FORMATS
from mg_tui.data.sources.layouts import LAYOUTS, detect_layout, find_layout_fields, to_draft

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text()
EXAMPLES = [
    (section[1], block)
    for section in re.finditer(r"^### `(\w+)`\n(.*?)(?=^#)", PAGE, re.S | re.M)
    for block in re.findall(r"```json\n(.*?)```", section[2], re.S)
]


def test_every_format_and_layout_is_there() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE.split("## Layouts")[0], re.M) == list(FORMATS)
    assert re.findall(r"^### `(\w+)`", PAGE, re.M) == list(LAYOUTS)
    assert {layout for layout, _block in EXAMPLES} == set(LAYOUTS)


@pytest.mark.parametrize(("layout", "block"), EXAMPLES)
def test_examples_are_what_they_are_said_to_be(layout: str, block: str, tmp_path: Path) -> None:
    row = Row(1, json.loads(block), None)
    result, fields, _certainty, _why = detect_layout([row])
    if layout == "choices":  # is never detected: it changes the question
        assert result == "vqa"
        assert not isinstance(to_draft(row, result, fields, EmbeddedImageStore(tmp_path)), ExampleDraft)
        result, fields = layout, find_layout_fields(layout, [row], FieldMap())
    assert result == layout
    assert isinstance(to_draft(row, result, fields, EmbeddedImageStore(tmp_path)), ExampleDraft)


def test_options_kinds_and_keys_that_are_named_are_there() -> None:
    flags = {option.flag for option in options_of(TrainingSpec)} | {"--check-only", "--to", "--layout", "--images"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= flags
    tips = PAGE.split("## The guide's tips")[1]
    assert set(re.findall(r"`([a-z]+-[a-z-]+)`", tips)) <= set(KINDS)
    table = re.search(r"\[datasets\.receipts\]\n(.*?)```", PAGE, re.S)
    assert table is not None
    assert set(re.findall(r"^(\w+) =", table[1], re.M)) <= set(DATASET_KEYS)
