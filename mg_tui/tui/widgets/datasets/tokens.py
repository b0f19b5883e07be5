"""A row as a model sees it: its tokens, and which of them it learns."""

from collections.abc import Mapping
from typing import Any, Final

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line, printable
from mg_tui.tui import formatting
from mg_tui.tui.datasets.row_view import RowDetail
from mg_tui.tui.engine_client import EngineClient, EngineEvent, EngineRequestFailed
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, line

TOKEN_PROGRAM: Final = "mg_tui.engine.inference.inspect_tokens"
# How tokens of which nothing could be seen are written.
_VISIBLE_WHITESPACE: Final = str.maketrans({"\n": "↵\n", "\t": "→", "\r": "␍"})


class TokenPane(VerticalScroll, can_focus=False):
    """Asks an engine program, which keeps the model's processor, for the tokens of the row in sight."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.is_shown = False
        self._engine: EngineClient | None = None
        self._open_model = ""  # the base model whose processor the child has
        self._requested_row = 0  # the row that was asked for and has not come
        self._detail: RowDetail | None = None
        self._base_model = ""

    def compose(self) -> ComposeResult:
        yield TokenText()

    def on_unmount(self) -> None:
        if self._engine is not None:
            self._engine.shut_down()

    def show(self, detail: RowDetail | None, base_model: str) -> None:
        """Show a row's tokens for a base model, once they are in sight."""
        self._detail, self._base_model = detail, base_model
        if not self.is_shown or self._requested_row or detail is None:
            return
        if detail.messages is None:
            self._show_placeholder("This row makes no conversation; r shows why.")
            return
        if self._engine is None:
            self._engine = EngineClient(self, TOKEN_PROGRAM)
        if self._open_model != base_model:
            self._open_model = base_model
            self._show_placeholder(f"reading the tokenizer of {one_line(base_model)} …")
            self._engine.request("open", base_model=base_model)
        self._requested_row = detail.number
        self._engine.request("row", row=detail.number, messages=detail.messages)

    def _show_placeholder(self, said: str) -> None:
        text = self.query_one(TokenText)
        text.record, text.placeholder = None, said

    def on_engine_event(self, message: EngineEvent) -> None:
        message.stop()
        if message.op == "row" and message.is_reply:
            self._requested_row = 0
            if self._is_current(message.event):
                self.query_one(TokenText).record = message.event
            else:
                self.show(self._detail, self._base_model)

    def _is_current(self, event: Mapping[str, Any]) -> bool:
        return (
            self._detail is not None
            and event.get("row") == self._detail.number
            and self._open_model == self._base_model
        )

    def on_engine_request_failed(self, message: EngineRequestFailed) -> None:
        message.stop()
        if message.op == "open":
            self._open_model = ""
        failed_before = message.op == "row" and not self._open_model  # it follows from what was said already
        if message.op == "row":
            self._requested_row = 0
        if not failed_before:
            self._show_placeholder("\n".join(one_line(text, limit=400) for text in message.error.lines()))


class TokenText(Lines):
    """A row token by token: what is learned in colour and underlined, an image as one cell with its count."""

    DEFAULT_CSS = """
    TokenText { padding: 0 1; }
    """
    record: reactive[Mapping[str, Any] | None] = reactive(None, repaint=False)
    placeholder: reactive[str] = reactive("", repaint=False)

    def watch_record(self) -> None:
        self.redraw()

    def watch_placeholder(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.record is None:
            return Content.styled(self.placeholder or "reading …", tone("dim")).wrap(width)
        return [*token_summary(self.record, width), Content(), *token_text(self.record).wrap(width)]


def token_summary(record: Mapping[str, Any], width: int) -> list[Content]:
    """How many tokens there are, how many are learned, and how the images are seen."""
    tokens, learned = int(record["tokens"]), int(record["learned"])
    said = line(
        (f"{tokens:,}", "bold"),
        " tokens   ",
        ("▁", tone("finished", "underline")),
        (f"{learned:,} learned", tone("finished", "underline")),
        (f" ({formatting.percent(learned / tokens if tokens else 0)})", tone("dim")),
    )
    lines = [fit(said, width)]
    for number, image in enumerate(record["images"], 1):
        size, seen, count = image["size"], image["seen_at"], image["tokens"]
        text = f"▣ image {number}: {size[0]}x{size[1]}" + (f", seen at {seen[0]}x{seen[1]}" if seen else "")
        text += f", {count:,} tokens" if count is not None else ", its tokens are known only to the processor"
        lines.append(fit(Content.styled(text, tone("eval")), width))
    return lines


def token_text(record: Mapping[str, Any]) -> Content:
    """The pieces one after the other; neighbours alternate in shade so that their borders are seen."""
    parts: list[tuple[str, str]] = []
    counts = [image["tokens"] for image in record["images"]]
    for index, (piece, learned) in enumerate(record["pieces"]):
        if isinstance(piece, int):
            count = counts[piece] if piece < len(counts) else None
            parts.append((f"▣×{count:,}" if count is not None else "▣", tone("eval", "bold")))
            continue
        text = printable(piece).translate(_VISIBLE_WHITESPACE)
        bold = ("bold",) if index % 2 else ()
        parts.append((text, tone("finished", "underline", *bold) if learned else tone("dim", *bold)))
    return Content.assemble(*parts)
