"""Generations made while training: each question with its image, its answer, and how the answer came about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from textual.content import Content

from mg_tui.core.text import printable
from mg_tui.runs.records import Sample
from mg_tui.tui.half_cells import ImageLoader
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import cell, hanging_indent, join_fitting, line
from mg_tui.tui.widgets.run.panes import PaneLines

MAX_SAMPLES: Final = 24  # questions of a step
MAX_HISTORY: Final = 40  # newest answers to a question that its row of marks has
_LABEL_WIDTH: Final = 10


def sample_steps(samples: Sequence[Sample]) -> list[int]:
    """The steps at which there were answers, in order."""
    return sorted({sample.step for sample in samples})


def is_correct(sample: Sample) -> bool | None:
    """Whether the answer is the one expected; None when none was."""
    return None if sample.expected is None else sample.answer.strip() == sample.expected.strip()


def samples_at_step(samples: Sequence[Sample], step: int) -> list[tuple[Sample, list[Sample]]]:
    """The answers of a step, by row, each with every answer to the same question in order."""
    found = {(sample.row, sample.prompt): sample for sample in samples if sample.step == step}
    history: dict[tuple[int | None, str], list[Sample]] = {key: [] for key in found}
    for sample in sorted(samples, key=lambda item: item.step):
        history.get((sample.row, sample.prompt), []).append(sample)
    order = sorted(found, key=lambda key: (-1 if key[0] is None else key[0], key[1]))
    return [(found[key], history[key]) for key in order]


def history_marks(history: Sequence[Sample], step: int) -> Content:
    """How the answers to a question went: right, wrong, or where none was expected whether it changed."""
    pieces: list[tuple[str, str]] = []
    before: Sample | None = None
    for sample in history:
        right = is_correct(sample)
        if right is None:
            same = before is not None and before.answer == sample.answer
            glyph, name = ("·", "dim") if same else ("~", "key")
        else:
            glyph, name = ("✓", "finished") if right else ("✗", "failed")
        pieces.append((glyph, tone(name, "bold underline" if sample.step == step else "")))
        before = sample
    return line(*pieces[-MAX_HISTORY:])


class SampleAnswers(PaneLines):
    """The answers of one step, the newest unless another is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self._images = ImageLoader(self._image_loaded)
        self.step: int | None = None  # None: the newest

    def _image_loaded(self) -> None:
        if self.is_running:
            self.app.call_later(self.redraw)

    def on_unmount(self) -> None:
        self._images.stop()

    def change_step(self, by: int) -> None:
        """Show the answers of another step; at the last one, whatever is newest."""
        steps = sample_steps(self.detail.samples) if self.detail is not None else []
        if steps:
            now = steps.index(self.step) if self.step in steps else len(steps) - 1
            at = min(max(now + by, 0), len(steps) - 1)
            self.step = None if at == len(steps) - 1 else steps[at]
            self.redraw()

    def samples_shown(self, detail: RunDetail) -> list[tuple[Sample, list[Sample]]]:
        """The answers that are shown, with their histories."""
        steps = sample_steps(detail.samples)
        step = self.step if self.step in steps else steps[-1] if steps else None
        return [] if step is None else samples_at_step(detail.samples, step)

    def detail_lines(self, detail: RunDetail, width: int) -> list[Content]:
        found = self.samples_shown(detail)
        if not found:
            said = "Answers appear here at each evaluation or checkpoint (--sample-count)."
            return [Content.styled(said, tone("dim"))]
        lines = [_steps_line(sample_steps(detail.samples), found[0][0].step, width), Content()]
        columns, rows = (32, 12) if width >= 100 else (20, 8) if width >= 60 else (0, 0)
        for sample, history in found[:MAX_SAMPLES]:
            beside = self._image_lines(detail, sample, columns, rows)
            text = _sample_lines(sample, history, width - (columns + 2 if beside else 0))
            if beside:
                height = max(len(text), len(beside))
                text += [Content()] * (height - len(text))
                beside += [Content()] * (height - len(beside))
                text = [line(cell(left, columns), "  ", rest) for left, rest in zip(beside, text, strict=True)]
            lines += [*text, Content()]
        if len(found) > MAX_SAMPLES:
            lines.append(Content.styled(f"and {len(found) - MAX_SAMPLES} more answers of this step", tone("dim")))
        return lines

    def _image_lines(self, detail: RunDetail, sample: Sample, columns: int, rows: int) -> list[Content]:
        if not columns or sample.image is None:
            return []
        found = self._images.get(detail.row.folder.path / Path(sample.image), columns, rows)
        if found is None:
            return [Content.styled("…", tone("dim"))]
        if isinstance(found, str):
            return Content.styled(f"no image: {found}", tone("dim")).wrap(columns)[:rows]
        return list(found)


def _steps_line(steps: Sequence[int], step: int, width: int) -> Content:
    """The steps with answers around the one that is shown."""
    at = steps.index(step)
    head = line(("step ", tone("dim")), (str(step), "bold"), (f"  {at + 1} of {len(steps)}  ", tone("dim")))
    keys = line(
        ("  ,", tone("key", "bold")), (" before  ", tone("dim")), (".", tone("key", "bold")), (" after", tone("dim"))
    )
    room = width - head.cell_length - keys.cell_length
    first = max(min(at - 4, len(steps) - 9), 0)
    near = [
        Content.styled(str(other), tone("key", "bold reverse") if other == step else tone("faint"))
        for other in steps[first : first + 9]
    ]
    return line(head, join_fitting(near, room, " "), keys if len(steps) > 1 else "")


def _sample_lines(sample: Sample, history: Sequence[Sample], width: int) -> list[Content]:
    """A question, what was expected, what came, what had come before, and the marks of all answers."""
    right = is_correct(sample)
    earlier = [other for other in history if other.step < sample.step]
    before = earlier[-1].answer if earlier and earlier[-1].answer != sample.answer else None
    where = "" if sample.row is None else f"row {sample.row}"
    lines = [line(cell(Content.styled(where, tone("dim")), _LABEL_WIDTH), history_marks(history, sample.step))]
    name = "key" if right is None else "finished" if right else "failed"
    for label, text, style in (
        ("asked", sample.prompt, ""),
        ("expected", sample.expected, ""),
        ("✓ answer" if right else "answer", sample.answer, tone(name, "bold")),
        ("was", before, tone("dim")),
    ):
        if text is not None:
            shown = Content.styled(printable(text.strip(), limit=2_000) or "(nothing)", style)
            lines += hanging_indent(Content.styled(label, tone("dim")), shown, _LABEL_WIDTH, width)
    return lines
