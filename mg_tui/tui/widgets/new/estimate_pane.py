"""Beside the form: what the run would need in memory, whether it fits, what is trained, and how long that is."""

from collections.abc import Iterator
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.new.run_estimate import LocalDeviceFit, RunEstimate
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging_indent, justify, line

_PART_TITLES: Final = {"language": "language model", "projector": "projector", "vision": "vision tower"}


class EstimatePane(Lines):
    """The newest outlook; `stale` while another is being reckoned, `wrong` while there is nothing to reckon with."""

    estimate: reactive[RunEstimate | None] = reactive(None, repaint=False)
    stale: reactive[bool] = reactive(False, repaint=False)
    blocked_by: reactive[str] = reactive("", repaint=False)
    command: reactive[str] = reactive("", repaint=False)

    def watch_estimate(self) -> None:
        self.redraw()

    def watch_stale(self) -> None:
        self.redraw()

    def watch_blocked_by(self) -> None:
        self.redraw()

    def watch_command(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        height = self.size.height or 18
        if self.blocked_by:
            return [
                *_heading_lines("Memory", "", width),
                *Content.styled(one_line(self.blocked_by), tone("dim")).wrap(width),
            ]
        if self.estimate is None:
            return [*_heading_lines("Memory", "", width), Content.styled("reckoning …", tone("dim"))]
        roomy = height >= 26
        blocks = [
            _device_fit_lines(self.estimate, width, roomy=roomy),
            _trained_lines(self.estimate, width),
            _workload_lines(self.estimate, width),
        ]
        gaps = len(blocks) if roomy else 0
        used = sum(map(len, blocks)) + gaps
        memory = _memory_lines(self.estimate, width, max(height - used, 3), stale=self.stale)
        lines = list(memory)
        for block in blocks:
            lines += [Content(), *block] if roomy else block
        if roomy and len(lines) + 5 <= height:
            lines += [Content(), *_command_lines(self.command, width, height - len(lines) - 1)]
        return lines[:height]


def _heading_lines(title: str, right: str, width: int) -> list[Content]:
    return [justify(Content.styled(title, tone("key", "bold")), Content(right), width)]


def _memory_lines(outlook: RunEstimate, width: int, room: int, *, stale: bool) -> list[Content]:
    """The parts by size, as many as there is room for; the others together."""
    memory = outlook.memory
    if memory is None:
        said: list[Content] = []
        for text in outlook.problems or ("reckoning …",):
            said += Content.styled(text, tone("dim")).wrap(max(width, 8))
        return [*_heading_lines("Memory", "", width), *said]
    peak = line((formatting.size(memory.peak), "bold"), (" …" if stale else "", tone("dim")))
    lines = [justify(Content.styled("Memory", tone("key", "bold")), peak, width)]
    parts = sorted(memory.parts, key=lambda part: -part.bytes)
    shown = parts if len(parts) < room else parts[: max(room - 2, 1)]
    rest = sum(part.bytes for part in parts[len(shown) :])
    bars = max(min(width - 36, 14), 0)
    for name, size in [*((part.name, part.bytes) for part in shown), *([("other", rest)] if rest else [])]:
        share = size / memory.peak if memory.peak else 0.0
        filled, track = meter(share, bars) if bars >= 5 else ("", "")
        right = line((filled, tone("meter")), (track, tone("track")), f" {formatting.size(size):>8}")
        lines.append(justify(Content.styled(name, tone("dim") if name == "other" else ""), right, width))
    return lines


def _device_fit_lines(outlook: RunEstimate, width: int, *, roomy: bool) -> list[Content]:
    if not outlook.device_fits and outlook.why_no_gpu:
        return hanging_indent(
            Content.styled("–", tone("dim")),
            Content.styled(f"No GPU here: {one_line(outlook.why_no_gpu, limit=60 if not roomy else 200)}", tone("dim")),
            2,
            width,
        )[: 4 if roomy else 2]
    lines: list[Content] = []
    most = 8 if roomy else 3
    for fit in outlook.device_fits[:most]:
        lines += _one_fit_lines(fit, width, known=outlook.memory is not None)
    if len(outlook.device_fits) > most:
        lines.append(Content.styled(f"and {len(outlook.device_fits) - most} more", tone("dim")))
    return lines


def _one_fit_lines(fit: LocalDeviceFit, width: int, *, known: bool) -> Iterator[Content]:
    name = _short_device_name(fit.place.name)
    free = Content.styled(f"{formatting.size(fit.place.free)}{' free' if width >= 40 else ''}", tone("dim"))
    if not known:
        mark = Content.styled("–", tone("dim"))
    elif fit.fits:
        mark = Content.styled("✓ fits", tone("finished", "bold"))
    else:
        mark = Content.styled("✗ too big", tone("failed", "bold"))
    room = width - free.cell_length - mark.cell_length - 3
    yield line(mark, " ", cell(Content(name), max(room, 4)), "  ", free)
    if known and not fit.fits:
        said = f"try {fit.suggestion}" if fit.suggestion else "no single change makes it fit"
        yield from hanging_indent(Content(), Content.styled(one_line(said), tone("eval")), 2, width)[:2]


def _short_device_name(place: str) -> str:
    """A device's name, its number first: what is cut off is not what tells two alike ones apart."""
    name, _, number = place.partition(" (GPU ")
    for before in ("NVIDIA ", "GeForce ", "this machine's "):
        name = name.removeprefix(before)
    return one_line(f"{number.rstrip(')')} {name}".strip(), limit=60)


def _format_parameters(numbers: int) -> str:
    """A number of parameters: `30.0M`, `3.8B`."""
    return formatting.compact(numbers).replace("G", "B")


def _trained_lines(outlook: RunEstimate, width: int) -> list[Content]:
    if not outlook.trained_parts:
        return []
    learned = sum(part.trainable_parameters for part in outlook.trained_parts)
    # A part trained in full learns its own parameters; an adapter comes on top.
    every = sum(part.parameters for part in outlook.trained_parts) or 1
    head = line((_format_parameters(learned), "bold"), (f" of {_format_parameters(every)}", tone("dim")))
    lines = [justify(Content.styled("Trained", tone("key", "bold")), head, width)]
    for part in outlook.trained_parts:
        how = Content.styled("frozen", tone("dim")) if part.method == "none" else line((part.method, tone("smooth")))
        numbers = f" {_format_parameters(part.trainable_parameters):>6}" if part.trainable_parameters else ""
        lines.append(justify(Content(_PART_TITLES.get(part.name, part.name)), line(how, numbers), width))
    return lines


def _workload_lines(outlook: RunEstimate, width: int) -> list[Content]:
    title = Content.styled("Steps", tone("key", "bold"))
    if outlook.rows_read is not None:
        done, total = outlook.rows_read
        said = f"reading the dataset {done:,} of {total:,}" if total else "reading the dataset …"
        return [title, Content.styled(said, tone("dim"))]
    work = outlook.workload
    if work is None:
        if outlook.memory is not None and outlook.problems:
            lines: list[Content] = [title]
            for text in outlook.problems:
                lines += Content.styled(one_line(text, limit=400), tone("eval")).wrap(max(width, 8))[:4]
            return lines
        return [title, Content.styled("known with a dataset", tone("dim"))]
    lines = [
        justify(title, line((f"{work.steps:,}", "bold"), (f"  {work.steps_per_epoch:,} an epoch", tone("dim"))), width)
    ]
    held = f", {work.held_out:,} held out" if work.held_out else ""
    facts = [f"{formatting.count(work.examples, 'example')}{held}, {work.examples_per_step} a step"]
    if work.tokens_per_step is not None:
        facts.append(f"{work.tokens_per_step:,} tokens a step, longest {work.longest_example:,}")
    for text in facts:
        lines += Content.styled(text, tone("dim")).wrap(max(width, 8))
    if work.bad_rows:
        lines.append(Content.styled(f"✗ {formatting.count(work.bad_rows, 'bad row')}: r says which", tone("failed")))
    return lines


def _command_lines(command: str, width: int, room: int) -> list[Content]:
    heading = justify(Content.styled("Command", tone("key", "bold")), Content.styled("y to copy", tone("dim")), width)
    lines = Content.styled(one_line(command, limit=2_000), tone("dim")).wrap(max(width, 8))
    return [heading, *(lines if len(lines) < room else [*lines[: max(room - 2, 0)], Content.styled("…", tone("dim"))])]
