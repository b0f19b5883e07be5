"""Reads the fields of one row: texts, and images as paths, URLs or the bytes in the row."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mg_tui.core.text import closest_match
from mg_tui.data.embedded_images import EmbeddedImageStore, ImageInput, decode_base64
from mg_tui.data.field_map import FIELD_ALIASES, FieldPurpose
from mg_tui.data.images import ImageError
from mg_tui.data.jsonl import describe_type
from mg_tui.data.row_problems import RowProblem, safe_line
from mg_tui.data.rows import Row

_MAX_LISTED_FIELDS: Final = 12
_LONE_SURROGATE: Final = "contains a lone surrogate"
_LONE_SURROGATE_HINT: Final = "remove escapes such as \\ud83d that stand alone"
_NO_IMAGE_HINT: Final = "use null or [] for a row without an image"


class RowReader:
    """Reads one row's fields; collects their problems (with an empty `raw`) and the row's images in order.

    Attributes:
        ignored: see `FieldMap`.
        text_markers: placeholders of other tools that were left as text.
        unused_keys: keys of turns that were not read.
        references: the answers of the row, where they are several.
    """

    def __init__(
        self, row: Row, values: Mapping[str, Any], store: EmbeddedImageStore, ignored: frozenset[str] = frozenset()
    ):
        self.ignored = ignored
        self.text_markers: set[str] = set()
        self.unused_keys: set[str] = set()
        self.references: tuple[str, ...] = ()
        self.row = row
        self.values = values
        self.problems: list[RowProblem] = []
        self.images: list[ImageInput] = []
        self._store = store

    def add_problem(self, name: str | None, what: str, hint: str | None = None) -> None:
        """Add a problem of the row."""
        self.problems.append(RowProblem(self.row.number, name, what, hint))

    def read_text(self, name: str, value: Any, *, which: str = "", empty: bool = False) -> str | None:
        """A value as text, or None with a problem added. `which` starts the reason; `empty` allows an empty text."""
        if not isinstance(value, str):
            hint = "quote numeric answers" if isinstance(value, int | float) else None
            self.add_problem(name, f"{which}is {describe_type(value)}, expected text", hint)
        elif not empty and not value.strip():
            self.add_problem(name, f"{which}is empty")
        elif _has_lone_surrogate(value):
            self.add_problem(name, f"{which}{_LONE_SURROGATE}", _LONE_SURROGATE_HINT)
        else:
            return value
        return None

    def read_field(self, purpose: FieldPurpose, name: str) -> str | None:
        """The text of a required field."""
        if name not in self.values:
            self.add_missing_field(purpose, name)
            return None
        return self.read_text(name, self.values[name])

    def add_missing_field(self, purpose: FieldPurpose, name: str) -> None:
        """Add the problem that a field is missing, with a suggestion."""
        names = list(self.values)
        flag = f"--{purpose}-field"
        aliases = [alias for alias in FIELD_ALIASES[purpose] if alias in names]
        guess = next(iter(aliases), None) or closest_match(name, names)
        hint = f"set the field with {flag}" + (
            f", e.g. {flag} {shlex.quote(safe_line(guess, limit=40))}" if guess else ""
        )
        self.add_problem(name, f"is missing; the row has {list_fields(names)}", hint)

    def read_image(self, name: str, value: Any, *, which: str = "") -> int | None:
        """Add an image of the row; its index, or None with a problem added."""
        try:
            image = self._to_image_input(name, value, which)
        except ImageError as error:
            self.add_problem(name, f"{which}{error.reason}", error.hint)
            return None
        if image is None:
            return None
        self.images.append(image)
        return len(self.images) - 1

    def read_images(self, name: str) -> list[int] | None:
        """The indexes of a field's images: one image, a list, or null; None when one cannot be used."""
        value = _parse_json_list(self.values[name])
        items = [] if value is None else value if isinstance(value, list) else [value]
        indexes = [
            self.read_image(name, item, which=f"item {index} " if isinstance(value, list) else "")
            for index, item in enumerate(items, 1)
        ]
        return None if None in indexes else [index for index in indexes if index is not None]

    def _to_image_input(self, name: str, value: Any, which: str) -> ImageInput | None:
        if isinstance(value, bytes):
            return self._store.store(value, f"image of {len(value):,} bytes")
        if isinstance(value, Mapping):
            return self._image_from_object(name, value, which)
        if not isinstance(value, str):
            self.add_problem(name, f"{which}is {describe_type(value)}, expected a path or URL", _NO_IMAGE_HINT)
        elif not value.strip():
            self.add_problem(name, f"{which}is empty", _NO_IMAGE_HINT)
        elif _has_lone_surrogate(value):
            self.add_problem(name, f"{which}{_LONE_SURROGATE}", _LONE_SURROGATE_HINT)
        else:
            return self._store.store_text(value) or value
        return None

    def _image_from_object(self, name: str, value: Mapping[str, Any], which: str) -> ImageInput | None:
        """An image as an object: bytes and path as in `datasets`, or a form that chat templates use."""
        path = next(
            (value[key] for key in ("path", "url", "file_name", "image") if isinstance(value.get(key), str)), ""
        )
        data = value.get("bytes")
        if isinstance(data, str):
            data = decode_base64(data)
        if data is None and isinstance(value.get("base64"), str):
            data = decode_base64(value["base64"])
        if isinstance(data, bytes):
            return self._store.store(data, path or f"image of {len(data):,} bytes")
        if path:
            return self._to_image_input(name, path, which)
        self.add_problem(name, f"{which}is an object without bytes, path or url", _NO_IMAGE_HINT)
        return None


def list_fields(names: Sequence[str]) -> str:
    """The names of a row's fields, safe to print; "no fields" where there are none."""
    listed = ", ".join(safe_line(str(name), limit=40) for name in names[:_MAX_LISTED_FIELDS])
    return (listed or "no fields") + (
        f" and {len(names) - _MAX_LISTED_FIELDS} more" if len(names) > _MAX_LISTED_FIELDS else ""
    )


def _parse_json_list(value: Any) -> Any:
    """The list of a text that is a JSON list, as tables store it; any other value unchanged."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _has_lone_surrogate(text: str) -> bool:
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
