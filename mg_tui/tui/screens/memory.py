"""What a run needs in memory, in full: every part and why it is so large, where it fits, what would make it fit."""

from typing import TYPE_CHECKING

from textual.content import Content
from textual.message import Message

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging_indent, line

if TYPE_CHECKING:
    from mg_tui.hardware.memory import MemoryAdvisor
    from mg_tui.hardware.memory.candidates import DeviceFit
    from mg_tui.hardware.memory.estimator import MemoryEstimate


class FitsComputed(Message):
    """Where it fits, and why there is no GPU here if so; with the estimate for the kind of device of those places."""

    def __init__(self, estimate: "MemoryEstimate", answers: "list[DeviceFit]", why: str | None) -> None:
        super().__init__()
        self.estimate, self.fits, self.why = estimate, answers, why


class MemoryBreakdown(Lines):
    """The estimate as lines; devices follow when they have been asked."""

    result: FitsComputed | None = None

    def show(self, answered: FitsComputed) -> None:
        """Show where it fits, too."""
        self.result = answered
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.result is None:
            return [Content.styled("reckoning where it fits …", tone("dim"))]
        memory = self.result.estimate
        peak = line((formatting.size(memory.peak), "bold"), (f"  {memory.moment}", tone("dim")))
        lines = [*hanging_indent(Content.styled("peak", "bold"), peak, 28, width), Content()]
        for part in memory.parts:
            label = line(cell(Content(part.name), 18 if width < 60 else 27), " ")
            said = line((f"{formatting.size(part.bytes):>8}  ", "bold"), (part.why, tone("dim")))
            lines += hanging_indent(label, said, label.cell_length, width)
        lines += [Content(), Content.styled("Where it fits", tone("key", "bold"))]
        for answer in self.result.fits:
            lines += _device_lines(answer, width)
        if self.result.why:
            lines += Content.styled(f"No GPU here: {one_line(self.result.why)}", tone("dim")).wrap(width)
        for sentence in memory.assumed:
            lines += Content.styled(f"assumed: {one_line(sentence)}", tone("dim")).wrap(width)
        return lines


def _device_lines(answer: "DeviceFit", width: int) -> list[Content]:
    mark = ("✓ ", tone("finished", "bold")) if answer.fits else ("✗ ", tone("failed", "bold"))
    name = cell(Content.styled(one_line(answer.place.name), "bold" if answer.place.here else ""), 27)
    label = line(mark, name, f"{formatting.size(answer.place.free):>8}  ")
    if answer.fits:
        pixels = f", images of {answer.pixels:,} pixels" if answer.pixels else ""
        said = f"up to batch {answer.batch:,}{pixels}" if answer.batch else ""
    elif answer.suggestions:
        first = answer.suggestions[0]
        said = f"with {first.flags}: {formatting.size(first.estimate.peak)} ({first.cost})"
    else:
        said = "no single change makes it fit"
    return hanging_indent(
        label, Content.styled(one_line(said), tone("dim")), label.cell_length if width >= 70 else 4, width
    )


class MemoryScreen(TextModal):
    """Asks in a thread, as `model-garden estimate` does."""

    heading = "Memory"

    def __init__(self, question: "MemoryAdvisor") -> None:
        super().__init__()
        self._question = question

    def create_body(self) -> MemoryBreakdown:
        return MemoryBreakdown()

    def on_mount(self) -> None:
        self.run_worker(self._compute_fits, thread=True, exit_on_error=False)

    def _compute_fits(self) -> None:
        from mg_tui.hardware.memory.candidates import find_candidates, fit_on

        question = self._question
        found, why = find_candidates(question.spec)
        self.post_message(FitsComputed(question.estimate(), [fit_on(question, place) for place in found], why))

    def on_fits_computed(self, message: FitsComputed) -> None:
        self.query_one(MemoryBreakdown).show(message)
