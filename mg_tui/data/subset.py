"""New datasets from rows of others: split by image, random samples, weighted concatenation.

Rows are read twice, and only a few bytes of each are held in between. Rows that cannot be read as conversations are
retained: a split writes them to its training file, a sample and a concatenation treat them as any other row. Rows that
cannot be written at all (damaged rows of a format that is not text) are counted.
"""

import json
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mg_tui.core.errors import UsageError
from mg_tui.data.dataset_writer import DatasetWriter, RowRewriter, fits_fields_layout, to_common_row
from mg_tui.data.digests import text_digest
from mg_tui.data.field_map import ExampleDraft
from mg_tui.data.images import ImageError
from mg_tui.data.progress import Progress
from mg_tui.data.repeats import row_repeats
from mg_tui.data.row_loader import ReadOptions, RowLoader
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import Source
from mg_tui.data.split import choose_held_out


@dataclass(frozen=True, slots=True)
class WrittenDataset:
    """A written dataset: its file, its rows, and the number of rows that could not be written."""

    path: Path
    rows: int
    unwritable_rows: int = 0


class _DraftReader:
    """Iterates over the rows of a source with their drafts, any number of times."""

    def __init__(self, source: Source, options: ReadOptions, progress: Progress | None = None):
        self.source = source
        self.resolver = options.make_resolver(source.base)
        self._loader = RowLoader(source, options)
        self.layout, self.fields = self._loader.detected_format.layout, self._loader.detected_format.fields
        self._progress = progress

    def __iter__(self) -> Iterator[tuple[Row, ExampleDraft | None]]:
        for row in self.source.rows():
            draft = self._loader.read_draft(row)
            if self._progress is not None and row.number % 512 == 0:
                self._progress(row.number, 0)
            yield row, draft if isinstance(draft, ExampleDraft) else None

    def rewriter(self, out: Path) -> RowRewriter:
        return RowRewriter(self.source, self.resolver, out, text_fields=(self.fields.text, self.fields.response))

    def image_digests(self, draft: ExampleDraft) -> Iterator[int]:
        """A digest of the path of each image; of its name in the dataset where it cannot be resolved."""
        for image in draft.images:
            try:
                yield text_digest(self.resolver.resolve(image).ref.path)
            except ImageError:
                yield text_digest(str(image))


def split_dataset(
    source: Source,
    options: ReadOptions,
    train: Path,
    evaluation: Path,
    *,
    share: float,
    seed: int,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[WrittenDataset, WrittenDataset]:
    """Split off an evaluation dataset so that no image is on both sides; deterministic for a seed.

    Args:
        share: of the rows to hold out, above 0 and below 1; as near below it as shared images allow.

    Raises:
        UsageError: an output exists, or the dataset cannot be split.
        DataError: the dataset cannot be read.
        EnvironmentProblem: the new files cannot be written.
    """
    if train.absolute() == evaluation.absolute():
        raise UsageError("training and evaluation output are the same file", where=str(train))
    reader = _DraftReader(source, options, progress)
    numbers, images = array("Q"), []
    for row, draft in reader:
        if draft is not None:
            numbers.append(row.number)
            images.append(tuple(reader.image_digests(draft)))
    held_out = {numbers[index] for index in choose_held_out(images, share, seed)}
    if not held_out:
        raise UsageError(
            "the dataset cannot be split", where=source.name, why="all rows share an image, or there is only one row"
        )
    with ExitStack() as stack:
        training = stack.enter_context(DatasetWriter(train, force=force, sources=[source.path]))
        held_out_file = stack.enter_context(DatasetWriter(evaluation, force=force, sources=[source.path]))
        unwritable = _write_rows(reader, lambda row: held_out_file if row.number in held_out else training)
    return (
        WrittenDataset(training.path, training.rows, unwritable),
        WrittenDataset(held_out_file.path, held_out_file.rows),
    )


def sample_dataset(
    source: Source,
    options: ReadOptions,
    out: Path,
    *,
    count: int | None = None,
    share: float | None = None,
    seed: int,
    force: bool = False,
    progress: Progress | None = None,
) -> WrittenDataset:
    """Sample `count` rows, or a `share` of them, at random, in the order of the dataset; raises as `split_dataset`."""
    reader = _DraftReader(source, options, progress)
    numbers = array("Q", (row.number for row in source.rows()))
    size = count if count is not None else round((share or 0.0) * len(numbers))
    if not 1 <= size <= len(numbers):
        raise UsageError(f"cannot sample {size:,} of {len(numbers):,} rows", hint=f"choose 1 to {len(numbers):,} rows")
    chosen = {numbers[index] for index in random.Random(seed).sample(range(len(numbers)), size)}
    with DatasetWriter(out, force=force, sources=[source.path]) as new:
        unwritable = _write_rows(reader, lambda row: new if row.number in chosen else None)
    return WrittenDataset(new.path, new.rows, unwritable)


@dataclass(frozen=True, slots=True)
class WeightedSource:
    """A dataset of a concatenation and its weight: 2 writes every row twice, 0.5 a random half of the rows."""

    source: Source
    options: ReadOptions
    weight: float = 1.0


def concat_datasets(
    parts: Sequence[WeightedSource], out: Path, *, seed: int, force: bool = False, progress: Progress | None = None
) -> WrittenDataset:
    """Concatenate datasets in order. If all have the same layout and fields, rows are copied as they are; otherwise
    they are rewritten with conversation, images and weight only: in the layout "fields" where it can hold every row,
    else as messages.

    Raises as `split_dataset`.
    """
    readers = [_DraftReader(part.source, part.options, progress) for part in parts]
    same_layout = len({(reader.layout, reader.fields) for reader in readers}) == 1
    fields = same_layout or all(
        draft is None or fits_fields_layout(draft) for reader in readers for _row, draft in reader
    )
    unwritable = 0
    with DatasetWriter(out, force=force, sources=[part.source.path for part in parts]) as new:
        for index, (part, reader) in enumerate(zip(parts, readers, strict=True)):
            repeats = row_repeats(part.weight, seed, index)
            rewriter = reader.rewriter(new.path)
            for row, draft in reader:
                times = next(repeats)
                if not times:
                    continue
                line = rewriter.rewrite(row, draft) if same_layout else _common_line(rewriter, draft, fields=fields)
                if line is None:
                    unwritable += 1
                    continue
                for _repeat in range(times):
                    new.write_line(line)
    return WrittenDataset(new.path, new.rows, unwritable)


def _common_line(rewriter: RowRewriter, draft: ExampleDraft | None, *, fields: bool) -> bytes | None:
    if draft is None:
        return None
    values = to_common_row(draft, rewriter.image_paths(draft), fields=fields)
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")


def _write_rows(reader: _DraftReader, choose: Callable[[Row], DatasetWriter | None]) -> int:
    """Write each row to the dataset that `choose` returns, if any; the number of rows that could not be written."""
    unwritable = 0
    rewriters: dict[Path, RowRewriter] = {}
    for row, draft in reader:
        new = choose(row)
        if new is None:
            continue
        rewriter = rewriters.setdefault(new.path, reader.rewriter(new.path))
        line = rewriter.rewrite(row, draft)
        if line is None:
            unwritable += 1
        else:
            new.write_line(line)
    return unwritable
