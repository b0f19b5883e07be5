"""Marks in text, and the tokenizer that understands them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mg_tui.families.supervision_marks import (
    CUT,
    MARKS,
    SUPERVISED_END,
    SUPERVISED_START,
    CannotSplitText,
    MarkedSpan,
    MarkedTokenizer,
    split_at_marks,
    strip_marks,
)


def test_pieces() -> None:
    assert split_at_marks(f"ask{SUPERVISED_START}answer{SUPERVISED_END}rest") == [
        MarkedSpan("ask", False, False),
        MarkedSpan("answer", True, False),
        MarkedSpan("rest", False, False),
    ]
    assert split_at_marks(f"a<{CUT}|b|>{SUPERVISED_START}c{CUT}d{SUPERVISED_END}") == [
        MarkedSpan("a<", False, False),
        MarkedSpan("|b|>", False, True),
        MarkedSpan("c", True, False),
        MarkedSpan("d", True, True),
    ]
    assert split_at_marks("") == []
    assert split_at_marks(f"{SUPERVISED_START}{CUT}{SUPERVISED_END}") == []


def test_a_cut_before_a_border_is_not_lost() -> None:
    assert split_at_marks(f"a{CUT}{SUPERVISED_START}b") == [MarkedSpan("a", False, False), MarkedSpan("b", True, True)]


@given(st.text(alphabet=["a", "b", " ", *MARKS], max_size=30))
def test_no_character_is_lost(text: str) -> None:
    assert "".join(piece.text for piece in split_at_marks(text)) == strip_marks(text)


def test_without_marks_it_is_the_tokenizer(processor: Any) -> None:
    marked = MarkedTokenizer(processor.tokenizer)
    text = "<|im_start|>user\nhello there<|im_end|>\n"
    assert marked(text)["input_ids"] == [processor.tokenizer(text)["input_ids"]]
    assert marked.supervised == [[False] * len(marked.ids[0])]
    assert marked.eos_token == processor.tokenizer.eos_token
    assert len(marked) == len(processor.tokenizer)


def test_borders_between_tokens_change_none(processor: Any) -> None:
    tokenizer = processor.tokenizer
    ids, learned = MarkedTokenizer(tokenizer).encode_marked(
        f"<|im_start|>user\n{SUPERVISED_START}hello<|im_end|>{SUPERVISED_END}\n"
    )
    assert ids == tokenizer("<|im_start|>user\nhello<|im_end|>\n")["input_ids"]
    assert tokenizer.decode([token for token, learn in zip(ids, learned, strict=True) if learn]) == "hello<|im_end|>"


def test_a_border_inside_a_token_ends_it(processor: Any) -> None:
    tokenizer = processor.tokenizer
    whole = tokenizer("a\n\nb")["input_ids"]
    ids, learned = MarkedTokenizer(tokenizer).encode_marked(f"a\n{SUPERVISED_START}\nb")
    assert tokenizer.decode(ids) == "a\n\nb"
    assert learned.index(True) == len(tokenizer("a\n")["input_ids"])
    assert len(ids) >= len(whole)


class SpacedTokenizer:
    """A tokenizer that, like Llama's, puts a space before every text."""

    is_fast = True

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": [1] * len(text), "offset_mapping": [(i, i + 1) for i in range(len(text))]}

    def encode(self, text: str, **_: Any) -> list[int]:
        return [0] + [1] * len(text)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return ["▁" if number == 0 else "a" for number in ids]


def test_a_tokenizer_that_cannot_be_cut_says_so_only_when_it_must_be() -> None:
    marked = MarkedTokenizer(SpacedTokenizer())
    assert marked.encode_marked(f"a{SUPERVISED_START}b") == ([1, 1], [False, True])
    with pytest.raises(CannotSplitText):
        marked.encode_marked(f"a{CUT}b")
