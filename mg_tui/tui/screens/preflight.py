"""The preflight of a new run: its progress, and its findings when it fails."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content

from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.new.starter import PreflightFailed, PreflightStatus, RunStarted, RunStarter
from mg_tui.tui.screens.modal import Dialog, ScrollActions
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.error_band import error_lines
from mg_tui.tui.widgets.lines import Lines, hanging_indent, line

if TYPE_CHECKING:
    from mg_tui.config import Settings
    from mg_tui.core.spec import TrainingSpec

_MAX_ROWS: Final = 200  # problems that are listed


class PreflightReport(Lines):
    """The progress of the preflight, or its error."""

    progress: PreflightStatus | None = None
    error: GardenError | None = None

    def show(self, *, progress: PreflightStatus | None = None, error: GardenError | None = None) -> None:
        """Show a progress or an error."""
        self.progress, self.error = progress, error
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.error is not None:
            return _failure_lines(self.error, width)
        if self.progress is None:
            return [Content.styled("checking …", tone("dim"))]
        filled, rest = meter(
            self.progress.done / self.progress.total if self.progress.total else 0.0, max(width - 20, 10)
        )
        counted = f" {self.progress.done:,} of {self.progress.total:,}" if self.progress.total else ""
        return [Content(self.progress.phase), line((filled, tone("meter")), (rest, tone("track")), counted)]


def _failure_lines(error: GardenError, width: int) -> list[Content]:
    """The error; for bad rows, every problem with its hint."""
    problems = getattr(error, "problems", ())
    if not problems or not hasattr(problems[0], "row"):
        return error_lines(error, width)
    bad = len({problem.row for problem in problems})
    lines = [
        line(("✗ ", tone("failed", "bold")), (f"{formatting.count(bad, 'row')} cannot be trained on", "bold")),
        Content.styled(one_line(error.where or "", limit=400), tone("dim")),
        Content(),
    ]
    for problem in problems[:_MAX_ROWS]:
        label = line((f"row {problem.row}", tone("eval", "bold")))
        field = f"{one_line(problem.field, limit=60)}: " if problem.field else ""
        lines += hanging_indent(label, Content(field + one_line(problem.what, limit=600)), 12, width)
        if problem.hint:
            lines += hanging_indent(
                Content(), Content.styled(one_line(problem.hint, limit=400), tone("dim")), 12, width
            )
    if len(problems) > _MAX_ROWS:
        lines.append(Content.styled(f"and {len(problems) - _MAX_ROWS:,} more", tone("dim")))
    if error.hint:
        hint = Content(one_line(_flags_to_titles(error.hint)))
        lines += [Content(), *hanging_indent(Content.styled("try", tone("dim")), hint, 5, width)]
    return lines


def _flags_to_titles(text: str) -> str:
    """Replace flags by the titles that the form uses."""
    from mg_tui.core.options import options_of
    from mg_tui.core.spec import TrainingSpec

    for opt in sorted(options_of(TrainingSpec), key=lambda opt: -len(opt.flag)):
        text = text.replace(f"{opt.flag} ", f"“{opt.title}” ")
    return text


class PreflightScreen(ScrollActions, Dialog[RunStarted | None]):
    """Runs the preflight and starts the run; returns the started run, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("check", "log")]
    AUTO_FOCUS = "#findings"

    def __init__(
        self,
        spec: "TrainingSpec",
        settings: "Settings",
        *,
        cwd: Path,
        in_queue: bool = False,
        gpus: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self._starter = RunStarter(self, spec, settings, cwd=cwd, in_queue=in_queue, gpus=gpus)
        self.error: GardenError | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="dialog") as dialog:
            dialog.can_focus = False
            dialog.border_title = "Checking model and data"
            dialog.border_subtitle = "esc cancels"
            with VerticalScroll(id="findings"):
                yield PreflightReport()

    def on_mount(self) -> None:
        self._starter.start()

    def on_preflight_status(self, message: PreflightStatus) -> None:
        self.query_one(PreflightReport).show(progress=message)

    def on_preflight_failed(self, message: PreflightFailed) -> None:
        self.error = message.error
        dialog = self.query_one("#dialog", VerticalScroll)
        dialog.border_title = "The run was not started"
        dialog.border_subtitle = "esc closes"
        self.query_one(PreflightReport).show(error=message.error)

    def on_run_started(self, message: RunStarted) -> None:
        self.dismiss(message)

    def action_close(self) -> None:
        self._starter.cancel()
        self.dismiss(None)

    @property
    def _scroll_target(self) -> VerticalScroll:
        return self.query_one("#findings", VerticalScroll)
