"""Beside the form: the estimate of memory, whether it fits, what is trained, and how many steps."""

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
    """The newest estimate; `stale` while a newer one is computed; `blocked_by` says why there is none."""

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
            return [*_heading_lines("Memory", "", width), Content.styled("estimating …", tone("dim"))]
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


def _memory_lines(estimate: RunEstimate, width: int, room: int, *, stale: bool) -> list[Content]:
    """The largest parts, as many as there is room for; the others in one line."""
    memory = estimate.memory
    if memory is None:
        lines = _heading_lines("Memory", "", width)
        for text in estimate.problems or ("estimating …",):
            lines += Content.styled(text, tone("dim")).wrap(max(width, 8))
        return lines
    peak = line((formatting.size(memory.peak), "bold"), (" …" if stale else "", tone("dim")))
    ranks = memory.ranks
    title = "Memory" if ranks.count == 1 else f"Memory each ({ranks.count}, {ranks.parallel})"
    lines = [justify(Content.styled(title, tone("key", "bold")), peak, width)]
    parts = sorted(memory.parts, key=lambda part: -part.bytes)
    visible = parts if len(parts) < room else parts[: max(room - 2, 1)]
    rest = sum(part.bytes for part in parts[len(visible) :])
    bars = max(min(width - 36, 14), 0)
    for name, size in [*((part.name, part.bytes) for part in visible), *([("other", rest)] if rest else [])]:
        share = size / memory.peak if memory.peak else 0.0
        filled, track = meter(share, bars) if bars >= 5 else ("", "")
        right = line((filled, tone("meter")), (track, tone("track")), f" {formatting.size(size):>8}")
        lines.append(justify(Content.styled(name, tone("dim") if name == "other" else ""), right, width))
    return lines


def _device_fit_lines(estimate: RunEstimate, width: int, *, roomy: bool) -> list[Content]:
    if not estimate.device_fits and estimate.why_no_gpu:
        text = f"No GPU here: {one_line(estimate.why_no_gpu, limit=200 if roomy else 60)}"
        label = Content.styled("–", tone("dim"))
        return hanging_indent(label, Content.styled(text, tone("dim")), 2, width)[: 4 if roomy else 2]
    lines: list[Content] = []
    limit = 8 if roomy else 3
    for fit in estimate.device_fits[:limit]:
        lines += _single_fit_lines(fit, width, known=estimate.memory is not None)
    if len(estimate.device_fits) > limit:
        lines.append(Content.styled(f"and {len(estimate.device_fits) - limit} more", tone("dim")))
    return lines


def _single_fit_lines(fit: LocalDeviceFit, width: int, *, known: bool) -> Iterator[Content]:
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
        text = f"try {fit.suggestion}" if fit.suggestion else "no single change is enough"
        yield from hanging_indent(Content(), Content.styled(one_line(text), tone("eval")), 2, width)[:2]


def _short_device_name(device: str) -> str:
    """A device's name, its number first: the number tells two of a kind apart and must not be cut off."""
    name, _, number = device.partition(" (GPU ")
    for prefix in ("NVIDIA ", "GeForce ", "this machine's "):
        name = name.removeprefix(prefix)
    return one_line(f"{number.rstrip(')')} {name}".strip(), limit=60)


def _trained_lines(estimate: RunEstimate, width: int) -> list[Content]:
    if not estimate.trained_parts:
        return []
    trainable = sum(part.trainable_parameters for part in estimate.trained_parts)
    # Full training trains the model's own parameters; those of an adapter come on top.
    total = sum(part.parameters for part in estimate.trained_parts) or 1
    head = line((formatting.parameters(trainable), "bold"), (f" of {formatting.parameters(total)}", tone("dim")))
    lines = [justify(Content.styled("Trained", tone("key", "bold")), head, width)]
    for part in estimate.trained_parts:
        method = Content.styled("frozen", tone("dim")) if part.method == "none" else line((part.method, tone("smooth")))
        numbers = f" {formatting.parameters(part.trainable_parameters):>6}" if part.trainable_parameters else ""
        lines.append(justify(Content(_PART_TITLES.get(part.name, part.name)), line(method, numbers), width))
    return lines


def _workload_lines(estimate: RunEstimate, width: int) -> list[Content]:
    title = Content.styled("Steps", tone("key", "bold"))
    if estimate.rows_read is not None:
        done, total = estimate.rows_read
        text = f"reading the dataset {done:,} of {total:,}" if total else "reading the dataset …"
        return [title, Content.styled(text, tone("dim"))]
    work = estimate.workload
    if work is None:
        if estimate.memory is not None and estimate.problems:
            lines: list[Content] = [title]
            for text in estimate.problems:
                lines += Content.styled(one_line(text, limit=400), tone("eval")).wrap(max(width, 8))[:4]
            return lines
        return [title, Content.styled("Choose a dataset to see them.", tone("dim"))]
    lines = [
        justify(title, line((f"{work.steps:,}", "bold"), (f"  {work.steps_per_epoch:,}/epoch", tone("dim"))), width)
    ]
    held_out = f", {work.held_out:,} held out" if work.held_out else ""
    facts = [f"{formatting.count(work.examples, 'example')}{held_out}, {work.examples_per_step}/step"]
    if work.tokens_per_step is not None:
        facts.append(f"{work.tokens_per_step:,} tokens/step, longest {work.longest_example:,}")
    for text in facts:
        lines += Content.styled(text, tone("dim")).wrap(max(width, 8))
    if work.bad_rows:
        lines.append(Content.styled(f"✗ {formatting.count(work.bad_rows, 'bad row')}: r shows them", tone("failed")))
    return lines


def _command_lines(command: str, width: int, room: int) -> list[Content]:
    heading = justify(Content.styled("Command", tone("key", "bold")), Content.styled("y shows it", tone("dim")), width)
    lines = Content.styled(one_line(command, limit=2_000), tone("dim")).wrap(max(width, 8))
    return [heading, *(lines if len(lines) < room else [*lines[: max(room - 2, 0)], Content.styled("…", tone("dim"))])]
