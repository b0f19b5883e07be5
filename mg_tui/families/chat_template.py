"""Renders a conversation with its chat template and marks the supervised text (see `supervision_marks`).

Supervised spans are located by rendering prefixes of the conversation: everything before an answer, with the generation
prompt, must be a prefix of everything up to and including the answer; the rest is the answer with its end-of-turn
token. White space that a template writes after that token is not supervised, since the model never generates it.

Text from a dataset cannot inject control tokens. Control tokens (those the template writes, image tokens, and bos, eos,
pad and unk) are cut where they occur in text, so that they are tokenized like any other characters. Other added tokens,
such as `<|box_start|>`, keep their meaning: answers use them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from mg_tui.core.errors import DataError, FamilyError
from mg_tui.core.example import ImagePart, Message
from mg_tui.families.supervision_marks import CUT, MARKS, SUPERVISED_END, SUPERVISED_START

_MAX_CACHED_PROMPTS: Final = 4096
_IMAGE_TOKEN_PATTERN = re.compile(r"image|img|vision|video|picture|patch|audio", re.IGNORECASE)


@dataclass(frozen=True)
class ChatTemplate:
    """The chat template of a processor; `title` is its family's, for messages."""

    processor: Any
    title: str

    @cached_property
    def source(self) -> str:
        """The template's text.

        Raises:
            FamilyError: the checkpoint has none.
        """
        template = getattr(self.processor, "chat_template", None) or self.processor.tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            raise FamilyError(
                f"{self.title}: this checkpoint has no chat template",
                why="pretrained models without instruction tuning usually have none",
                hint="use the Instruct, Chat or -it variant",
            )
        return str(template)

    @cached_property
    def image_tokens(self) -> frozenset[str]:
        """Added tokens that stand for images, video or audio, or enclose them. Never supervised."""
        attributes = [name for name in dir(type(self.processor)) if name.endswith("_token")]
        attributes += [name for name in vars(self.processor) if name.endswith("_token")]
        named = {getattr(self.processor, name, None) for name in attributes}
        added = self.processor.tokenizer.get_added_vocab()
        return frozenset(token for token in added if token in named or _IMAGE_TOKEN_PATTERN.search(token))

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Added tokens that text from a dataset must not be tokenized as."""
        tokenizer = self.processor.tokenizer
        own = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}
        control = self.image_tokens | {t for t in tokenizer.get_added_vocab() if t in own or t in self.source}
        # A single character cannot be cut, and an added token of white space is ordinary text.
        return tuple(sorted(token for token in control if len(token) > 1 and not token.isspace()))

    @cached_property
    def _control(self) -> re.Pattern[str]:
        # A look-ahead, so that overlapping occurrences all match.
        return re.compile(f"(?=({'|'.join(map(re.escape, self.control_tokens)) or '(?!)'}))")

    def prompt(self, messages: Sequence[Message], *, row: int | None = None) -> str:
        """The marked generation prompt for `messages`.

        Raises:
            DataError: the template rejects the conversation; `row` is named.
        """
        return self._render(messages, row, answer_next=True)

    def training(self, messages: Sequence[Message], *, row: int | None, on_prompt: bool) -> str:
        """The marked training text: the supervised answers are marked, or with `on_prompt` the whole text.

        Raises:
            DataError: no supervised answer, or the template rejects the conversation; `row` is named.
            FamilyError: the template cannot be marked.
        """
        if not messages or messages[-1].role != "assistant":
            raise DataError(f"{_name_row(row)}: the conversation does not end with a supervised answer")
        full = self._render(messages, row)
        answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
        spans = [self._answer(messages, index, full, row) for index in answers]
        if not full[: spans[-1][1]].endswith(self.control_tokens) and self.processor.tokenizer.eos_token:
            # The template ends an answer without a token: append EOS, or the model would never stop.
            full = full.rstrip() + str(self.processor.tokenizer.eos_token)
            spans[-1] = (spans[-1][0], len(full))
        supervised = [span for index, span in zip(answers, spans, strict=True) if messages[index].supervised]
        return _insert_marks(full, [(0, len(full))] if on_prompt else supervised)

    def _answer(self, messages: Sequence[Message], index: int, full: str, row: int | None) -> tuple[int, int]:
        if index == 0:
            raise DataError(
                f"{_name_row(row)}: the conversation starts with an assistant turn", hint="start with a user turn"
            )
        before = self._render_before(messages[:index], row)
        until = full if index + 1 == len(messages) else self._render(messages[: index + 1], row)
        if not until.startswith(before):  # a template may write today's date, and the cached text is of yesterday
            self._rendered.clear()
            before = self._render_before(messages[:index], row)
        if not (until.startswith(before) and full.startswith(until)):
            raise FamilyError(
                f"{self.title}: cannot locate the answer tokens in the chat template's output",
                why="the template's output for a prefix changes when more turns follow",
                hint="the family must provide make_collator",
            )
        return len(before), max(len(until.rstrip()), len(before))

    def _render_before(self, messages: Sequence[Message], row: int | None) -> str:
        """The generation prompt, cached: datasets ask the same questions of many images."""
        key = tuple(
            (m.role, *(None if isinstance(part, ImagePart) else part.text for part in m.parts)) for m in messages
        )
        text = self._rendered.get(key)
        if text is None:
            text = self._render(messages, row, answer_next=True)
            if len(self._rendered) >= _MAX_CACHED_PROMPTS:
                self._rendered.clear()
            self._rendered[key] = text
        return text

    @cached_property
    def _rendered(self) -> dict[tuple[tuple[str | None, ...], ...], str]:
        return {}

    def _render(self, messages: Sequence[Message], row: int | None, *, answer_next: bool = False) -> str:
        chat = [{"role": message.role, "content": self._content(message, row)} for message in messages]
        try:
            text = self.processor.apply_chat_template(
                chat, chat_template=self.source, tokenize=False, add_generation_prompt=answer_next
            )
        except Exception as error:
            from jinja2 import TemplateError

            if not isinstance(error, TemplateError):
                raise
            raise DataError(
                f"{_name_row(row)}: the chat template of {self.title} rejects this conversation", why=str(error)
            ) from error
        return str(text)

    def _content(self, message: Message, row: int | None) -> list[dict[str, str]]:
        content: list[dict[str, str]] = []
        for part in message.parts:
            if isinstance(part, ImagePart):
                content.append({"type": "image"})
            elif content and content[-1]["type"] == "text":
                # Adjacent text parts are joined first: a control token could be split across them.
                content[-1]["text"] += part.text
            else:
                content.append({"type": "text", "text": part.text})
        for item in content:
            if item["type"] == "text":
                item["text"] = self._plain(item["text"], row)
        return content

    def _plain(self, text: str, row: int | None) -> str:
        if any(mark in text for mark in MARKS):
            raise DataError(
                f"{_name_row(row)}: the text contains a Unicode noncharacter (U+FDD0 to U+FDD4)",
                hint="remove it",
            )
        for match in reversed(list(self._control.finditer(text))):
            cut = match.start() + 1
            text = text[:cut] + CUT + text[cut:]
        return text


def _insert_marks(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in reversed(spans):
        text = text[:start] + SUPERVISED_START + text[start:end] + SUPERVISED_END + text[end:]
    return text


def _name_row(row: int | None) -> str:
    return f"row {row}" if row is not None else "the conversation"
