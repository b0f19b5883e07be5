"""What people write on a run: another name, a note, tags. A file beside the spec, written by front ends only.

The spec and the journal stay as they are: annotations never change what a run is or does, and travel with its folder.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.text import one_line, printable
from mg_tui.runs.elsewhere import elsewhere_of
from mg_tui.runs.folder import RunFolder

MAX_NAME: Final = 80  # characters
MAX_NOTE: Final = 2_000
MAX_TAG: Final = 32
MAX_TAGS: Final = 20
_MAX_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Annotations:
    """A run's annotations. `name` replaces the one of its spec, None for none; all texts are printable."""

    name: str | None = None
    note: str = ""
    tags: tuple[str, ...] = ()


NO_ANNOTATIONS: Final = Annotations()


class AnnotationReader:
    """Reads one run's annotations again only when the file changed."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._annotations = NO_ANNOTATIONS

    def read(self) -> Annotations:
        """The annotations as they are now."""
        try:
            status = self._folder.annotations_file.stat()
        except OSError:
            return NO_ANNOTATIONS
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._stamp, self._annotations = stamp, read_annotations(self._folder)
        return self._annotations


def read_annotations(folder: RunFolder) -> Annotations:
    """A run's annotations; none when there is no file, or it cannot be read."""
    file = folder.annotations_file
    try:
        values = json.loads(file.read_bytes()) if file.stat().st_size <= _MAX_BYTES else None
    except (OSError, ValueError):
        return NO_ANNOTATIONS
    return _parse(values) if isinstance(values, dict) else NO_ANNOTATIONS


def rename(folder: RunFolder, name: str) -> Annotations:
    """Give a run another name; an empty one brings back that of its spec.

    Raises:
        UsageError: the name is too long or not printable.
        EnvironmentProblem: it cannot be written.
    """
    name = name.strip()
    if len(name) > MAX_NAME or name != one_line(name):
        raise UsageError(f"A name is one line of at most {MAX_NAME} characters.", where=one_line(name, limit=100))
    return _change(folder, name=name or None)


def set_note(folder: RunFolder, note: str) -> Annotations:
    """Write a note on a run; an empty one removes it.

    Raises:
        UsageError: the note is too long.
        EnvironmentProblem: it cannot be written.
    """
    note = printable(note.strip())
    if len(note) > MAX_NOTE:
        raise UsageError(f"A note has at most {MAX_NOTE} characters; this one has {len(note)}.")
    return _change(folder, note=note)


def change_tags(folder: RunFolder, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Annotations:
    """Add tags to a run and take others away; those that are there, or are not, stay so.

    Raises:
        UsageError: a tag is no tag, see `parse_tags`.
        EnvironmentProblem: it cannot be written.
    """
    before = read_annotations(folder)
    gone = set(parse_tags(remove))
    return set_tags(folder, [tag for tag in (*before.tags, *parse_tags(add)) if tag not in gone])


def set_tags(folder: RunFolder, tags: Iterable[str]) -> Annotations:
    """Give a run exactly these tags. Raises as `change_tags`."""
    return _change(folder, tags=parse_tags(tags))


def parse_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags without repeats and without a leading `#`.

    Raises:
        UsageError: a tag is empty, too long, or has blanks or commas; or there are too many.
    """
    parsed = tuple(dict.fromkeys(tag.strip().removeprefix("#") for tag in tags))
    for tag in parsed:
        if not tag or len(tag) > MAX_TAG or tag != printable(tag) or set(tag) & set(" ,\t\n"):
            raise UsageError(
                f"{one_line(tag, limit=60)!r} is no tag.", why=f"a tag is one word of at most {MAX_TAG} characters"
            )
    if len(parsed) > MAX_TAGS:
        raise UsageError(f"A run has at most {MAX_TAGS} tags; these are {len(parsed)}.")
    return parsed


def _parse(values: Mapping[str, Any]) -> Annotations:
    """Whatever somebody wrote into the file, made safe to show."""
    name, note, tags = values.get("name"), values.get("note"), values.get("tags")
    texts = [one_line(tag, limit=MAX_TAG) for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    return Annotations(
        name=(one_line(name, limit=MAX_NAME) or None) if isinstance(name, str) else None,
        note=printable(note, limit=MAX_NOTE) if isinstance(note, str) else "",
        tags=tuple(filter(None, texts))[:MAX_TAGS],
    )


def _change(folder: RunFolder, **values: Any) -> Annotations:
    """Write some of a run's annotations; the others stay as they are, whoever wrote them meanwhile."""
    changed = replace(read_annotations(folder), **values)
    if (elsewhere := elsewhere_of(folder)) is not None:
        elsewhere.annotate(folder.id, {name: "" if value is None else value for name, value in values.items()})
        return changed
    return _write(folder, changed)


def _write(folder: RunFolder, annotations: Annotations) -> Annotations:
    try:
        write_atomic(folder.annotations_file, (json.dumps(asdict(annotations), ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem(
            f"The annotations of {folder.id} cannot be written.",
            where=str(folder.annotations_file),
            why=error.strerror or str(error),
        ) from None
    return annotations
