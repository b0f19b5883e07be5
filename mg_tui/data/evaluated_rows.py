"""A new dataset of rows that were evaluated, such as those a model got wrong: read again from where they are from.

Rows keep all their columns. A row whose references are no single text gets the text that training takes as its
response, and keeps what was there in a column `references`.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mg_tui.core.errors import DataError, UsageError
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.paths import expand_user
from mg_tui.data.dataset_writer import DatasetWriter, RowRewriter
from mg_tui.data.evaluation_rows import FieldNames, ReferenceSource, evaluation_fields
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.row_loader import ReadOptions, RowLoader
from mg_tui.data.rows import Row
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source
from mg_tui.data.subset import WrittenDataset

REFERENCES_COLUMN: Final = "references"
# The purposes of fields, each with the flag that names its field.
_FLAGS: Final = {
    "text": "--text-field",
    "image": "--image-field",
    "response": "--response-field",
    "messages": "--messages-field",
}


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """A dataset of evaluated rows, and the flags by which it has to be read; none where its fields are found alone."""

    dataset: WrittenDataset
    flags: tuple[str, ...] = ()


def write_evaluated_rows(
    spec: EvaluationSpec,
    questions: Mapping[int, str],
    out: Path,
    *,
    cwd: Path,
    cache: Path | None,
    trained: FieldNames | None = None,
    force: bool = False,
) -> WrittenRows:
    """Write rows of an evaluation's dataset to a new dataset, in their order.

    Args:
        spec: of the evaluation; relative paths in it are seen from `cwd`.
        questions: the question of each row to write, by its number: a row that asks something else is not that row.
        trained: fields that the spec leaves open, as in the evaluation.

    Raises:
        UsageError: no row is named, or the output exists.
        DataError: the dataset cannot be read, or is not the one that was evaluated.
        EnvironmentProblem: the new dataset cannot be written.
    """
    if not questions:
        raise UsageError("no row is marked", hint="mark rows, then write them")
    source = ReferenceSource.open(spec, evaluation_fields(spec, trained or FieldNames()), cwd=cwd, cache=cache)
    options = ReadOptions(
        detected_format=source.detected_format,
        image_root=cwd / expand_user(spec.image_root) if spec.image_root else None,
        cwd=cwd,
        cache=cache,
    )
    fields = source.detected_format.fields
    with (
        closing(RowLoader(source, options)) as loader,
        DatasetWriter(out, force=force, sources=[source.path]) as new,
    ):
        rewriter = RowRewriter(source, options.make_resolver(source.base), new.path, (fields.text, fields.response))
        left = set(questions)
        for row in source.inner.rows():
            if row.number not in left:
                continue
            left.remove(row.number)
            read = source.with_text_answer(row)
            draft = loader.read_draft(read)
            if not isinstance(draft, ExampleDraft) or _question(draft, loader) != questions[row.number].strip():
                raise _changed(spec, row.number)
            line = _line(rewriter, row, read, draft, fields)
            if line is None:
                raise _changed(spec, row.number)
            new.write_line(line)
            if not left:
                break
        if left:
            raise _changed(spec, min(left))
    return WrittenRows(WrittenDataset(new.path, new.rows), _flags_needed(new.path, fields, cache))


def _line(rewriter: RowRewriter, row: Row, read: Row, draft: ExampleDraft, fields: FieldMap) -> bytes | None:
    before, now = (one.values.get(fields.response) if one.values else None for one in (row, read))
    if read.values is None or before == now:
        return rewriter.rewrite(row, draft)
    values = {**read.values, REFERENCES_COLUMN: before} if REFERENCES_COLUMN not in read.values else read.values
    return rewriter.rewrite(replace(read, values=values), draft, changed=True)


def _question(draft: ExampleDraft, loader: RowLoader) -> str:
    """The last question, as an evaluation records it."""
    if draft.objects is not None:  # boxes and names are in it, for which the sizes of the images have to be known
        loader.probe([draft])
        example = loader.finish(draft).example
        return example.prompt[-1].text.strip() if example is not None and example.prompt else ""
    return next((turn.text for turn in reversed(draft.turns) if turn.role == "user"), "").strip()


def _changed(spec: EvaluationSpec, number: int) -> DataError:
    return DataError(
        f"row {number} of the dataset is not the row that was evaluated",
        where=spec.dataset,
        why="the dataset changed since",
        hint="evaluate again, and take the rows of the new evaluation",
    )


def _flags_needed(path: Path, fields: FieldMap, cache: Path | None) -> tuple[str, ...]:
    """Flags of the fields that are not found by their usual names."""
    found = detect_format(open_source(str(path), cwd=path.parent, cache=cache)).fields
    named = {purpose: getattr(fields, purpose) for purpose in _FLAGS}
    if all(value is None or value == getattr(found, purpose) for purpose, value in named.items()):
        return ()
    usual = FieldMap()
    return tuple(
        f"{_FLAGS[purpose]} {json.dumps(value, ensure_ascii=False)}"
        for purpose, value in named.items()
        if value is not None and value != getattr(usual, purpose)
    )
