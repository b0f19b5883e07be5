"""A conversation with a model as lines: each question, its answer as it comes, and its statistics."""

from collections.abc import Mapping
from typing import Any, Final

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content

from mg_tui.core.text import one_line, printable
from mg_tui.tui import formatting
from mg_tui.tui.models.conversation import Exchange
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line

LABEL_WIDTH: Final = 10  # cells before the text of a turn
MAX_CHARS: Final = 20_000  # of one text
CURSOR: Final = "▌"


def exchange_lines(exchange: Exchange, width: int) -> list[Content]:
    """One question and its answer."""
    question = exchange.question
    lines = _turn_lines("you", tone("key", "bold"), Content(printable(question.question, limit=MAX_CHARS)), width)
    if question.images:
        names = ", ".join(one_line(path.name, limit=80) for path in question.images)
        lines += _turn_lines("", "", Content.styled(f"▣ {names}", tone("dim")), width)
    if question.expected is not None:
        lines += _turn_lines(
            "expected", tone("dim"), Content(printable(question.expected.strip(), limit=MAX_CHARS)), width
        )
    answer = printable(exchange.answer, limit=MAX_CHARS)
    style = {True: tone("finished"), False: tone("failed"), None: ""}[exchange.is_correct]
    label = {True: "✓ model", False: "✗ model", None: "model"}[exchange.is_correct]
    if exchange.finished:
        text = Content.styled(answer.strip(), style) if answer.strip() else Content.styled("(nothing)", tone("dim"))
    else:
        text = line(answer.lstrip(), (CURSOR, tone("running")))
    if answer.strip() or not exchange.error:
        lines += _turn_lines(label, tone("running", "bold"), text, width)
    if exchange.error:
        lines += _turn_lines(
            "✗", tone("failed", "bold"), Content.styled(one_line(exchange.error), tone("failed")), width
        )
    if exchange.generation is not None:
        lines += _turn_lines("", "", Content.styled(format_generation_stats(exchange.generation), tone("dim")), width)
    return lines


def _turn_lines(label: str, style: str, text: Content, width: int) -> list[Content]:
    return hanging_indent(Content.styled(label, style), text, LABEL_WIDTH, width)


def format_generation_stats(record: Mapping[str, Any]) -> str:
    """Statistics of an answer: tokens, time, sizes of the images, how it ended."""
    parts = [formatting.count(int(record.get("tokens", 0)), "token")]
    if rate := record.get("tokens_per_second"):
        parts.append(f"{formatting.compact(float(rate))} tok/s")
    parts.append(f"first after {formatting.compact(float(record.get('first_token_seconds', 0.0)))} s")
    for image in record.get("images", ())[:2]:
        size, model_size = image["size"], image["seen_at"]
        text = f"image {size[0]}x{size[1]}"
        if model_size is not None and list(model_size) != list(size):
            text += f" resized to {model_size[0]}x{model_size[1]}"
        parts.append(text)
    if tokens := record.get("image_tokens"):
        parts.append(f"{formatting.count(int(tokens), 'image token')}")
    ended = record.get("ended")
    if ended == "length":
        parts.append("truncated at the token limit")
    elif ended == "cancelled":
        parts.append("cancelled")
    return " · ".join(parts)


class ConversationText(Lines):
    """All exchanges."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: list[Exchange] = []
        self.hint: list[Content] = []

    def lines(self, width: int) -> list[Content]:
        if not self.exchanges:
            return [piece for hint in self.hint for piece in hint.wrap(width) or [Content()]] or [Content()]
        lines: list[Content] = []
        for exchange in self.exchanges:
            lines += [*exchange_lines(exchange, width), Content()]
        return lines


class ConversationScroll(VerticalScroll, can_focus=False):
    """The conversation; follows its end unless it was scrolled up."""

    def compose(self) -> ComposeResult:
        yield ConversationText()

    def refresh_conversation(self) -> None:
        """Draw it again, and stay at the end if that is where it is."""
        at_end = self.scroll_offset.y >= self.max_scroll_y - 1
        self.query_one(ConversationText).redraw()
        if at_end:
            self.call_after_refresh(self.scroll_end, animate=False)
