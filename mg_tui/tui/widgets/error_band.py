"""A band with an error: what, where, why and what to try, while the error lasts."""

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.errors import GardenError
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line


def error_lines(error: GardenError, width: int) -> list[Content]:
    """An error as lines of `width` cells; its texts are never read as markup."""
    what = [one_line(text, limit=400) for text in error.what.splitlines() if text.strip()] or [type(error).__name__]
    lines = hanging_indent(Content.styled("✗", tone("failed", "bold")), Content.styled(what[0], "bold"), 2, width)
    for sentence in what[1:]:
        lines += hanging_indent(Content(), Content(sentence), 2, width)
    for label, text in (("where", error.where), ("why", error.why), ("try", runnable(error.hint or ""))):
        if text:
            content = Content(one_line(text, limit=1_000))
            lines += hanging_indent(line((f"  {label}", tone("dim"))), content, 8, width)
    return lines


class ErrorBand(Lines):
    """Hidden without an error."""

    DEFAULT_CSS = """
    ErrorBand { padding: 0 1; background: $band; display: none; max-height: 8; }
    ErrorBand.-visible { display: block; }
    """
    error: reactive[GardenError | None] = reactive(None, repaint=False)

    def watch_error(self) -> None:
        self.set_class(self.error is not None, "-visible")
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        return error_lines(self.error, width) if self.error is not None else []
