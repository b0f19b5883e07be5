"""Rows chosen from datasets and written to new ones: split by image, drawn at random, put together with weights.

Rows are read twice and never held: what is kept of each between the readings is a few bytes. Rows that cannot be read
as conversations are not lost: a split keeps them in its first file, a drawing and a mixture treat them as any other;
what cannot be written at all (a damaged row of a format that is not text) is counted.
"""

import json
import math
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mg_tui.core.errors import UsageError
from mg_tui.data.checks.base import digest
from mg_tui.data.checks.runner import ReadOptions, RowLoader
from mg_tui.data.dataset_writer import DatasetWriter, RowRewriter, fits_fields_layout, to_common_row
from mg_tui.data.field_map import ExampleDraft
from mg_tui.data.images import ImageError
from mg_tui.data.rows import Row
from mg_tui.data.split import choose_held_out

if TYPE_CHECKING:
    from mg_tui.data.sources.base import Source

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class WrittenDataset:
    """A new dataset, its rows, and how many rows had no way to be written."""

    path: Path
    rows: int
    unwritable_rows: int = 0


class _DraftReader:
    """Rows of a source with their drafts, as often as wanted."""

    def __init__(self, source: "Source", reading: ReadOptions, progress: Progress | None = None):
        self.source = source
        self.resolver = reading.make_resolver(source.base)
        self._judge = RowLoader(source, reading)
        self.layout, self.fields = self._judge.detected_format.layout, self._judge.detected_format.fields
        self._progress = progress

    def __iter__(self) -> Iterator[tuple[Row, ExampleDraft | None]]:
        for row in self.source.rows():
            draft = self._judge.read_draft(row)
            if self._progress is not None and row.number % 512 == 0:
                self._progress(row.number, 0)
            yield row, draft if isinstance(draft, ExampleDraft) else None

    def writer(self, out: Path) -> RowRewriter:
        return RowRewriter(self.source, self.resolver, out, said=(self.fields.text, self.fields.response))

    def places(self, draft: ExampleDraft) -> Iterator[int]:
        """A digest of where each image is; of how it is named where it is nowhere."""
        for given in draft.images:
            try:
                yield digest(self.resolver.locate(given).ref.path)
            except ImageError:
                yield digest(str(given))


def split_dataset(
    source: "Source",
    reading: ReadOptions,
    train: Path,
    evaluation: Path,
    *,
    share: float,
    seed: int,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[WrittenDataset, WrittenDataset]:
    """Part rows off for evaluation so that no image is on both sides; the same seed parts the same way.

    Args:
        share: of the rows to part off, above 0 and below 1; as near below it as images allow.

    Raises:
        UsageError: something is in the way, or the dataset cannot be split.
        DataError: the dataset cannot be read.
        EnvironmentProblem: the new files cannot be written.
    """
    if train.absolute() == evaluation.absolute():
        raise UsageError("training and evaluation output are the same file", where=str(train))
    reader = _DraftReader(source, reading, progress)
    numbers, images = array("Q"), []
    for row, draft in reader:
        if draft is not None:
            numbers.append(row.number)
            images.append(tuple(reader.places(draft)))
    held = {numbers[index] for index in choose_held_out(images, share, seed)}
    if not held:
        raise UsageError(
            "the dataset cannot be split", where=source.name, why="all rows share an image, or there is only one row"
        )
    with ExitStack() as stack:
        kept = stack.enter_context(DatasetWriter(train, force=force, sources=[source.path]))
        parted = stack.enter_context(DatasetWriter(evaluation, force=force, sources=[source.path]))
        lost = _write_rows(reader, lambda row: parted if row.number in held else kept)
    return WrittenDataset(kept.path, kept.rows, lost), WrittenDataset(parted.path, parted.rows)


def sample_dataset(
    source: "Source",
    reading: ReadOptions,
    out: Path,
    *,
    count: int | None = None,
    share: float | None = None,
    seed: int,
    force: bool = False,
    progress: Progress | None = None,
) -> WrittenDataset:
    """Draw `count` rows, or a `share` of them, in the order of the dataset; raises as `split_dataset`."""
    reader = _DraftReader(source, reading, progress)
    numbers = array("Q", (row.number for row in source.rows()))
    wanted = count if count is not None else round((share or 0.0) * len(numbers))
    if not 1 <= wanted <= len(numbers):
        raise UsageError(
            f"cannot sample {wanted:,} of {len(numbers):,} rows", hint=f"choose 1 to {len(numbers):,} rows"
        )
    chosen = {numbers[index] for index in random.Random(seed).sample(range(len(numbers)), wanted)}
    with DatasetWriter(out, force=force, sources=[source.path]) as new:
        lost = _write_rows(reader, lambda row: new if row.number in chosen else None)
    return WrittenDataset(new.path, new.rows, lost)


@dataclass(frozen=True, slots=True)
class WeightedSource:
    """A dataset of a mixture, and how often its rows are in it: 2 is every row twice, 0.5 a random half."""

    source: "Source"
    options: ReadOptions
    weight: float = 1.0


def concat_datasets(
    parts: Sequence[WeightedSource], out: Path, *, seed: int, force: bool = False, progress: Progress | None = None
) -> WrittenDataset:
    """Put datasets into one, in order. Rows of parts that are laid out alike are kept as they are; where layouts or
    names of fields differ, rows are written anew with conversation, images and weight, and nothing else: in the
    guide's three fields where these can say all of every row, else as messages.

    Raises as `split_dataset`.
    """
    readers = [_DraftReader(part.source, part.options, progress) for part in parts]
    alike = len({(reader.layout, reader.fields) for reader in readers}) == 1
    fields = alike or all(draft is None or fits_fields_layout(draft) for reader in readers for _row, draft in reader)
    lost = 0
    with DatasetWriter(out, force=force, sources=[part.source.path for part in parts]) as new:
        for index, (part, reader) in enumerate(zip(parts, readers, strict=True)):
            rng = random.Random(f"{seed} {index}")
            whole, fraction = divmod(part.weight, 1)
            writer = reader.writer(new.path)
            for row, draft in reader:
                times = int(whole) + (rng.random() < fraction)
                if not times:
                    continue
                line = writer.rewrite(row, draft) if alike else _common_line(writer, draft, fields=fields)
                if line is None:
                    lost += 1
                    continue
                for _time in range(times):
                    new.write_line(line)
    return WrittenDataset(new.path, new.rows, lost)


def _common_line(writer: RowRewriter, draft: ExampleDraft | None, *, fields: bool) -> bytes | None:
    if draft is None:
        return None
    values = to_common_row(draft, writer.image_paths(draft), fields=fields)
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")


def _write_rows(reader: _DraftReader, where: Callable[[Row], DatasetWriter | None]) -> int:
    """Write each row where it belongs; how many could not be written."""
    lost = 0
    writers: dict[Path, RowRewriter] = {}
    for row, draft in reader:
        new = where(row)
        if new is None:
            continue
        writer = writers.setdefault(new.path, reader.writer(new.path))
        line = writer.rewrite(row, draft)
        if line is None:
            lost += 1
        else:
            new.write_line(line)
    return lost


def parse_weighted_path(text: str) -> tuple[str, float]:
    """A dataset and its weight out of "FILE:2"; a name without a number has weight 1.

    Raises:
        UsageError: the weight is not above zero, or beyond a thousand.
    """
    name, colon, number = text.rpartition(":")
    try:
        weight = float(number) if colon and name else math.nan
    except ValueError:
        weight = math.nan
    if math.isnan(weight):
        return text, 1.0
    if not 0 < weight <= 1000:
        raise UsageError(f"invalid weight {number}", where=text, hint="2 repeats every row twice, 0.5 takes half")
    return name, weight
