"""Rows to evaluate a model on: examples, every reference of each, and the other columns to group scores by.

A row is read as training reads it, but for its answer: there may be several, and each may be a number or a JSON value
as well as a text. The first text among them, or the value as JSON, is the example's own answer.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError, UsageError
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.example import Example
from mg_tui.core.paths import expand_user
from mg_tui.data.boxes import BOX_COLUMN, BoxFormat
from mg_tui.data.dataset import Dataset, load_dataset
from mg_tui.data.field_map import FieldMap
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.rows import Row
from mg_tui.data.sources.base import DetectedFormat, Source
from mg_tui.data.sources.columns import CHAT_LAYOUTS
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.hub import HubSource
from mg_tui.data.sources.opener import open_source

# Splits to evaluate on, where none is named: training data last.
HELD_OUT_SPLITS: Final = ("validation", "valid", "val", "dev", "eval", "test")
_MAX_COLUMN_TEXT: Final = 200
_MAX_QUESTIONS: Final = 50


@dataclass(frozen=True, slots=True)
class FieldNames:
    """Fields as the model was trained with them, for what the spec leaves open."""

    text: str | None = None
    image: str | None = None
    response: str | None = None
    boxes: BoxFormat | None = None


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """A row: its example, its references (JSON values), and its other columns of one value each."""

    example: Example
    references: tuple[Any, ...]
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluationRows:
    """The rows of an evaluation; `dataset` has the bad ones."""

    rows: tuple[EvaluationRow, ...]
    dataset: Dataset

    @property
    def fingerprint(self) -> str:
        """SHA-256 over questions, images' names and references: another one means other rows."""
        digest = hashlib.sha256()
        for row in self.rows:
            turns = [[message.role, message.text] for message in row.example.prompt]
            images = [image.original for image in row.example.images]
            record = [row.example.row, turns, images, row.references]
            digest.update(json.dumps(record, sort_keys=True, default=str).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def load_evaluation_rows(
    spec: EvaluationSpec,
    *,
    cwd: Path,
    cache: Path | None,
    trained: FieldNames | None = None,
    progress: Callable[[int, int], None] | None = None,
    policy: ReadPolicy = ALLOW_ALL,
) -> EvaluationRows:
    """Read the rows of an evaluation and open every image of them.

    Args:
        spec: relative paths in it are seen from `cwd`.
        trained: what the spec leaves open.
        policy: where files may be read from.

    Raises:
        DataError: the dataset is missing, empty or unreadable. Bad rows are no error here: see `Dataset.problems`.
        EnvironmentProblem: the cache cannot be written, or a hub cannot be reached.
    """
    trained = trained or FieldNames()
    fields = evaluation_fields(spec, trained)
    source = ReferenceSource.open(spec, fields, cwd=cwd, cache=cache, policy=policy)
    dataset = load_dataset(
        spec.dataset,
        source.detected_format.fields,
        image_root=cwd / expand_user(spec.image_root) if spec.image_root else None,
        system_prompt=spec.system_prompt,
        cwd=cwd,
        cache=cache,
        progress=progress,
        layout=source.detected_format.layout,
        source=source,
        policy=policy,
    )
    rows = [source.row_of(example) for example in dataset.examples[: spec.limit]]
    return EvaluationRows(tuple(_with_question_column(rows, source.detected_format.fields.text)), dataset)


def open_evaluation_source(
    spec: EvaluationSpec, *, cwd: Path, cache: Path | None, policy: ReadPolicy = ALLOW_ALL
) -> Source:
    """The source of the rows: of several splits, where none is named, one that is not for training.

    Raises:
        DataError, EnvironmentProblem: as `open_source`.
    """

    def opened(split: str | None) -> Source:
        format = None if spec.dataset_format == "auto" else spec.dataset_format
        return open_source(
            spec.dataset,
            cwd=cwd,
            cache=cache,
            format=format,
            split=split,
            config=spec.dataset_config,
            encoding=spec.dataset_encoding,
            json_field=spec.json_field,
            policy=policy,
        )

    if spec.split is not None:
        return opened(spec.split)
    try:
        plain = opened(None)
    except DataError:
        plain = None
    if isinstance(plain, HubSource):
        plain.prefer_splits(HELD_OUT_SPLITS)  # its splits are only known when its rows are read
    if plain is not None and (plain.path is None or "; split " not in plain.evidence.why):
        return plain
    for split in HELD_OUT_SPLITS:
        try:
            return opened(split)
        except DataError:
            continue
    return plain if plain is not None else opened(None)


class ReferenceSource(Source):
    """A source whose rows have one text as their answer; it remembers all references and the columns of each row."""

    def __init__(self, inner: Source, detected_format: DetectedFormat):
        super().__init__(inner.name, inner.format, inner.path, inner.base, inner.evidence)
        self.address = inner.address
        self.has_offsets = inner.has_offsets
        self.detected_format = detected_format
        self.inner = inner
        self._references: dict[int, tuple[Any, ...]] = {}
        self._columns: dict[int, dict[str, Any]] = {}

    @classmethod
    def open(
        cls, spec: EvaluationSpec, fields: FieldMap, *, cwd: Path, cache: Path | None, policy: ReadPolicy = ALLOW_ALL
    ) -> "ReferenceSource":
        """The source that a spec names.

        Raises:
            DataError, EnvironmentProblem: as `open_source` and `detect_format`.
        """
        source = open_evaluation_source(spec, cwd=cwd, cache=cache, policy=policy)
        layout = None if spec.dataset_layout == "auto" else spec.dataset_layout
        return cls(source, detect_format(source, fields, layout))

    def rows(self, start: int = 1) -> Iterator[Row]:
        """Every row from number `start` on, its answer as a text."""
        for row in self.inner.rows(start):
            yield self.with_text_answer(row)

    def count(self) -> int | None:
        """As the dataset itself says."""
        return self.inner.count()

    def row_of(self, example: Example) -> EvaluationRow:
        """An example with what is known of its row."""
        references = self._references.get(example.row) or (example.response,)
        return EvaluationRow(example, references, self._columns.get(example.row, {}))

    def with_text_answer(self, row: Row) -> Row:
        """A row of the dataset with one text as its answer; its references and columns are remembered."""
        if row.values is None:
            return row
        fields, values = self.detected_format.fields, row.values
        used = {fields.text, fields.image, fields.response, fields.messages, fields.system, fields.input}
        self._columns[row.number] = {
            name: value for name, value in values.items() if name not in used and _is_column_value(value)
        }
        if self.detected_format.layout in CHAT_LAYOUTS or values.get(fields.response) is None:
            return row
        if fields.boxes is not None and values.get(BOX_COLUMN):
            return row  # its reference is the answer with the boxes written into it
        references = find_references(values[fields.response])
        if not references:
            return row
        self._references[row.number] = references
        return replace(row, values={**values, fields.response: _as_text(references)})


def find_references(value: Any) -> tuple[Any, ...]:
    """The references that a field holds.

    A list of texts, a list of objects with an `answer` (VQA) and an object whose `text` is a list (SQuAD) are
    alternatives. Any other list or object is one JSON value.
    """
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        value = value["text"]
    if isinstance(value, list):
        answers = [item.get("answer") if isinstance(item, Mapping) else item for item in value]
        if all(isinstance(answer, str) for answer in answers):
            return tuple(answers)
    return (value,)


def _as_text(references: Sequence[Any]) -> str:
    """The commonest text, of equals the first; or the first value as JSON."""
    texts = [reference for reference in references if isinstance(reference, str)]
    if texts:
        return max(dict.fromkeys(texts), key=texts.count)
    return json.dumps(references[0], ensure_ascii=False, default=str)


def _is_column_value(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_COLUMN_TEXT
    return value is None or isinstance(value, bool | int | float)


def _with_question_column(rows: Sequence[EvaluationRow], name: str) -> Sequence[EvaluationRow]:
    """Rows with their question as a column, where the same few questions are asked of many images."""
    questions = [row.example.prompt[-1].text.strip() if row.example.prompt else "" for row in rows]
    if not 2 <= len(set(questions)) <= min(_MAX_QUESTIONS, len(rows) // 2):
        return rows
    return [
        replace(row, columns={name: question[:_MAX_COLUMN_TEXT], **row.columns})
        for row, question in zip(rows, questions, strict=True)
    ]


def evaluation_fields(spec: EvaluationSpec, trained: FieldNames) -> FieldMap:
    """The fields of an evaluation's rows: named by its spec, else as the model was trained, else the usual ones."""
    usual = FieldMap()
    return FieldMap(
        text=spec.text_field or trained.text or usual.text,
        image=spec.image_field or trained.image or usual.image,
        response=spec.response_field or trained.response or usual.response,
        messages=spec.messages_field,
        caption_prompt=spec.caption_prompt,
        ignored=frozenset(spec.ignore_column),
        boxes=_box_format(spec, trained.boxes),
    )


def _box_format(spec: EvaluationSpec, trained: BoxFormat | None) -> BoxFormat | None:
    """How boxes are written: as the spec says, else as in training.

    Raises:
        UsageError: boxes of resized images, and nothing says within which limits.
    """
    units = spec.box_format or (trained.units if trained is not None else None)
    if units != "resized":
        return None if units is None else BoxFormat(units)
    low = spec.min_pixels or (trained.min_pixels if trained is not None else 0)
    high = spec.max_pixels or (trained.max_pixels if trained is not None else 0)
    if not low or not high:
        raise UsageError(
            "the size that images are resized to, in which boxes are to be written, is not known",
            why="the model was not trained with boxes in these units here",
            hint="give --min-pixels and --max-pixels, or --box-format thousandths or pixels",
        )
    return BoxFormat(units, low, high)
