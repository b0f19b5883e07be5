"""Answers generated while training: each question with its image, its answer, and the history of its answers."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final

from textual.content import Content

from mg_tui.core.text import printable
from mg_tui.runs.records import Sample
from mg_tui.tui.exact_match import is_same_answer
from mg_tui.tui.half_cells import ImageLoader, loaded_lines
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import cell, hanging_indent, join_fitting, line
from mg_tui.tui.widgets.run.panes import PaneLines

MAX_SAMPLES: Final = 24  # of a step
MAX_HISTORY: Final = 40  # newest answers in the marks of a question
_LABEL_WIDTH: Final = 10


def sample_steps(samples: Sequence[Sample]) -> list[int]:
    """The steps at which there were answers, in order."""
    return sorted({sample.step for sample in samples})


def is_correct(sample: Sample) -> bool | None:
    """Whether the answer is the expected one; None when none is expected."""
    return None if sample.expected is None else is_same_answer(sample.answer, sample.expected)


def samples_at_step(samples: Sequence[Sample], step: int) -> list[tuple[Sample, list[Sample]]]:
    """The answers of a step, by row, each with every answer to the same question in order."""
    at_step = {(sample.row, sample.prompt): sample for sample in samples if sample.step == step}
    history: dict[tuple[int | None, str], list[Sample]] = {key: [] for key in at_step}
    for sample in sorted(samples, key=lambda item: item.step):
        history.get((sample.row, sample.prompt), []).append(sample)
    order = sorted(at_step, key=lambda key: (-1 if key[0] is None else key[0], key[1]))
    return [(at_step[key], history[key]) for key in order]


def history_marks(history: Sequence[Sample], step: int) -> Content:
    """A mark for each answer to a question: right, wrong, or, when none is expected, whether it changed."""
    pieces: list[tuple[str, str]] = []
    previous: Sample | None = None
    for sample in history:
        correct = is_correct(sample)
        if correct is None:
            same = previous is not None and previous.answer == sample.answer
            glyph, name = ("·", "dim") if same else ("~", "key")
        else:
            glyph, name = ("✓", "finished") if correct else ("✗", "failed")
        pieces.append((glyph, tone(name, "bold underline" if sample.step == step else "")))
        previous = sample
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
        """Show the answers of another step; from the last one on, the newest."""
        steps = sample_steps(self.detail.samples) if self.detail is not None else []
        if steps:
            current = steps.index(self.step) if self.step in steps else len(steps) - 1
            index = min(max(current + by, 0), len(steps) - 1)
            self.step = None if index == len(steps) - 1 else steps[index]
            self.redraw()

    def samples_shown(self, detail: RunDetail) -> list[tuple[Sample, list[Sample]]]:
        """The answers of the current step, with their histories."""
        steps = sample_steps(detail.samples)
        step = self.step if self.step in steps else steps[-1] if steps else None
        return [] if step is None else samples_at_step(detail.samples, step)

    def detail_lines(self, detail: RunDetail, width: int) -> list[Content]:
        samples = self.samples_shown(detail)
        if not samples:
            text = "Answers appear here at each evaluation or checkpoint (--sample-count)."
            return [Content.styled(text, tone("dim"))]
        lines = [_steps_line(sample_steps(detail.samples), samples[0][0].step, width), Content()]
        columns, rows = (32, 12) if width >= 100 else (20, 8) if width >= 60 else (0, 0)
        for sample, history in samples[:MAX_SAMPLES]:
            image_lines = self._image_lines(detail, sample, columns, rows)
            text_lines = _sample_lines(sample, history, width - (columns + 2 if image_lines else 0))
            lines += [*(_side_by_side(image_lines, text_lines, columns) if image_lines else text_lines), Content()]
        if len(samples) > MAX_SAMPLES:
            lines.append(Content.styled(f"and {len(samples) - MAX_SAMPLES} more answers at this step", tone("dim")))
        return lines

    def _image_lines(self, detail: RunDetail, sample: Sample, columns: int, rows: int) -> list[Content]:
        if not columns or sample.image is None:
            return []
        image = self._images.get(detail.row.folder.path / Path(sample.image), columns, rows)
        return loaded_lines(image, columns, loading="…", failed="no image: ", style="dim")[:rows]


def _side_by_side(left: list[Content], right: list[Content], columns: int) -> list[Content]:
    """Two blocks beside each other, the left one `columns` cells wide."""
    pairs = zip_longest(left, right, fillvalue=Content())
    return [line(cell(first, columns), "  ", second) for first, second in pairs]


def _steps_line(steps: Sequence[int], step: int, width: int) -> Content:
    """The steps with answers around the current one."""
    index = steps.index(step)
    head = line(("step ", tone("dim")), (str(step), "bold"), (f"  {index + 1} of {len(steps)}  ", tone("dim")))
    keys = line(
        ("  ,", tone("key", "bold")), (" before  ", tone("dim")), (".", tone("key", "bold")), (" after", tone("dim"))
    )
    room = width - head.cell_length - keys.cell_length
    first = max(min(index - 4, len(steps) - 9), 0)
    near = [
        Content.styled(str(other), tone("key", "bold reverse") if other == step else tone("faint"))
        for other in steps[first : first + 9]
    ]
    return line(head, join_fitting(near, room, " "), keys if len(steps) > 1 else "")


def _sample_lines(sample: Sample, history: Sequence[Sample], width: int) -> list[Content]:
    """Marks of all answers, prompt, expected answer, answer, and the previous answer when it differs."""
    correct = is_correct(sample)
    earlier = [other for other in history if other.step < sample.step]
    previous = earlier[-1].answer if earlier and earlier[-1].answer != sample.answer else None
    row = "" if sample.row is None else f"row {sample.row}"
    lines = [line(cell(Content.styled(row, tone("dim")), _LABEL_WIDTH), history_marks(history, sample.step))]
    name = "key" if correct is None else "finished" if correct else "failed"
    for label, text, style in (
        ("asked", sample.prompt, ""),
        ("expected", sample.expected, ""),
        ("✓ answer" if correct else "answer", sample.answer, tone(name, "bold")),
        ("was", previous, tone("dim")),
    ):
        if text is not None:
            content = Content.styled(printable(text.strip(), limit=2_000) or "(nothing)", style)
            lines += hanging_indent(Content.styled(label, tone("dim")), content, _LABEL_WIDTH, width)
    return lines
