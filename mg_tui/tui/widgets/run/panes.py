"""The lower panes of a run's screen: log, notes, answers, checkpoints, options. One is shown at a time."""

from pathlib import Path
from typing import ClassVar, Final

from rich.segment import Segment
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.reactive import reactive
from textual.strip import Strip
from textual.widgets import Log

from mg_tui.core.text import one_line, printable
from mg_tui.tui import words
from mg_tui.tui.actions import bindings, key_name
from mg_tui.tui.feeds import LOG_LINES
from mg_tui.tui.picture import Pictures
from mg_tui.tui.snapshot import RunDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, fit, hanging, line, link

PANES: Final = (
    ("log", "Log", "l"),
    ("notes", "Notes", "n"),
    ("samples", "Answers", "a"),
    ("saved", "Checkpoints", "p"),
    ("spec", "Options", "o"),
)
ANSWERS_SHOWN: Final = 48


class PaneTabs(Lines):
    """Which pane is shown, and the keys of the others."""

    DEFAULT_CSS = """
    PaneTabs { height: 1; padding: 0 1; background: $panel; }
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
                    link(key_name(key), f"screen.{pane}", tone("key")),
                    " ",
                    link(title, f"screen.{pane}", mark + style),
                    (f" {count}" if count else "", tone("eval") if pane == "notes" and self._warned else tone("dim")),
                )
            )
        tabs = Content("   ").join(parts)
        if self.pane == "log" and not self.following:
            held = Content.styled("held: f follows", tone("eval"))
            if tabs.cell_length + held.cell_length + 3 <= width:
                return [line(cell(tabs, width - held.cell_length), held)]
        return [fit(tabs, width)]

    @property
    def _warned(self) -> bool:
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
    """The worker's log. Lines are text: the feed has made them printable, and nothing in them is markup."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("log")]
    DEFAULT_CSS = """
    LogPane {
        padding: 0 1; scrollbar-size: 0 0; overflow-x: auto; overflow-y: scroll; background: $background;
        &:focus { background-tint: $foreground 0%; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, max_lines=LOG_LINES, highlight=False)

    def render_line(self, y: int) -> Strip:
        if self.line_count == 0 and y == 0:
            said = Content.styled("The worker has printed nothing yet.", tone("dim")).truncate(self.size.width)
            return Strip([Segment(text, look.rich_style) for text, look in said.render(self.visual_style, end="")])
        return super().render_line(y)


class TextPane(VerticalScroll):
    """A pane of lines that scrolls."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("log")]
    DEFAULT_CSS = """
    TextPane { scrollbar-size-vertical: 1; }
    """

    def __init__(self, inside: "PaneLines", *, id: str) -> None:
        super().__init__(id=id)
        self.inside = inside

    def compose(self) -> ComposeResult:
        yield self.inside

    def show(self, detail: RunDetail) -> None:
        """Show what `detail` has."""
        self.inside.detail = detail


class PaneLines(Lines):
    """What is inside of a pane."""

    DEFAULT_CSS = """
    PaneLines { padding: 0 1; }
    """
    detail: reactive[RunDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        return self.lines_of(self.detail, width) if self.detail is not None else [Content()]

    def lines_of(self, detail: RunDetail, width: int) -> list[Content]:
        """The lines for what is known of the run."""
        raise NotImplementedError


class Notes(PaneLines):
    """Warnings, newest first, then what was decided and why."""

    def lines_of(self, detail: RunDetail, width: int) -> list[Content]:
        lines: list[Content] = []
        for notice in reversed(detail.warnings):
            times = f" ({notice.times} times)" if notice.times > 1 else ""
            lines += hanging(Content.styled("⚠", tone("eval", "bold")), line(one_line(notice.what), times), 2, width)
            for label, text in (("where", notice.where), ("why", notice.why), ("try", notice.hint)):
                if text:
                    lines += hanging(Content.styled(f"  {label}", tone("dim")), Content(one_line(text)), 9, width)
        for decision in detail.decisions:
            value = one_line(str(decision.value), limit=200)
            said = line((one_line(decision.what), "bold"), "  ", value, (f"  {one_line(decision.why)}", tone("dim")))
            lines += hanging(Content.styled("·", tone("key")), said, 2, width)
        if detail.warning_count > len(detail.warnings):
            lines.append(Content.styled(f"{detail.warning_count} warnings in all", tone("dim")))
        return lines or [Content.styled("No warnings, and nothing was decided for you yet.", tone("dim"))]


class Answers(PaneLines):
    """Generations made while training, newest first, each beside its picture."""

    def __init__(self) -> None:
        super().__init__()
        self._pictures = Pictures(self._picture_came)

    def _picture_came(self) -> None:
        if self.is_running:
            self.app.call_later(self.redraw)

    def on_unmount(self) -> None:
        self._pictures.end()

    def lines_of(self, detail: RunDetail, width: int) -> list[Content]:
        lines: list[Content] = []
        columns, rows = (32, 12) if width >= 100 else (20, 8) if width >= 60 else (0, 0)
        for sample in list(reversed(detail.samples))[:ANSWERS_SHOWN]:
            right = columns and sample.image is not None
            text = self._text(
                sample.step,
                sample.row,
                sample.prompt,
                sample.expected,
                sample.answer,
                width - (columns + 2 if right else 0),
            )
            if right:
                beside = self._picture(detail, str(sample.image), columns, rows)
                height = max(len(text), len(beside))
                text += [Content()] * (height - len(text))
                beside += [Content()] * (height - len(beside))
                text = [line(cell(left, columns), "  ", rest) for left, rest in zip(beside, text, strict=True)]
            lines += [*text, Content()]
        return lines or [
            Content.styled("Answers appear here at each evaluation or checkpoint (--sample-count).", tone("dim"))
        ]

    def _text(
        self, step: int, row: int | None, prompt: str, expected: str | None, answer: str, width: int
    ) -> list[Content]:
        where = f"step {step}" + ("" if row is None else f" · row {row}")
        lines = [Content.styled(where, tone("dim"))]
        right = expected is not None and answer.strip() == expected.strip()
        verdict = "finished" if right else "failed" if expected is not None else "key"
        for label, text, style in (
            ("asked", prompt, ""),
            ("expected", expected, ""),
            ("✓ answer" if right else "answer", answer, tone(verdict, "bold")),
        ):
            if text is not None:
                shown = Content.styled(printable(text.strip(), limit=2_000) or "(nothing)", style)
                lines += hanging(Content.styled(label, tone("dim")), shown, 10, width)
        return lines

    def _picture(self, detail: RunDetail, image: str, columns: int, rows: int) -> list[Content]:
        found = self._pictures.get(detail.row.folder.path / Path(image), columns, rows)
        if found is None:
            return [Content.styled("…", tone("dim"))]
        if isinstance(found, str):
            return Content.styled(f"no picture: {found}", tone("dim")).wrap(columns)[:rows]
        return list(found)


class Saved(PaneLines):
    """Whole checkpoints, newest first, and the result."""

    def lines_of(self, detail: RunDetail, width: int) -> list[Content]:
        lines: list[Content] = []
        if where := detail.result.get("result"):
            lines.append(line(("result  ", tone("finished", "bold")), one_line(str(where))))
        for saved in sorted(detail.checkpoints, key=lambda item: -item.step):
            lines.append(
                line(
                    (f"step {saved.step:>6}  ", "bold"),
                    f"{words.size(saved.bytes):>9}  ",
                    (f"saved in {words.duration(saved.seconds)}  ", tone("dim")),
                    one_line(saved.path),
                )
            )
        return [fit(item, width) for item in lines] or [
            Content.styled("No checkpoint is whole yet; c asks for one after the step being done.", tone("dim"))
        ]


class Options(PaneLines):
    """What was asked of the run, as its spec has it."""

    def lines_of(self, detail: RunDetail, width: int) -> list[Content]:
        values = [(name, value) for name, value in detail.spec.items() if value is not None]
        lines: list[Content] = []
        for name, value in values:
            shown = Content(one_line(str(value), limit=400))
            lines += hanging(Content.styled(one_line(name), tone("dim")), shown, 30, width)
        return lines or [Content.styled("The spec cannot be read.", tone("dim"))]
