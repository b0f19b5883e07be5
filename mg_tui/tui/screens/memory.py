"""The memory estimate of a run in full: every part and its reason, where it fits, and what would make it fit."""

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
    """The estimate, the devices with whether it fits, and why this machine has no GPU, if so."""

    def __init__(self, estimate: "MemoryEstimate", fits: "list[DeviceFit]", why_no_gpu: str | None) -> None:
        super().__init__()
        self.estimate, self.fits, self.why_no_gpu = estimate, fits, why_no_gpu


class MemoryBreakdown(Lines):
    """The estimate as lines."""

    result: FitsComputed | None = None

    def show(self, result: FitsComputed) -> None:
        """Show a result."""
        self.result = result
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.result is None:
            return [Content.styled("estimating where it fits …", tone("dim"))]
        memory = self.result.estimate
        peak = line((formatting.size(memory.peak), "bold"), (f"  {memory.moment}", tone("dim")))
        lines = [*hanging_indent(Content.styled("peak", "bold"), peak, 28, width), Content()]
        for part in memory.parts:
            label = line(cell(Content(part.name), 18 if width < 60 else 27), " ")
            text = line((f"{formatting.size(part.bytes):>8}  ", "bold"), (part.why, tone("dim")))
            lines += hanging_indent(label, text, label.cell_length, width)
        lines += [Content(), Content.styled("Where it fits", tone("key", "bold"))]
        for fit in self.result.fits:
            lines += _device_lines(fit, width)
        if self.result.why_no_gpu:
            lines += Content.styled(f"No GPU here: {one_line(self.result.why_no_gpu)}", tone("dim")).wrap(width)
        if any(not fit.place.here for fit in self.result.fits):
            from mg_tui.hardware.known_gpus import NOT_LISTED

            lines += Content.styled(NOT_LISTED, tone("dim")).wrap(width)
        for sentence in memory.assumed:
            lines += Content.styled(f"assumed: {one_line(sentence)}", tone("dim")).wrap(width)
        return lines


def _device_lines(fit: "DeviceFit", width: int) -> list[Content]:
    mark = ("✓ ", tone("finished", "bold")) if fit.fits else ("✗ ", tone("failed", "bold"))
    name = cell(Content.styled(one_line(fit.place.name), "bold" if fit.place.here else ""), 27)
    label = line(mark, name, f"{formatting.size(fit.place.free):>8}  ")
    if fit.fits:
        pixels = f", images of {fit.pixels:,} pixels" if fit.pixels else ""
        text = f"up to batch {fit.batch:,}{pixels}" if fit.batch else ""
    elif fit.suggestions:
        first = fit.suggestions[0]
        text = f"with {first.flags}: {formatting.size(first.estimate.peak)} ({first.cost})"
    else:
        text = "no single change is enough"
    return hanging_indent(
        label, Content.styled(one_line(text), tone("dim")), label.cell_length if width >= 70 else 4, width
    )


class MemoryScreen(TextModal):
    """Computes the fits in a thread, as `model-garden estimate` does."""

    heading = "Memory"

    def __init__(self, advisor: "MemoryAdvisor") -> None:
        super().__init__()
        self._advisor = advisor

    def create_body(self) -> MemoryBreakdown:
        return MemoryBreakdown()

    def on_mount(self) -> None:
        self.run_worker(self._compute_fits, thread=True, exit_on_error=False)

    def _compute_fits(self) -> None:
        from mg_tui.hardware.memory.candidates import find_candidates, fit_on

        advisor = self._advisor
        devices, why_no_gpu = find_candidates(advisor.spec)
        fits = [fit_on(advisor, device) for device in devices]
        self.post_message(FitsComputed(advisor.estimate(), fits, why_no_gpu))

    def on_fits_computed(self, message: FitsComputed) -> None:
        self.query_one(MemoryBreakdown).show(message)
