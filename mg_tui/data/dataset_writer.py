"""Rows written to a new dataset: byte for byte where possible, else with their image paths adjusted.

The new dataset is JSON Lines, written to a temporary file and renamed when it is complete. The source is never
modified. A row of a JSON Lines file is copied byte for byte if its relative paths lead to the same images from the new
file's folder; otherwise paths are rewritten relative to that folder, or as absolute paths. Images embedded in rows are
written to a folder beside the new file.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.data.embedded_images import EmbeddedImage
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.image_resolver import ImageResolver, is_url
from mg_tui.data.images import ImageError
from mg_tui.data.row_problems import safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.sources.base import Source
from mg_tui.data.sources.layout_writers import fill_image_slots, to_row

# Keys whose texts are never image paths; a text under another key that equals an image's path is that image.
_TEXT_KEYS: Final = frozenset({"text", "content", "value", "response", "answer", "question"})


class DatasetWriter:
    """A new JSON Lines file; a context manager. The file appears only if the context exits without an exception.

    Raises:
        UsageError: from the constructor, when the output exists, or it would replace one of `sources`.
        EnvironmentProblem: it cannot be written.
    """

    def __init__(self, path: Path, *, force: bool = False, sources: Sequence[Path | None] = ()):
        self.path = expand_user(path).absolute()
        self.rows = 0
        require_output_free(self.path, force=force, sources=sources)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)
        except OSError as error:
            raise self._write_error(error) from None
        self._file: BinaryIO = os.fdopen(descriptor, "wb")
        self._temporary = Path(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if kind is None:
                self._temporary.chmod(0o644)
                self._temporary.replace(self.path)
        except OSError as error:
            raise self._write_error(error) from None
        finally:
            self._temporary.unlink(missing_ok=True)

    def write_line(self, line: bytes) -> None:
        """Write one row; a missing line end is added."""
        try:
            self._file.write(line if line.endswith(b"\n") else line + b"\n")
        except OSError as error:
            raise self._write_error(error) from None
        self.rows += 1

    def _write_error(self, error: OSError) -> EnvironmentProblem:
        return EnvironmentProblem("cannot write the new dataset", where=safe_line(str(self.path)), why=error.strerror)


def require_output_free(path: Path, *, force: bool, sources: Sequence[Path | None] = ()) -> None:
    """Raises UsageError when `path` is a folder, one of `sources`, or exists and `force` is False."""
    where = safe_line(str(path))
    if path.is_dir():
        raise UsageError("the output is a folder", where=where, hint="name a file")
    if any(source is not None and source.exists() and path.exists() and source.samefile(path) for source in sources):
        raise UsageError("the output is the input dataset, which is never modified", where=where, hint="name another")
    if not force and (path.exists() or path.is_symlink()):
        raise output_exists_error(path)


def output_exists_error(path: Path, what: str = "the output") -> UsageError:
    """The error for an output that would be overwritten."""
    hint = "choose another name, or overwrite it with --force"
    return UsageError(f"{what} already exists", where=safe_line(str(path)), hint=hint)


class RowRewriter:
    """Turns rows of one source into lines of a new dataset.

    Args:
        source: the dataset that rows come from.
        resolver: resolves its images.
        out: the new dataset's file.
        text_fields: names of fields whose texts are never paths.
    """

    def __init__(self, source: Source, resolver: ImageResolver, out: Path, text_fields: Sequence[str] = ()):
        self._source = source
        self._resolver = resolver
        self._out = out
        self._text_keys = _TEXT_KEYS | set(text_fields)
        self._same_folder = source.base.absolute() == out.parent.absolute()
        path = source.path if source.format == "jsonl" else None
        self._copies_lines = path is not None and path.is_file() and source.has_offsets

    def rewrite(self, row: Row, draft: ExampleDraft | None, *, changed: bool = False) -> bytes | None:
        """The row as a line; None for one that cannot be written: it has neither values nor bytes in the file.

        Args:
            draft: the row's conversation; None when it could not be read as one.
            changed: the values differ from those in the file.
        """
        relocated = self._relocated_paths(draft) if draft is not None else {}
        if self._copies_lines and row.length and not changed and not relocated:
            return self._read_raw_line(row)
        if row.values is None:
            # A damaged line of a compressed file: the problem carries its text.
            raw = row.problem.raw if row.problem is not None and self._source.format == "jsonl" else ""
            return raw.encode("utf-8", "surrogateescape") or None
        embedded = [image for image in draft.images if isinstance(image, EmbeddedImage)] if draft is not None else []
        values = self._replace_images(row.values, relocated, embedded)
        return json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "replace")

    def image_paths(self, draft: ExampleDraft) -> list[str]:
        """The row's images as the new dataset has to name them."""
        relocated = self._relocated_paths(draft)
        return [
            self._copy_image(image) if isinstance(image, EmbeddedImage) else relocated.get(image, image)
            for image in draft.images
        ]

    def _read_raw_line(self, row: Row) -> bytes | None:
        assert self._source.path is not None
        with self._source.path.open("rb") as file:
            file.seek(row.offset)
            return file.read(row.length) if row.length <= MAX_ROW_BYTES else None

    def _relocated_paths(self, draft: ExampleDraft) -> dict[str, str]:
        """Relative paths that differ when seen from the new dataset's folder: old path to new path."""
        relocated: dict[str, str] = {}
        for image in draft.images:
            if isinstance(image, EmbeddedImage) or is_url(image) or self._same_folder or Path(image).is_absolute():
                continue
            try:
                path = Path(self._resolver.resolve(image).ref.path)
            except ImageError:
                path = self._source.base.absolute() / image
            folder = self._out.parent.resolve()
            relocated[image] = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        return {old: new for old, new in relocated.items() if old != new}

    def _replace_images(
        self, value: Any, relocated: Mapping[str, str], embedded: list[EmbeddedImage], name: str = ""
    ) -> Any:
        if isinstance(value, bytes) or (isinstance(value, dict) and isinstance(value.get("bytes"), bytes)):
            return self._copy_image(embedded.pop(0)) if embedded else None
        if isinstance(value, str):
            return relocated.get(value, value) if name not in self._text_keys else value
        if isinstance(value, dict):
            return {key: self._replace_images(inner, relocated, embedded, key) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._replace_images(inner, relocated, embedded, name) for inner in value]
        return value

    def _copy_image(self, image: EmbeddedImage) -> str:
        """Copy an embedded image to the folder beside the new dataset; its path relative to the dataset."""
        folder = self._out.with_name(f"{self._out.stem}_images")
        target = folder / Path(image.path).name
        if not target.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}")
                shutil.copyfile(image.path, temporary)
                temporary.replace(target)
            except OSError as error:
                raise EnvironmentProblem(
                    "cannot write an image", where=safe_line(str(folder)), why=error.strerror
                ) from None
        return f"{folder.name}/{target.name}"


def fits_fields_layout(draft: ExampleDraft) -> bool:
    """Whether the layout "fields" can hold the whole conversation: images, one question, one answer."""
    turns = draft.turns
    if [turn.role for turn in turns] != ["user", "assistant"] or not all(turn.supervised for turn in turns):
        return False
    count = len(draft.images)
    return turns[0].parts[:count] == tuple(range(count)) and all(isinstance(p, str) for p in turns[0].parts[count:])


def to_common_row(draft: ExampleDraft, paths: Sequence[str], *, fields: bool) -> dict[str, Any]:
    """A conversation as a row in the layout "fields", or as OpenAI messages when `fields` is False."""
    row = to_row(draft, "fields" if fields else "openai", FieldMap(), image_list=False)
    values: dict[str, Any] = fill_image_slots(row.values, lambda slot: paths[slot.index])
    return values if draft.weight == 1.0 else {**values, "weight": draft.weight}
