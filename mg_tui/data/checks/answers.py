"""Questions and answers: answers contained in the question, answers and questions that repeat."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from mg_tui.core.example import Example
from mg_tui.data.checks.findings import WHOLE_DATASET, Finding, Histogram
from mg_tui.data.digests import text_digest
from mg_tui.data.row_loader import LoadedRow
from mg_tui.data.row_problems import quote_text

# "Is it red or blue?" contains its answer and leaks nothing: only a longer passage counts as copied.
LEAK_CHARACTERS: Final = 20
LEAK_WORDS: Final = 4
SAME_ANSWER_SHARE: Final = 0.5
MIN_ROWS_FOR_SHARES: Final = 20
FEW_ROWS: Final = 10
SHORT_ANSWER_CHARACTERS: Final = 3
SHORT_ANSWER_SHARE: Final = 0.5
SAME_QUESTION_SHARE: Final = 0.9
ROWS_PER_IMAGE: Final = 50
OUTLIER_TIMES: Final = 20
OUTLIER_CHARACTERS: Final = 4000
# Distinct texts that are counted; the most frequent ones of a dataset appear early.
_MAX_COUNTED: Final = 50_000


class AnswerCheck:
    """Checks questions and answers, row by row and over the whole dataset."""

    def __init__(self) -> None:
        self.answer_lengths = Histogram()
        self._answers: Counter[int] = Counter()
        self._questions: Counter[int] = Counter()
        self._texts: dict[int, str] = {}
        self._images: set[int] = set()
        self._rows = 0
        self._rows_with_images = 0
        self._long_answers: list[tuple[int, int]] = []

    def check_row(self, row: LoadedRow) -> Iterator[Finding]:
        """See `Check`."""
        example = row.example
        if example is None:
            return
        answer, question = example.response.strip(), _question_text(example)
        self._rows += 1
        self._rows_with_images += bool(example.images)
        self._images.update(text_digest(ref.path) for ref in example.images)
        self.answer_lengths.add(len(answer))
        if len(answer) > OUTLIER_CHARACTERS and len(self._long_answers) < _MAX_COUNTED:
            self._long_answers.append((row.number, len(answer)))
        self._count(self._answers, answer)
        self._count(self._questions, question)
        if _is_leak(answer, question):
            yield Finding(
                row.number,
                "answer-in-question",
                None,
                f"the question contains the answer {quote_text(answer, limit=60)}",
            )

    def _count(self, counter: Counter[int], text: str) -> None:
        key = text_digest(text)
        if key in counter or len(counter) < _MAX_COUNTED:
            counter[key] += 1
            if key not in self._texts:
                self._texts[key] = text[:80]

    def finish(self) -> Iterator[Finding]:
        """See `Check`."""
        if 0 < self._rows < FEW_ROWS:
            yield Finding(WHOLE_DATASET, "few-rows", None, f"has {self._rows} good row{'s' if self._rows > 1 else ''}")
        median = self.answer_lengths.percentile(0.5)
        for number, length in self._long_answers:
            if length > OUTLIER_TIMES * max(median, 1):
                yield Finding(
                    number, "answer-outlier", None, f"its answer has {length:,} characters (median: {median:,})"
                )
        if self._rows < MIN_ROWS_FOR_SHARES:
            return
        yield from self._find_repeated(self._answers, SAME_ANSWER_SHARE, "answers-alike", "are answered")
        yield from self._find_repeated(self._questions, SAME_QUESTION_SHARE, "questions-alike", "ask")
        short = sum(count for value, count in self.answer_lengths.counts.items() if value <= SHORT_ANSWER_CHARACTERS)
        if short > SHORT_ANSWER_SHARE * self._rows:
            share = f"{short / self._rows:.0%} of the answers have {SHORT_ANSWER_CHARACTERS} characters or fewer"
            yield Finding(WHOLE_DATASET, "answers-short", None, share)
        if self._rows_with_images > ROWS_PER_IMAGE * len(self._images) > 0:
            yield Finding(
                WHOLE_DATASET,
                "few-images",
                None,
                f"{self._rows_with_images:,} rows use only {len(self._images):,} images",
            )

    def _find_repeated(self, counter: Counter[int], share: float, kind: str, verb: str) -> Iterator[Finding]:
        (key, count), *_others = counter.most_common(1)
        if count > share * self._rows:
            what = f"{count / self._rows:.0%} of the rows {verb} {quote_text(self._texts[key], limit=60)}"
            yield Finding(WHOLE_DATASET, kind, None, what)


def _question_text(example: Example) -> str:
    return "\n".join(message.text for message in example.prompt if message.role == "user").strip()


def _is_leak(answer: str, question: str) -> bool:
    if len(answer) < LEAK_CHARACTERS or len(answer) > len(question) or len(answer.split()) < LEAK_WORDS:
        return False
    return answer.casefold() in question.casefold()
