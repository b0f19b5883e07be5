"""Several datasets put together for one run, each with a weight and, where it has them, options of its own.

Rows are numbered through all datasets in order: row 1 of the second follows the last row of the first. A row that is
taken twice is one example with two copies: the check and the evaluation split see it once, training sees it twice.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import Final

from mg_tui.core.dataset_parts import DatasetPart, parse_part
from mg_tui.core.errors import SpecError
from mg_tui.core.paths import expand_user
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import pluralize
from mg_tui.data.dataset import Dataset, LoadedPart
from mg_tui.data.example_table import columns_of
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.sources.dataset_info import DATASET_INFO_FILE

_MAX_TITLE_CHARACTERS: Final = 200


def parts_of(spec: TrainingSpec, cwd: Path) -> list[DatasetPart]:
    """The datasets that a run trains on, in order.

    Raises:
        UsageError: a weight or an object is malformed.
    """

    def exists(name: str) -> bool:
        try:
            return (cwd / expand_user(name)).exists()
        except (OSError, ValueError):
            return False

    texts = (spec.dataset, *spec.additional_dataset)
    return [entry for text in texts for entry in _split_entries(parse_part(text, exists), spec, cwd)]


def _split_entries(part: DatasetPart, spec: TrainingSpec, cwd: Path) -> list[DatasetPart]:
    """One part for each of several entries of a LLaMA-Factory description, named as in "mllm_demo,identity"."""
    config = part.options.get("config", spec.dataset_config)
    if not isinstance(config, str) or "," not in config:
        return [part]
    path = cwd / expand_user(part.name)
    if path.name != DATASET_INFO_FILE and not (path / DATASET_INFO_FILE).is_file():
        return [part]
    return [replace(part, options={**part.options, "config": name.strip()}) for name in config.split(",")]


def is_mixture(parts: Sequence[DatasetPart]) -> bool:
    """Whether the parts are more than one plain dataset."""
    return len(parts) > 1 or parts[0].weight != 1 or bool(parts[0].options)


def part_spec(spec: TrainingSpec, part: DatasetPart) -> TrainingSpec:
    """The spec of a run on one part alone: the run's options, replaced by the part's own.

    Raises:
        SpecError: a value of the part is invalid.
    """
    changes = {**part.changes, "dataset": part.name, "additional_dataset": ()}
    try:
        return TrainingSpec.parse({**spec.model_dump(), **changes})
    except SpecError as error:
        raise SpecError([replace(problem, where=f"dataset {part.name}") for problem in error.problems]) from None


def repeat_rows(dataset: Dataset, repeats: Iterator[int]) -> Dataset:
    """A dataset whose rows are taken as often as `repeats` says of each in order, bad ones included."""
    bad = set(dataset.bad_rows)
    copies = array("H")
    for row in merge(columns_of(dataset.examples).rows, sorted(bad)):
        times = next(repeats)
        if row not in bad:
            copies.append(times)
    return replace(dataset, copies=copies)


def combine_datasets(parts: Sequence[DatasetPart], datasets: Sequence[Dataset]) -> Dataset:
    """The loaded datasets of the parts as one."""
    loaded: list[LoadedPart] = []
    offset = 0
    for part, dataset in zip(parts, datasets, strict=True):
        trained = sum(dataset.copies) if dataset.copies else len(dataset.examples)
        loaded.append(
            LoadedPart(
                part.name,
                part.weight,
                offset + 1,
                offset + dataset.last_row,
                len(dataset.examples),
                trained,
                dataset.address,
                dataset.detected_format,
            )
        )
        offset += dataset.last_row
    pairs = list(zip(loaded, datasets, strict=True))
    title = ", ".join(map(str, parts))
    combined = Dataset(
        path=Path(title[:_MAX_TITLE_CHARACTERS]),
        examples=tuple(
            replace(example, row=example.row + part.first - 1)
            for part, dataset in pairs
            for example in dataset.examples
        ),
        problems=tuple(_renumber(problem, part) for part, dataset in pairs for problem in dataset.problems),
        image_locations=_add_counts(dataset.image_locations for dataset in datasets),
        image_infos={path: info for dataset in datasets for path, info in dataset.image_infos.items()},
        notes=tuple(_renumber(note, part) for part, dataset in pairs for note in dataset.notes),
        address=title,
        unused_columns=_add_counts(dataset.unused_columns for dataset in datasets),
        text_markers=_add_counts(dataset.text_markers for dataset in datasets),
        last_row=offset,
        copies=_join_copies(datasets),
        parts=tuple(loaded),
        content=_join_contents(datasets),
    )
    return replace(
        combined, problems=combined.with_origins(combined.problems), notes=combined.with_origins(combined.notes)
    )


def _join_copies(datasets: Sequence[Dataset]) -> Sequence[int]:
    if not any(dataset.copies for dataset in datasets):
        return ()
    once = array("H", [1])
    return array("H", chain.from_iterable(dataset.copies or once * len(dataset.examples) for dataset in datasets))


def _join_contents(datasets: Sequence[Dataset]) -> str | None:
    """A digest of the content of all; how often a row is taken is no part of it, since each is checked once."""
    contents = [dataset.content for dataset in datasets]
    return None if None in contents else hashlib.sha256("\n".join(map(str, contents)).encode()).hexdigest()


def _renumber(problem: RowProblem, part: LoadedPart) -> RowProblem:
    return replace(problem, row=problem.row + part.first - 1)


def _add_counts(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def describe_parts(dataset: Dataset) -> list[tuple[str, str, str]]:
    """What each of several datasets adds, as decisions of a run: its name, its rows, and why; [] for one dataset."""
    lines = []
    for part in dataset.parts:
        rows = f"rows {part.first:,} to {part.last:,}, weight {part.weight:g}"
        value = f"{pluralize(part.trained, 'example')} of {rows}"
        lines.append((f"dataset {safe_line(part.name, limit=200)}", value, str(part.detected_format or "")))
    return lines
