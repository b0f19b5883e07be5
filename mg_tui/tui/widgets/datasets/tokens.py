"""A row as tokens of a model, with the supervised ones marked."""

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
# How whitespace is made visible.
_VISIBLE_WHITESPACE: Final = str.maketrans({"\n": "↵\n", "\t": "→", "\r": "␍"})


class TokenPane(VerticalScroll, can_focus=False):
    """Requests the tokens of the current row from an engine program that holds the model's processor."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.is_shown = False
        self._engine: EngineClient | None = None
        self._open_model = ""  # the base model whose processor the engine has
        self._requested_row = 0  # the requested row; 0 when none is
        self._detail: RowDetail | None = None
        self._base_model = ""

    def compose(self) -> ComposeResult:
        yield TokenText()

    def on_unmount(self) -> None:
        if self._engine is not None:
            self._engine.shut_down()

    def show(self, detail: RowDetail | None, base_model: str) -> None:
        """Show a row's tokens for a base model, as soon as the pane is visible."""
        self._detail, self._base_model = detail, base_model
        if not self.is_shown or self._requested_row or detail is None:
            return
        if detail.messages is None:
            self._show_placeholder("This row has no conversation; r shows why.")
            return
        if self._engine is None:
            self._engine = EngineClient(self, TOKEN_PROGRAM)
        if self._open_model != base_model:
            self._open_model = base_model
            self._show_placeholder(f"reading the tokenizer of {one_line(base_model)} …")
            self._engine.request("open", base_model=base_model)
        self._requested_row = detail.number
        self._engine.request("row", row=detail.number, messages=detail.messages)

    def _show_placeholder(self, placeholder: str) -> None:
        text = self.query_one(TokenText)
        text.record, text.placeholder = None, placeholder

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
        failed_before = message.op == "row" and not self._open_model  # it follows from an error that is shown
        if message.op == "row":
            self._requested_row = 0
        if not failed_before:
            self._show_placeholder("\n".join(one_line(text, limit=400) for text in message.error.lines()))


class TokenText(Lines):
    """A row token by token: supervised tokens in color and underlined, an image as one cell with its count."""

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
    """The number of tokens, of supervised tokens, and the size at which the model sees each image."""
    tokens, supervised = int(record["tokens"]), int(record["learned"])
    content = line(
        (f"{tokens:,}", "bold"),
        " tokens   ",
        ("▁", tone("finished", "underline")),
        (f"{supervised:,} supervised", tone("finished", "underline")),
        (f" ({formatting.percent(supervised / tokens if tokens else 0)})", tone("dim")),
    )
    lines = [fit(content, width)]
    for number, image in enumerate(record["images"], 1):
        size, model_size, count = image["size"], image["seen_at"], image["tokens"]
        text = f"▣ image {number}: {size[0]}x{size[1]}"
        text += f", resized to {model_size[0]}x{model_size[1]}" if model_size else ""
        text += f", {count:,} tokens" if count is not None else ", token count unknown"
        lines.append(fit(Content.styled(text, tone("eval")), width))
    return lines


def token_text(record: Mapping[str, Any]) -> Content:
    """The pieces one after the other; neighbors alternate between bold and regular, which shows their borders."""
    parts: list[tuple[str, str]] = []
    counts = [image["tokens"] for image in record["images"]]
    for index, (piece, supervised) in enumerate(record["pieces"]):
        if isinstance(piece, int):
            count = counts[piece] if piece < len(counts) else None
            parts.append((f"▣×{count:,}" if count is not None else "▣", tone("eval", "bold")))
            continue
        text = printable(piece).translate(_VISIBLE_WHITESPACE)
        bold = ("bold",) if index % 2 else ()
        parts.append((text, tone("finished", "underline", *bold) if supervised else tone("dim", *bold)))
    return Content.assemble(*parts)
