"""Beside the form: what the run would need in memory, whether it fits, what is trained, and how long that is."""

from collections.abc import Iterator
from typing import Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.draw import meter
from mg_tui.tui.new.outlook import Fit, Outlook
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging, line, spread

_PARTS: Final = {"language": "language model", "projector": "projector", "vision": "vision tower"}


class OutlookPane(Lines):
    """The newest outlook; `stale` while another is being reckoned, `wrong` while there is nothing to reckon with."""

    outlook: reactive[Outlook | None] = reactive(None, repaint=False)
    stale: reactive[bool] = reactive(False, repaint=False)
    wrong: reactive[str] = reactive("", repaint=False)
    command: reactive[str] = reactive("", repaint=False)

    def watch_outlook(self) -> None:
        self.redraw()

    def watch_stale(self) -> None:
        self.redraw()

    def watch_wrong(self) -> None:
        self.redraw()

    def watch_command(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        height = self.size.height or 18
        if self.wrong:
            return [*_heading("Memory", "", width), *Content.styled(one_line(self.wrong), tone("dim")).wrap(width)]
        if self.outlook is None:
            return [*_heading("Memory", "", width), Content.styled("reckoning …", tone("dim"))]
        roomy = height >= 26
        blocks = [
            _fits(self.outlook, width, roomy=roomy),
            _trained(self.outlook, width),
            _work(self.outlook, width),
        ]
        gaps = len(blocks) if roomy else 0
        used = sum(map(len, blocks)) + gaps
        memory = _memory(self.outlook, width, max(height - used, 3), stale=self.stale)
        lines = list(memory)
        for block in blocks:
            lines += [Content(), *block] if roomy else block
        if roomy and len(lines) + 5 <= height:
            lines += [Content(), *_command(self.command, width, height - len(lines) - 1)]
        return lines[:height]


def _heading(title: str, right: str, width: int) -> list[Content]:
    return [spread(Content.styled(title, tone("key", "bold")), Content(right), width)]


def _memory(outlook: Outlook, width: int, room: int, *, stale: bool) -> list[Content]:
    """The parts by size, as many as there is room for; the others together."""
    memory = outlook.memory
    if memory is None:
        said: list[Content] = []
        for text in outlook.unknown or ("reckoning …",):
            said += Content.styled(text, tone("dim")).wrap(max(width, 8))
        return [*_heading("Memory", "", width), *said]
    peak = line((words.size(memory.peak), "bold"), (" …" if stale else "", tone("dim")))
    lines = [spread(Content.styled("Memory", tone("key", "bold")), peak, width)]
    parts = sorted(memory.parts, key=lambda part: -part.bytes)
    shown = parts if len(parts) < room else parts[: max(room - 2, 1)]
    rest = sum(part.bytes for part in parts[len(shown) :])
    bars = max(min(width - 36, 14), 0)
    for name, size in [*((part.name, part.bytes) for part in shown), *([("other", rest)] if rest else [])]:
        share = size / memory.peak if memory.peak else 0.0
        filled, track = meter(share, bars) if bars >= 5 else ("", "")
        right = line((filled, tone("meter")), (track, tone("track")), f" {words.size(size):>8}")
        lines.append(spread(Content.styled(name, tone("dim") if name == "other" else ""), right, width))
    return lines


def _fits(outlook: Outlook, width: int, *, roomy: bool) -> list[Content]:
    if not outlook.fits and outlook.why_no_gpu:
        return hanging(
            Content.styled("–", tone("dim")),
            Content.styled(f"No GPU here: {one_line(outlook.why_no_gpu, limit=60 if not roomy else 200)}", tone("dim")),
            2,
            width,
        )[: 4 if roomy else 2]
    lines: list[Content] = []
    most = 8 if roomy else 3
    for fit in outlook.fits[:most]:
        lines += _fit(fit, width, known=outlook.memory is not None)
    if len(outlook.fits) > most:
        lines.append(Content.styled(f"and {len(outlook.fits) - most} more", tone("dim")))
    return lines


def _fit(fit: Fit, width: int, *, known: bool) -> Iterator[Content]:
    name = _short(fit.place.name)
    free = Content.styled(f"{words.size(fit.place.free)}{' free' if width >= 40 else ''}", tone("dim"))
    if not known:
        mark = Content.styled("–", tone("dim"))
    elif fit.fits:
        mark = Content.styled("✓ fits", tone("finished", "bold"))
    else:
        mark = Content.styled("✗ too big", tone("failed", "bold"))
    room = width - free.cell_length - mark.cell_length - 3
    yield line(mark, " ", cell(Content(name), max(room, 4)), "  ", free)
    if known and not fit.fits:
        said = f"try {fit.remedy}" if fit.remedy else "no single change makes it fit"
        yield from hanging(Content(), Content.styled(one_line(said), tone("eval")), 2, width)[:2]


def _short(place: str) -> str:
    """A device's name, its number first: what is cut off is not what tells two alike ones apart."""
    name, _, number = place.partition(" (GPU ")
    for before in ("NVIDIA ", "GeForce ", "this machine's "):
        name = name.removeprefix(before)
    return one_line(f"{number.rstrip(')')} {name}".strip(), limit=60)


def _count(numbers: int) -> str:
    """A number of parameters: `30.0M`, `3.8B`."""
    return words.figures(numbers).replace("G", "B")


def _trained(outlook: Outlook, width: int) -> list[Content]:
    if not outlook.trained:
        return []
    learned = sum(part.numbers for part in outlook.trained)
    # A part trained in full learns its own parameters; an adapter comes on top.
    every = sum(part.parameters for part in outlook.trained) or 1
    head = line((_count(learned), "bold"), (f" of {_count(every)}", tone("dim")))
    lines = [spread(Content.styled("Trained", tone("key", "bold")), head, width)]
    for part in outlook.trained:
        how = Content.styled("frozen", tone("dim")) if part.method == "none" else line((part.method, tone("smooth")))
        numbers = f" {_count(part.numbers):>6}" if part.numbers else ""
        lines.append(spread(Content(_PARTS.get(part.name, part.name)), line(how, numbers), width))
    return lines


def _work(outlook: Outlook, width: int) -> list[Content]:
    title = Content.styled("Steps", tone("key", "bold"))
    if outlook.reading is not None:
        done, total = outlook.reading
        said = f"reading the dataset {done:,} of {total:,}" if total else "reading the dataset …"
        return [title, Content.styled(said, tone("dim"))]
    work = outlook.work
    if work is None:
        if outlook.memory is not None and outlook.unknown:
            lines: list[Content] = [title]
            for text in outlook.unknown:
                lines += Content.styled(one_line(text, limit=400), tone("eval")).wrap(max(width, 8))[:4]
            return lines
        return [title, Content.styled("known with a dataset", tone("dim"))]
    lines = [spread(title, line((f"{work.steps:,}", "bold"), (f"  {work.per_epoch:,} an epoch", tone("dim"))), width)]
    held = f", {work.held:,} held out" if work.held else ""
    facts = [f"{words.count(work.examples, 'example')}{held}, {work.per_step} a step"]
    if work.tokens is not None:
        facts.append(f"{work.tokens:,} tokens a step, longest {work.longest:,}")
    for text in facts:
        lines += Content.styled(text, tone("dim")).wrap(max(width, 8))
    if work.bad:
        lines.append(Content.styled(f"✗ {words.count(work.bad, 'bad row')}: r says which", tone("failed")))
    return lines


def _command(command: str, width: int, room: int) -> list[Content]:
    heading = spread(Content.styled("Command", tone("key", "bold")), Content.styled("y to copy", tone("dim")), width)
    lines = Content.styled(one_line(command, limit=2_000), tone("dim")).wrap(max(width, 8))
    return [heading, *(lines if len(lines) < room else [*lines[: max(room - 2, 0)], Content.styled("…", tone("dim"))])]
