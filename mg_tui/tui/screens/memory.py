"""What a run needs in memory, in full: every part and why it is so large, where it fits, what would make it fit."""

from typing import TYPE_CHECKING

from textual.content import Content
from textual.message import Message

from mg_tui.core.text import one_line
from mg_tui.tui import words
from mg_tui.tui.screens.modal import TextModal
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, hanging, line

if TYPE_CHECKING:
    from mg_tui.hardware.memory import Question
    from mg_tui.hardware.memory.estimate import Estimate
    from mg_tui.hardware.memory.places import Answer


class Answered(Message):
    """Where it fits, and why there is no GPU here if so; with the estimate for the kind of device of those places."""

    def __init__(self, estimate: "Estimate", answers: "list[Answer]", why: str | None) -> None:
        super().__init__()
        self.estimate, self.answers, self.why = estimate, answers, why


class InFull(Lines):
    """The estimate as lines; devices follow when they have been asked."""

    answered: Answered | None = None

    def show(self, answered: Answered) -> None:
        """Show where it fits, too."""
        self.answered = answered
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.answered is None:
            return [Content.styled("reckoning where it fits …", tone("dim"))]
        memory = self.answered.estimate
        peak = line((words.size(memory.peak), "bold"), (f"  {memory.moment}", tone("dim")))
        lines = [*hanging(Content.styled("peak", "bold"), peak, 28, width), Content()]
        for part in memory.parts:
            label = line(cell(Content(part.name), 18 if width < 60 else 27), " ")
            said = line((f"{words.size(part.bytes):>8}  ", "bold"), (part.why, tone("dim")))
            lines += hanging(label, said, label.cell_length, width)
        lines += [Content(), Content.styled("Where it fits", tone("key", "bold"))]
        for answer in self.answered.answers:
            lines += _place(answer, width)
        if self.answered.why:
            lines += Content.styled(f"No GPU here: {one_line(self.answered.why)}", tone("dim")).wrap(width)
        for sentence in memory.assumed:
            lines += Content.styled(f"assumed: {one_line(sentence)}", tone("dim")).wrap(width)
        return lines


def _place(answer: "Answer", width: int) -> list[Content]:
    mark = ("✓ ", tone("finished", "bold")) if answer.fits else ("✗ ", tone("failed", "bold"))
    name = cell(Content.styled(one_line(answer.place.name), "bold" if answer.place.here else ""), 27)
    label = line(mark, name, f"{words.size(answer.place.free):>8}  ")
    if answer.fits:
        pixels = f", pictures of {answer.pixels:,} pixels" if answer.pixels else ""
        said = f"up to batch {answer.batch:,}{pixels}" if answer.batch else ""
    elif answer.remedies:
        first = answer.remedies[0]
        said = f"with {first.flags}: {words.size(first.estimate.peak)} ({first.cost})"
    else:
        said = "no single change makes it fit"
    return hanging(label, Content.styled(one_line(said), tone("dim")), label.cell_length if width >= 70 else 4, width)


class MemoryScreen(TextModal):
    """Asks in a thread, as `model-garden estimate` does."""

    heading = "Memory"

    def __init__(self, question: "Question") -> None:
        super().__init__()
        self._question = question

    def body(self) -> InFull:
        return InFull()

    def on_mount(self) -> None:
        self.run_worker(self._ask, thread=True, exit_on_error=False)

    def _ask(self) -> None:
        from mg_tui.hardware.memory.places import answer, places

        question = self._question
        found, why = places(question.spec)
        self.post_message(Answered(question.estimate(), [answer(question, place) for place in found], why))

    def on_answered(self, message: Answered) -> None:
        self.query_one(InFull).show(message)
