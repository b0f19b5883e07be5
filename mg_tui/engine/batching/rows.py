"""Rows of a dataset read and measured.

Reading looks at every row and every image's header and needs no torch. Measuring counts each row's tokens before the
model is loaded: from the text and the image's size where the family can tell, else by its processor. A row that is too
long, or has an empty answer, is a bad row like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.dataset import Dataset
from mg_tui.data.example_table import columns_of, select_examples
from mg_tui.data.from_spec import load_dataset_from_spec
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.row_problems import RowProblem
from mg_tui.engine.batching.token_counts import TokenMeasure


@dataclass(frozen=True, slots=True)
class MeasuredRows:
    """Good rows with their token counts, in the same order; and the bad rows."""

    examples: Sequence[Example]
    tokens: Sequence[int]
    problems: tuple[RowProblem, ...]


def read_dataset(
    spec: TrainingSpec,
    path: str,
    *,
    cwd: Path,
    cache: Path,
    evaluation: bool = False,
    policy: ReadPolicy = ALLOW_ALL,
) -> Dataset:
    """Read a dataset of the spec, or another one with the same fields, and probe its images.

    Every face decodes every image before it creates a run, so the header suffices, unless bad rows are skipped: which
    those are must then be known before the steps are planned.

    Raises:
        DataError: the file is missing, empty or unreadable.
    """
    return load_dataset_from_spec(
        spec,
        path,
        evaluation=evaluation or path != spec.dataset,
        cwd=cwd,
        cache=cache,
        check_images="decode" if spec.on_bad_row == "skip" else "header",
        policy=policy,
    )


def measure_rows(dataset: Dataset, limit: int, measure_tokens: TokenMeasure) -> MeasuredRows:
    """Count every example's tokens and separate those that cannot be trained on."""
    counts = measure_tokens(dataset)
    examples, answers = dataset.examples, columns_of(dataset.examples).answers
    good: list[int] = []
    problems = list(dataset.problems)
    longest = max(counts.totals, default=0)
    for index, (count, answer) in enumerate(zip(counts.totals, answers, strict=True)):
        if count > limit:
            problems.append(_too_long(examples[index], count, counts.images[index], limit, longest))
        elif not answer:
            what = "the answer is empty, so there are no supervised tokens"
            problems.append(RowProblem(examples[index].row, None, what))
        else:
            good.append(index)
    problems.sort(key=lambda problem: problem.row)
    if len(good) == len(examples):
        return MeasuredRows(examples, counts.totals, dataset.with_origins(problems))
    tokens = [counts.totals[index] for index in good]
    return MeasuredRows(select_examples(examples, good), tokens, dataset.with_origins(problems))


def _too_long(example: Example, count: int, images: int, limit: int, longest: int) -> RowProblem:
    share = f", {images:,} of them for its image{'s' if len(example.images) > 1 else ''}" if images else ""
    hint = f"raise --max-seq-length to {longest} (the longest row)"
    if images:
        hint += ", or shrink images with a lower --max-pixels"
    return RowProblem(example.row, None, f"has {count:,} tokens{share}; the limit is {limit:,}", hint)
