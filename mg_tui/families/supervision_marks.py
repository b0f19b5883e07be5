"""Marks in rendered text: which characters are supervised, and where a token must end.

A chat template turns a conversation into one text, and the processor inserts image tokens into it; both shift
characters, so offsets known before are wrong after. Five Unicode noncharacters in the text mark positions instead:

    CUT               a token ends here: inside text that would otherwise be tokenized as a control token
    SUPERVISED_START  the following text is supervised
    SUPERVISED_END    the following text is not
    IMAGE_START       the following text stands for an image: no token that has a part of it is supervised
    IMAGE_END         the following text does not

`MarkedTokenizer` replaces the processor's tokenizer during one call. It removes the marks, tokenizes, and records for
each text which of its tokens are supervised. Without a CUT, and when token boundaries coincide with the marks, which is
nearly always so, the tokens are those of the unmarked text.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

CUT: Final = "\ufdd0"
SUPERVISED_START: Final = "\ufdd1"
SUPERVISED_END: Final = "\ufdd2"
IMAGE_START: Final = "\ufdd3"
IMAGE_END: Final = "\ufdd4"
MARKS: Final = (CUT, SUPERVISED_START, SUPERVISED_END, IMAGE_START, IMAGE_END)
_ANY_MARK: Final = re.compile(f"([{''.join(MARKS)}])")


class CannotSplitText(Exception):
    """The tokenizer prepends a space to every text, so that text cannot be tokenized piece by piece."""


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """A span of text between marks: whether it is supervised, a CUT precedes it, and it stands for an image."""

    text: str
    supervised: bool
    after_cut: bool
    image: bool = False


def strip_marks(text: str) -> str:
    """The text without marks."""
    return _ANY_MARK.sub("", text)


def split_at_marks(text: str) -> list[MarkedSpan]:
    """The non-empty spans of text between marks."""
    spans: list[MarkedSpan] = []
    supervised = cut = image = False
    for index, piece in enumerate(_ANY_MARK.split(text)):
        if index % 2:  # a mark
            cut = cut or piece == CUT
            supervised = piece == SUPERVISED_START if piece in (SUPERVISED_START, SUPERVISED_END) else supervised
            image = piece == IMAGE_START if piece in (IMAGE_START, IMAGE_END) else image
        elif piece:
            spans.append(MarkedSpan(piece, supervised and not image, cut, image))
            cut = False
    return spans


class MarkedTokenizer:
    """A tokenizer that handles marks; all other attributes are the wrapped tokenizer's.

    After a call, `ids` and `supervised` have the unpadded token ids of each text, and which of them are supervised.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self.ids: list[list[int]] = []
        self.supervised: list[list[bool]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __call__(self, text: str | Sequence[str], *_others: Any, **options: Any) -> Any:
        texts = [text] if isinstance(text, str) else list(text)
        special = bool(options.get("add_special_tokens", True))
        encoded = [self.encode_marked(item, special=special) for item in texts]
        self.ids = [ids for ids, _supervised in encoded]
        self.supervised = [supervised for _ids, supervised in encoded]
        names = ("padding_side", "max_length", "pad_to_multiple_of", "return_tensors")
        pad_options = {name: options[name] for name in names if options.get(name) is not None}
        # Suppress the warning that separate padding is slow: it does not apply to already tokenized text.
        self._tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
        return self._tokenizer.pad(
            {"input_ids": self.ids}, padding=options.get("padding") or False, return_attention_mask=True, **pad_options
        )

    def encode_marked(self, text: str, *, special: bool = True) -> tuple[list[int], list[bool]]:
        """Token ids of a marked text, and whether each is supervised.

        `special`: the tokenizer adds its special tokens.
        """
        parts = split_at_marks(text)
        if self._tokenizer.is_fast and not any(part.after_cut for part in parts):
            whole = self._encode_whole(parts, special=special)
            if whole is not None:
                return whole
        return self._encode_cut(parts, special=special)

    def count_marked(
        self, texts: Sequence[str], never: Collection[int] = (), *, special: bool = True
    ) -> list[tuple[int, int]]:
        """For each marked text its tokens, and how many of them are supervised and not in `never`.

        The numbers are those of `encode_marked`; texts are tokenized together, which is faster.

        Raises:
            CannotSplitText: see there.
        """
        split = [split_at_marks(text) for text in texts]
        whole = [i for i, parts in enumerate(split) if self._tokenizer.is_fast and not any(p.after_cut for p in parts)]
        counts: list[tuple[int, int] | None] = [None] * len(texts)
        if whole:
            plain = ["".join(part.text for part in split[index]) for index in whole]
            encoded = self._tokenizer(
                plain, add_special_tokens=special, return_offsets_mapping=True, return_attention_mask=False
            )
            for index, ids, offsets in zip(whole, encoded["input_ids"], encoded["offset_mapping"], strict=True):
                supervised = _count_supervised(split[index], ids, offsets, never)
                counts[index] = None if supervised is None else (len(ids), supervised)
        for index, count in enumerate(counts):
            if count is None:
                ids, flags = self.encode_marked(texts[index], special=special)
                supervised = sum(flag and token not in never for token, flag in zip(ids, flags, strict=True))
                counts[index] = len(ids), supervised
        return [count for count in counts if count is not None]

    def _encode_whole(self, parts: list[MarkedSpan], *, special: bool) -> tuple[list[int], list[bool]] | None:
        """Tokens of the whole text; None when a token is partly supervised."""
        text = "".join(part.text for part in parts)
        encoding = self._tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        flags = b"".join(_flag(part) * len(part.text) for part in parts)
        supervised = []
        for start, end in encoding["offset_mapping"]:
            if flags.find(2, start, end) >= 0:
                supervised.append(False)
                continue
            any_supervised = flags.find(1, start, end) >= 0
            if any_supervised and flags.find(0, start, end) >= 0:
                return None
            supervised.append(any_supervised)
        return list(encoding["input_ids"]), supervised

    def _encode_cut(self, parts: list[MarkedSpan], *, special: bool) -> tuple[list[int], list[bool]]:
        """Tokens of each span, tokenized separately."""
        first = self._tokenizer.encode("a", add_special_tokens=False)[:1]
        if self._tokenizer.convert_ids_to_tokens(first) != ["a"]:
            raise CannotSplitText
        ids = list(self._tokenizer("")["input_ids"]) if special else []
        supervised = [False] * len(ids)
        for part in parts:
            tokens = self._tokenizer.encode(part.text, add_special_tokens=False)
            ids += tokens
            supervised += [part.supervised] * len(tokens)
        return ids, supervised


def _flag(part: MarkedSpan) -> bytes:
    return b"\2" if part.image else b"\1" if part.supervised else b"\0"


def _count_supervised(
    parts: Sequence[MarkedSpan], ids: Sequence[int], offsets: Sequence[tuple[int, int]], never: Collection[int]
) -> int | None:
    """Supervised tokens that are not in `never`; None when a token is partly supervised."""
    spans: list[tuple[int, int]] = []
    at = 0
    for part in parts:
        end = at + len(part.text)
        if part.supervised:
            if spans and spans[-1][1] == at:
                spans[-1] = spans[-1][0], end
            else:
                spans.append((at, end))
        at = end
    count = 0
    for first, last in spans:
        for token, (start, end) in zip(ids, offsets, strict=True):
            if start < last and end > first and start < end:
                if start < first or end > last:
                    return None
                count += token not in never
    return count
