"""What happens between asking for a run and having it: the check, how far it is, and what it found."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen

from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.actions import bindings
from mg_tui.tui.draw import meter
from mg_tui.tui.new.starting import CheckFailed, Checking, Started, Starter
from mg_tui.tui.screens.modal import Scrolling
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging, line
from mg_tui.tui.widgets.said import error_lines

if TYPE_CHECKING:
    from mg_tui.config import Settings
    from mg_tui.core.spec import TrainingSpec

_ROWS: Final = 200  # findings that are listed


class Findings(Lines):
    """How far the check is, or what it found."""

    said: Checking | None = None
    error: GardenError | None = None

    def show(self, *, said: Checking | None = None, error: GardenError | None = None) -> None:
        """Show something else."""
        self.said, self.error = said, error
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.error is not None:
            return _failed(self.error, width)
        if self.said is None:
            return [Content.styled("looking …", tone("dim"))]
        filled, rest = meter(self.said.done / self.said.total if self.said.total else 0.0, max(width - 20, 10))
        counted = f" {self.said.done:,} of {self.said.total:,}" if self.said.total else ""
        return [Content(self.said.what), line((filled, tone("meter")), (rest, tone("track")), counted)]


def _failed(error: GardenError, width: int) -> list[Content]:
    """The error; where it is about rows, every one of them with what to do about it."""
    problems = getattr(error, "problems", ())
    if not problems or not hasattr(problems[0], "row"):
        return error_lines(error, width)
    bad = len({problem.row for problem in problems})
    lines = [
        line(("✗ ", tone("failed", "bold")), (f"{words.count(bad, 'row')} cannot be trained on", "bold")),
        Content.styled(one_line(error.where or "", limit=400), tone("dim")),
        Content(),
    ]
    for problem in problems[:_ROWS]:
        label = line((f"row {problem.row}", tone("eval", "bold")))
        field = f"{one_line(problem.field, limit=60)}: " if problem.field else ""
        lines += hanging(label, Content(field + one_line(problem.what, limit=600)), 12, width)
        if problem.hint:
            lines += hanging(Content(), Content.styled(one_line(problem.hint, limit=400), tone("dim")), 12, width)
    if len(problems) > _ROWS:
        lines.append(Content.styled(f"and {len(problems) - _ROWS:,} more", tone("dim")))
    if error.hint:
        said = Content(one_line(_in_words_of_the_form(error.hint)))
        lines += [Content(), *hanging(Content.styled("try", tone("dim")), said, 5, width)]
    return lines


def _in_words_of_the_form(text: str) -> str:
    """Flags as the form calls them."""
    from mg_tui.core.options import options_of
    from mg_tui.core.spec import TrainingSpec

    for opt in sorted(options_of(TrainingSpec), key=lambda opt: -len(opt.flag)):
        text = text.replace(f"{opt.flag} ", f"“{opt.title}” ")
    return text


class CheckScreen(Scrolling, ModalScreen[Started | None]):
    """Starts the check; answers with what was started, or None when nothing was."""

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
        self._starter = Starter(self, spec, settings, cwd=cwd, in_queue=in_queue, gpus=gpus)
        self.error: GardenError | None = None

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="dialog") as dialog:
            dialog.can_focus = False
            dialog.border_title = "Checking before the start"
            dialog.border_subtitle = "esc cancels; nothing is started"
            with VerticalScroll(id="findings"):
                yield Findings()

    def on_mount(self) -> None:
        self._starter.start()

    def on_checking(self, message: Checking) -> None:
        self.query_one(Findings).show(said=message)

    def on_check_failed(self, message: CheckFailed) -> None:
        self.error = message.error
        dialog = self.query_one("#dialog", VerticalScroll)
        dialog.border_title = "Nothing was started"
        dialog.border_subtitle = "esc closes"
        self.query_one(Findings).show(error=message.error)

    def on_started(self, message: Started) -> None:
        self.dismiss(message)

    def action_close(self) -> None:
        self._starter.cancel()
        self.dismiss(None)

    @property
    def _text(self) -> VerticalScroll:
        return self.query_one("#findings", VerticalScroll)
