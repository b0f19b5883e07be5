"""The lower panes of a run's screen: log, notes, answers, checkpoints, options."""

from collections import deque
from collections.abc import Iterable
from typing import ClassVar, Final

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.reactive import reactive
from textual.strip import Strip
from textual.widgets import Log

from mg_tui.core.text import one_line
from mg_tui.tui.actions import bindings, format_key
from mg_tui.tui.runs.feeds import MAX_LOG_LINES
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, fit, hanging_indent, line, link
from mg_tui.tui.widgets.scroll_box import ScrollBox

PANES: Final = (
    ("log", "Log", "l"),
    ("notes", "Notes", "n"),
    ("samples", "Answers", "a"),
    ("saved", "Checkpoints", "p"),
    ("spec", "Options", "o"),
)


class RunTabs(Lines):
    """The current pane, and the keys of the others."""

    DEFAULT_CSS = """
    RunTabs { height: 1; padding: 0 1; background: $panel; }
    """
    pane: reactive[str] = reactive("log", repaint=False)
    detail: reactive[RunDetail | None] = reactive(None, repaint=False)
    following: reactive[bool] = reactive(True, repaint=False)

    def watch_pane(self) -> None:
        self.redraw()

    def watch_detail(self) -> None:
        self.redraw()

    def watch_following(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        parts = []
        for pane, title, key in PANES:
            style = "bold" if pane == self.pane else tone("dim")
            mark = "underline " if pane == self.pane else ""
            count = self._count(pane)
            parts.append(
                line(
                    link(format_key(key), f"screen.{pane}", tone("key")),
                    " ",
                    link(title, f"screen.{pane}", mark + style),
                    (
                        f" {count}" if count else "",
                        tone("eval") if pane == "notes" and self._has_warnings else tone("dim"),
                    ),
                )
            )
        tabs = Content("   ").join(parts)
        if self.pane == "log" and not self.following:
            held = Content.styled("held: f follows", tone("eval"))
            if tabs.cell_length + held.cell_length + 3 <= width:
                return [line(cell(tabs, width - held.cell_length), held)]
        return [fit(tabs, width)]

    @property
    def _has_warnings(self) -> bool:
        return bool(self.detail and self.detail.warnings)

    def _count(self, pane: str) -> int:
        if self.detail is None:
            return 0
        return {
            "notes": len(self.detail.warnings) + len(self.detail.decisions),
            "samples": len(self.detail.samples),
            "saved": len(self.detail.checkpoints),
        }.get(pane, 0)


class LogPane(Log):
    """The worker's log. The feed has made its lines printable, and nothing in them is read as markup."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("log")]
    DEFAULT_CSS = """
    LogPane {
        padding: 0 1; scrollbar-size: 0 0; overflow-x: auto; overflow-y: scroll; background: $background;
        &:focus { background-tint: $foreground 0%; }
    }
    """

    empty_text = "No output from the worker yet."

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, max_lines=MAX_LOG_LINES, highlight=False)
        self.all_lines: deque[str] = deque(maxlen=MAX_LOG_LINES)  # every line, whatever the filter
        self.filter_words: tuple[str, ...] = ()

    def add(self, lines: Iterable[str], *, follow: bool) -> None:
        """Add new lines; those that match the filter are shown."""
        lines = list(lines)
        self.all_lines.extend(lines)
        if matching := [line for line in lines if self._matches(line)]:
            self.write_lines(matching, scroll_end=follow)

    def clear_lines(self) -> None:
        """Forget every line; the filter stays."""
        self.all_lines.clear()
        self.clear()

    def filter_lines(self, query: str) -> None:
        """Show only lines with all words of `query`, whatever their case."""
        words = tuple(query.casefold().split())
        if words != self.filter_words:
            self.filter_words = words
            self.clear()
            self.write_lines([line for line in self.all_lines if self._matches(line)], scroll_end=True)

    def _matches(self, line: str) -> bool:
        text = line.casefold() if self.filter_words else ""
        return all(word in text for word in self.filter_words)

    def render_line(self, y: int) -> Strip:
        if self.line_count == 0 and y == 0:
            text = "No line matches; esc shows all." if self.all_lines else self.empty_text
            content = Content.styled(text, tone("dim")).truncate(self.size.width)
            return Strip([Segment(text, style.rich_style) for text, style in content.render(self.visual_style, end="")])
        return super().render_line(y)


class DetailPane(ScrollBox):
    """A pane of lines that scrolls."""

    def __init__(self, content_lines: "PaneLines", *, id: str) -> None:
        super().__init__(id=id)
        self.content_lines = content_lines

    def compose(self) -> ComposeResult:
        yield self.content_lines

    def show(self, detail: RunDetail) -> None:
        """Show the run's `detail`."""
        self.content_lines.detail = detail


class PaneLines(Lines):
    """The lines of a pane."""

    DEFAULT_CSS = """
    PaneLines { padding: 0 1; }
    """
    detail: reactive[RunDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        return self.detail_lines(self.detail, width) if self.detail is not None else [Content()]

    def detail_lines(self, detail: RunDetail, width: int) -> list[Content]:
        """The lines for a run's detail."""
        raise NotImplementedError


class RunNotes(PaneLines):
    """What a person noted, then warnings, newest first, then automatic decisions and their reasons."""

    def detail_lines(self, detail: RunDetail, width: int) -> list[Content]:
        lines: list[Content] = []
        if note := detail.row.annotations.note:
            lines += [
                part
                for text in note.splitlines()
                for part in hanging_indent(Content.styled("✎", tone("key", "bold")), Content(text), 2, width)
            ]
        for warning in reversed(detail.warnings):
            times = f" ({warning.times} times)" if warning.times > 1 else ""
            lines += hanging_indent(
                Content.styled("⚠", tone("eval", "bold")), line(one_line(warning.what), times), 2, width
            )
            for label, text in (("where", warning.where), ("why", warning.why), ("try", warning.hint)):
                if text:
                    lines += hanging_indent(
                        Content.styled(f"  {label}", tone("dim")), Content(one_line(text)), 9, width
                    )
        for decision in detail.decisions:
            value = one_line(str(decision.value), limit=200)
            content = line((one_line(decision.what), "bold"), "  ", value, (f"  {one_line(decision.why)}", tone("dim")))
            lines += hanging_indent(Content.styled("·", tone("key")), content, 2, width)
        if detail.warning_count > len(detail.warnings):
            lines.append(Content.styled(f"{detail.warning_count} warnings in all", tone("dim")))
        return lines or [Content.styled("No warnings, and no options chosen automatically yet.", tone("dim"))]


class RunOptionList(PaneLines):
    """The options of the run, from its spec."""

    def detail_lines(self, detail: RunDetail, width: int) -> list[Content]:
        values = [(name, value) for name, value in detail.spec.items() if value is not None]
        lines: list[Content] = []
        for name, value in values:
            content = Content(one_line(str(value), limit=400))
            lines += hanging_indent(Content.styled(one_line(name), tone("dim")), content, 30, width)
        return lines or [Content.styled("The spec cannot be read.", tone("dim"))]
