"""Rows to evaluate a model on: those its run held out, its run's evaluation dataset, or another dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mg_tui.core.errors import DataError, UsageError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.split import split_by_image
from mg_tui.engine.batching.rows import measure_rows, read_dataset
from mg_tui.engine.batching.token_counts import choose_token_measure

if TYPE_CHECKING:
    from mg_tui.engine.inference.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class HeldOutExamples:
    """Examples, a description of their source, and the number of unusable rows of the dataset."""

    examples: tuple[Example, ...]
    source: str
    skipped: int = 0


def load_held_out(
    loaded: "LoadedModel",
    *,
    cwd: Path,
    cache: Path,
    dataset: str | None = None,
    ignored: Sequence[str] = (),
    policy: ReadPolicy = ALLOW_ALL,
) -> HeldOutExamples:
    """The rows, as training would read them.

    Args:
        loaded: the model; its metadata has the run's options.
        cwd: base of relative paths.
        cache: folder of the garden's cache.
        dataset: another dataset than the run's own.
        ignored: columns that its rows are read without, beside those that the run ignored.
        policy: which files `dataset` may name.

    Raises:
        UsageError: the model's run is not known, or held no rows out.
        DataError: the dataset cannot be read, or has no good row.
    """
    spec = loaded.metadata.training_spec()
    if dataset is not None:
        spec = _spec_for(loaded, spec, dataset)
        spec = spec.model_copy(update={"ignore_column": (*spec.ignore_column, *ignored), "additional_dataset": ()})
        rows = read_dataset(spec, dataset, cwd=cwd, cache=cache, policy=policy)
        return _require_examples(rows.examples, f"rows of {dataset}", len(rows.bad_rows))
    if spec is None:
        raise UsageError(
            "the held-out rows are not known",
            why="the result does not say how it was trained",
            hint="give a dataset",
        )
    if spec.eval_dataset:
        rows = read_dataset(spec, spec.eval_dataset, cwd=cwd, cache=cache, evaluation=True)
        return _require_examples(rows.examples, f"the evaluation dataset, {spec.eval_dataset}", len(rows.bad_rows))
    if not spec.eval_split:
        raise UsageError(
            "this run held no rows out",
            why="it had neither --eval-split nor --eval-dataset",
            hint="give a dataset it was not trained on",
        )
    return _reproduce_split(loaded, spec, cwd, cache)


def _reproduce_split(loaded: "LoadedModel", spec: TrainingSpec, cwd: Path, cache: Path) -> HeldOutExamples:
    """The split of the run: the same rows, the same seed."""
    rows = read_dataset(spec, spec.dataset, cwd=cwd, cache=cache)
    family, preprocessing = loaded.family, loaded.metadata.preprocessing
    collator = family.make_collator(family, loaded.processor, preprocessing)
    measured = measure_rows(rows, spec.max_seq_length, choose_token_measure(collator)[0])
    _train, held_out = split_by_image(measured.examples, spec.eval_split, spec.seed)
    skipped = len({problem.row for problem in measured.problems})
    return _require_examples(held_out, f"the rows that were held out of {spec.dataset}", skipped)


def _spec_for(loaded: "LoadedModel", spec: TrainingSpec | None, dataset: str) -> TrainingSpec:
    if spec is not None:
        return spec.model_copy(update={"on_bad_row": "skip"})
    fields = loaded.metadata.fields
    names = {"text_field": fields.text, "image_field": fields.image, "response_field": fields.response}
    return TrainingSpec.parse(
        {"base_model": loaded.metadata.base.name, "dataset": dataset, "on_bad_row": "skip", **names}
    )


def _require_examples(examples: Sequence[Example], source: str, skipped: int) -> HeldOutExamples:
    if not examples:
        raise DataError("there is no row to evaluate the model on", where=source)
    return HeldOutExamples(tuple(examples), source, skipped)
