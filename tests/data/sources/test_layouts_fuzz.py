"""Whatever stands in the fields of a layout, a row becomes a conversation or names its row, field and reason."""

import json
from pathlib import Path
from typing import Any
from unicodedata import category

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mg_tui.data.embedded_images import EmbeddedImageStore
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.rows import Row
from mg_tui.data.sources.layout_writers import WRITABLE_LAYOUTS, LayoutError, to_row
from mg_tui.data.sources.layouts import LAYOUTS, detect_layout, to_draft

NAMES = (
    "text image response messages images conversations texts instruction input output history query question answers "
    "answer caption system role content from value user assistant type image_url url bytes path base64 weight loss "
    "videos objects tool_calls __key__"
).split()
WORDS = [
    "a", "", " ", "user", "human", "assistant", "gpt", "system", "tool", "<image>", "<image>\n<image>", "image", "text",
    "image_url", "data:image/png;base64,iVBORw0KGgo=", "data:,", "data:", "http://x/a.png", "[]", "[", "{}", "\ud800",
    "\x1b[31m", "\0", "\ufdd0", "../../etc/passwd", "\u202e",
]  # fmt: skip
LEAVES = st.one_of(
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.binary(max_size=9),
    st.text(max_size=9),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=8,
)
TURNS = st.lists(
    st.one_of(
        VALUES,
        st.fixed_dictionaries({"role": VALUES, "content": VALUES}),
        st.builds(lambda r, c: {"role": r, "content": c}, st.sampled_from(["user", "assistant", "system"]), VALUES),
        st.builds(lambda r, c: {"from": r, "value": c}, st.sampled_from(["human", "gpt"]), st.sampled_from(WORDS)),
    ),
    max_size=4,
)
ROWS = st.one_of(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6),
    st.fixed_dictionaries({"messages": TURNS, "images": VALUES}),
    st.fixed_dictionaries({"conversations": TURNS, "image": VALUES}),
)


def is_safe(text: str) -> bool:
    """One line, no control characters, no halves of surrogate pairs, nothing that turns the order of letters."""
    return not any(category(c) in ("Cc", "Cs", "Zl", "Zp") or "\u202a" <= c <= "\u202e" for c in text)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(values=ROWS, layout=st.sampled_from([None, *LAYOUTS]), learned=st.sampled_from(["all", "last"]))
def test_every_row_is_a_conversation_or_says_why_not(values: dict[str, Any], layout: str | None, learned: Any) -> None:
    row = Row(7, values, None)
    result, fields, certainty, why = detect_layout([row], FieldMap(supervised_answers=learned))
    assert certainty in ("sure", "likely", "guess")
    assert is_safe(why)
    draft = to_draft(row, layout or result, fields, EmbeddedImageStore(None))
    if isinstance(draft, ExampleDraft):
        assert draft.turns[-1].role == "assistant"
        assert draft.turns[-1].text.strip()
        contents = sorted(part for turn in draft.turns for part in turn.parts if isinstance(part, int))
        assert contents == list(range(len(draft.images)))
        for written in WRITABLE_LAYOUTS:
            try:
                expected = to_row(draft, written, fields, image_list=False)
            except LayoutError as error:
                assert str(error).startswith("has ")
            else:
                assert expected.values
        return
    assert draft
    for problem in draft:
        assert problem.row == 7
        assert problem.what
        assert is_safe(str(problem))
        str(problem).encode("utf-8")


def test_nesting_that_json_allows_is_no_crash(tmp_path: Path) -> None:
    deep: Any = "x"
    for _level in range(800):
        deep = [deep]
    for name in ("text", "image", "messages", "extra"):
        values = {"text": "a", "image": None, "response": "b", name: json.loads(json.dumps(deep))}
        for layout in LAYOUTS:
            to_draft(Row(1, values, None), layout, FieldMap(), EmbeddedImageStore(tmp_path))
