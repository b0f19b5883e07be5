"""Rows written to a new file: as they stand where that keeps them true, else with their images' paths put right.

A dataset that is written is JSON Lines, made beside under another name and renamed when it is whole. What it is made
from is never touched. A row of a JSON Lines file is copied byte for byte as long as its relative paths lead from the
new file's folder to the same images; else they are written from there, or in full. Images that came inside a row of
another format are put into a folder beside the new file.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.data.embedded_images import EmbeddedImage
from mg_tui.data.field_map import ExampleDraft, FieldMap
from mg_tui.data.image_resolver import ImageResolver, is_url
from mg_tui.data.images import ImageError
from mg_tui.data.line_index import is_compressed
from mg_tui.data.row_problems import safe_line
from mg_tui.data.rows import MAX_ROW_BYTES, Row
from mg_tui.data.sources.layout_writers import fill_image_slots, to_row

if TYPE_CHECKING:
    from mg_tui.data.sources.base import Source

# Keys whose texts are said, whatever they look like; a text elsewhere that equals an image's path is that image.
_TEXT_KEYS: Final = frozenset({"text", "content", "value", "response", "answer", "question"})


class DatasetWriter:
    """A file that is being made; a context manager. It appears when the context ends well, and not otherwise.

    Raises:
        UsageError: from the constructor, when something is in the way, or it would replace one of `sources`.
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
        """Write one row; a line end is added where it has none."""
        try:
            self._file.write(line if line.endswith(b"\n") else line + b"\n")
        except OSError as error:
            raise self._write_error(error) from None
        self.rows += 1

    def _write_error(self, error: OSError) -> EnvironmentProblem:
        return EnvironmentProblem("cannot write the new dataset", where=safe_line(str(self.path)), why=error.strerror)


def require_output_free(path: Path, *, force: bool, sources: Sequence[Path | None] = ()) -> None:
    """Raises UsageError when `path` is a folder, one of `sources`, or there and not to be replaced."""
    where = safe_line(str(path))
    if path.is_dir():
        raise UsageError("the output is a folder", where=where, hint="name a file")
    if any(source is not None and source.exists() and path.exists() and source.samefile(path) for source in sources):
        raise UsageError("the output is the input dataset, which is never modified", where=where, hint="name another")
    if not force and (path.exists() or path.is_symlink()):
        raise UsageError(
            "the output already exists", where=where, hint="choose another name, or overwrite it with --force"
        )


class RowRewriter:
    """Turns rows of one source into lines of a new dataset.

    Args:
        source: where rows come from.
        resolver: finds its images.
        out: the new dataset's file.
        said: names of fields whose texts are never paths.
    """

    def __init__(self, source: "Source", resolver: ImageResolver, out: Path, said: Sequence[str] = ()):
        self._source = source
        self._resolver = resolver
        self._out = out
        self._said = _TEXT_KEYS | set(said)
        self._same_folder = source.base.absolute() == out.parent.absolute()
        path = source.path if source.format == "jsonl" else None
        self._lines = path is not None and path.is_file() and not is_compressed(path)

    def rewrite(self, row: Row, draft: ExampleDraft | None, *, changed: bool = False) -> bytes | None:
        """The row as a line; None for one that cannot be written: it has no values and no bytes of its own.

        `changed` says that its values are not those of the file any more.
        """
        moved = self._relocated_paths(draft) if draft is not None else {}
        if self._lines and row.length and not changed and not moved:
            return self._read_raw_line(row)
        if row.values is None:
            # A damaged line of a packed file: its text came along with what is wrong with it.
            raw = row.problem.raw if row.problem is not None and self._source.format == "jsonl" else ""
            return raw.encode("utf-8", "surrogateescape") or None
        kept = [given for given in draft.images if isinstance(given, EmbeddedImage)] if draft is not None else []
        values = self._replace_images(row.values, moved, kept)
        return json.dumps(values, ensure_ascii=False, default=str).encode("utf-8", "replace")

    def image_paths(self, draft: ExampleDraft) -> list[str]:
        """Where the row's images are, as the new dataset has to name them."""
        moved = self._relocated_paths(draft)
        return [
            self._copy_image(one) if isinstance(one, EmbeddedImage) else moved.get(one, one) for one in draft.images
        ]

    def _read_raw_line(self, row: Row) -> bytes | None:
        assert self._source.path is not None
        with self._source.path.open("rb") as file:
            file.seek(row.offset)
            return file.read(row.length) if row.length <= MAX_ROW_BYTES else None

    def _relocated_paths(self, draft: ExampleDraft) -> dict[str, str]:
        """Paths that lead elsewhere from the new dataset's folder, and what leads to the same images."""
        moved: dict[str, str] = {}
        for given in draft.images:
            if isinstance(given, EmbeddedImage) or is_url(given) or self._same_folder or Path(given).is_absolute():
                continue
            try:
                path = Path(self._resolver.locate(given).ref.path)
            except ImageError:
                path = self._source.base.absolute() / given
            folder = self._out.parent.resolve()
            moved[given] = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
        return {given: path for given, path in moved.items() if given != path}

    def _replace_images(self, value: Any, moved: Mapping[str, str], kept: list[EmbeddedImage], name: str = "") -> Any:
        if isinstance(value, bytes) or (isinstance(value, dict) and isinstance(value.get("bytes"), bytes)):
            return self._copy_image(kept.pop(0)) if kept else None
        if isinstance(value, str):
            return moved.get(value, value) if name not in self._said else value
        if isinstance(value, dict):
            return {key: self._replace_images(inner, moved, kept, key) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._replace_images(inner, moved, kept, name) for inner in value]
        return value

    def _copy_image(self, kept: EmbeddedImage) -> str:
        """An image out of a row, as a file beside the new dataset."""
        folder = self._out.with_name(f"{self._out.stem}_images")
        target = folder / Path(kept.path).name
        if not target.exists():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{target.name}")
                shutil.copyfile(kept.path, temporary)
                temporary.replace(target)
            except OSError as error:
                raise EnvironmentProblem(
                    "cannot write an image", where=safe_line(str(folder)), why=error.strerror
                ) from None
        return f"{folder.name}/{target.name}"


def fits_fields_layout(draft: ExampleDraft) -> bool:
    """Whether the guide's three fields can say all of a conversation: images, a question, an answer."""
    turns = draft.turns
    if [turn.role for turn in turns] != ["user", "assistant"] or not all(turn.supervised for turn in turns):
        return False
    count = len(draft.images)
    return turns[0].parts[:count] == tuple(range(count)) and all(isinstance(p, str) for p in turns[0].parts[count:])


def to_common_row(draft: ExampleDraft, paths: Sequence[str], *, fields: bool) -> dict[str, Any]:
    """A conversation as a row: in the guide's three `fields`, for what fits them, else as OpenAI's messages."""
    said = to_row(draft, "fields" if fields else "openai", FieldMap(), several=False)
    values: dict[str, Any] = fill_image_slots(said.values, lambda slot: paths[slot.index])
    return values if draft.weight == 1.0 else {**values, "weight": draft.weight}
