"""The rows a run trains and evaluates on: bad rows refused or skipped, evaluation rows split off."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import first_few
from mg_tui.data.dataset import Dataset, require_examples, write_rejects
from mg_tui.data.digests import ContentFingerprint
from mg_tui.data.example_table import ExampleTable, columns_of, select_examples
from mg_tui.data.images import ImageInfo
from mg_tui.data.row_problems import BadRows
from mg_tui.data.split import split_indices
from mg_tui.engine.batching import image_files
from mg_tui.engine.batching.image_files import MAX_NAMES, FileFacts
from mg_tui.engine.batching.rows import MeasuredRows, measure_rows
from mg_tui.engine.batching.token_counts import TokenMeasure
from mg_tui.runs import checkpoint_format
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The examples of a run; `tokens` has the tokens of each training example, images included."""

    train: Sequence[Example]
    tokens: Sequence[int]
    evaluation: Sequence[Example] = ()
    skipped: int = 0
    infos: dict[str, ImageInfo] = field(default_factory=dict)

    @property
    def lengths(self) -> dict[int, int]:
        """Tokens of the training examples by row."""
        return dict(zip(columns_of(self.train).rows, self.tokens, strict=True))

    def infos_of(self, example: Example) -> list[ImageInfo]:
        """The infos of an example's images; images without an info are omitted."""
        return [self.infos[ref.path] for ref in example.images if ref.path in self.infos]


def prepare_training_data(
    spec: TrainingSpec,
    dataset: Dataset,
    evaluation: Dataset | None,
    *,
    measure_tokens: TokenMeasure,
    folder: RunFolder,
    journal: JournalWriter,
) -> TrainingData:
    """Measure, apply `on_bad_row`, and split off the evaluation examples.

    Raises:
        BadRows: there are bad rows, and `on_bad_row` is "stop".
        DataError: no row is left to train on.
    """
    measured = _apply_bad_row_policy(spec, dataset, measure_tokens, folder.skipped_rows_file, folder, journal)
    infos = dict(dataset.image_infos)
    skipped = len({problem.row for problem in measured.problems})
    if evaluation is not None:
        rejects_file = folder.skipped_rows_file.with_name("skipped_eval_rows.jsonl")
        held_out = _apply_bad_row_policy(spec, evaluation, measure_tokens, rejects_file, folder, journal)
        infos.update(evaluation.image_infos)
        return _training_data(dataset, measured, range(len(measured.examples)), held_out.examples, skipped, infos)
    train, held_out_rows = split_indices(measured.examples, spec.eval_split, spec.seed)
    if spec.eval_split and not held_out_rows:
        journal.write(
            "warning",
            what="no rows could be held out for evaluation",
            why="all rows show the same image, or there is only one row",
            hint="give an evaluation dataset with --eval-dataset",
        )
    held_out_examples = select_examples(measured.examples, held_out_rows)
    return _training_data(dataset, measured, train, held_out_examples, skipped, infos)


def _training_data(
    dataset: Dataset,
    measured: MeasuredRows,
    indices: Sequence[int],
    evaluation: Sequence[Example],
    skipped: int,
    infos: dict[str, ImageInfo],
) -> TrainingData:
    """The data of a run that trains on some of the measured examples, each as often as the dataset says."""
    train = select_examples(measured.examples, indices)
    tokens = measured.tokens if len(indices) == len(measured.tokens) else [measured.tokens[index] for index in indices]
    if dataset.copies:
        lengths = dict(zip((example.row for example in train), tokens, strict=True))
        train = dataset.repeat(train)
        tokens = [lengths[example.row] for example in train]
    return TrainingData(train, tokens, evaluation, skipped, infos)


def _apply_bad_row_policy(
    spec: TrainingSpec,
    dataset: Dataset,
    measure_tokens: TokenMeasure,
    rejects_file: Path,
    folder: RunFolder,
    journal: JournalWriter,
) -> MeasuredRows:
    measured = measure_rows(dataset, spec.max_seq_length, measure_tokens)
    if not measured.problems:
        rejects_file.unlink(missing_ok=True)
    elif spec.on_bad_row == "stop":
        raise BadRows(measured.problems, where=str(dataset.path), examples=len(measured.examples))
    else:
        count = write_rejects(rejects_file, measured.problems)
        journal.write("rows_skipped", count=count, file=rejects_file.relative_to(folder.path).as_posix())
    require_examples(dataset)
    if not measured.examples:
        raise DataError(
            "no row is left to train on",
            where=str(dataset.path),
            why=str(measured.problems[0]),
            hint=measured.problems[0].hint,
        )
    if not any(example.weight for example in measured.examples):
        raise DataError(
            "every row has weight 0, so nothing can be trained",
            where=str(dataset.path),
            hint=f"check the field {spec.weight_field}",
        )
    return measured


def compare_images(folder: RunFolder, data: TrainingData) -> tuple[dict[str, FileFacts], list[str]]:
    """Size and modification time of the images, which the run's folder keeps, and the paths that changed since."""
    parts = (columns_of(data.train), columns_of(data.evaluation))
    facts = image_files.collect_facts(path for columns in parts for path in columns.used_paths())
    changed = image_files.changed_paths(image_files.load_facts(folder.path), facts)
    image_files.save_facts(folder.path, facts)
    return facts, changed


def data_summary(data: TrainingData) -> dict[str, Any]:
    """The data in the journal's `plan` event."""
    images = columns_of(data.train).image_ids
    return {
        "examples": len(data.train),
        "eval_examples": len(data.evaluation),
        "images": len(images),
        "distinct_images": len(set(images)),
        "tokens_per_epoch": sum(data.tokens),
        "longest": max(data.tokens, default=0),
    }


def fingerprint(examples: Sequence[Example]) -> str:
    """See `ContentFingerprint`."""
    if isinstance(examples, ExampleTable) and examples.fingerprint is not None:
        return examples.fingerprint
    content = ContentFingerprint()
    for example in examples:
        content.add(example)
    return content.value


def image_fingerprint(examples: Sequence[Example], facts: Mapping[str, FileFacts]) -> str:
    """A checksum of the size and the modification time of every image file, by path.

    `facts` are those of `compare_images`; a file that is missing there is reported where it is read.
    """
    value = 0
    for path in sorted(columns_of(examples).used_paths()):
        if path in facts:
            size, mtime = facts[path]
            value = zlib.crc32(f"{path}\0{size}\0{mtime}\0".encode("utf-8", "surrogatepass"), value)
    return f"{value:08x}"


def fingerprints(examples: Sequence[Example], facts: Mapping[str, FileFacts]) -> dict[str, str]:
    """Both, as a checkpoint's manifest has them: `data` of the rows, `images` of their files."""
    return {"data": fingerprint(examples), "images": image_fingerprint(examples, facts)}


def warn_if_data_changed(
    spec: TrainingSpec,
    checkpoint: Path,
    about: Mapping[str, Any],
    *,
    journal: JournalWriter,
    images: Sequence[str] = (),
) -> None:
    """Warn when rows or images have changed since the checkpoint: the remaining steps then differ from the plan.

    `about` has the fingerprints of now, `data` and `images`; checkpoints of older versions have none of images.
    `images` are the files that changed, as far as they are known.
    """
    then = checkpoint_format.read_manifest(checkpoint)
    if images or then.get("images", about["images"]) != about["images"]:
        journal.write(
            "warning",
            what="image files have changed since the checkpoint was written",
            where=first_few(images, MAX_NAMES)
            if images
            else spec.image_root or ", ".join((spec.dataset, *spec.additional_dataset)),
            why="sizes or modification times differ: the remaining steps may see other images",
            hint="restore the files, or start a new run",
        )
    if then.get("data") != about["data"]:
        journal.write(
            "warning",
            what="the training data have changed since the checkpoint was written",
            where=", ".join((spec.dataset, *spec.additional_dataset)),
            why="rows were added, removed or edited, so the remaining steps use other rows than planned",
            hint="restore the old file, or start a new run",
        )
