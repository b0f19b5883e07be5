"""Reads one turn of a conversation: its role, and the texts and images of its content."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mg_tui.core.example import Role
from mg_tui.data.field_map import DraftTurn, TurnKeys
from mg_tui.data.jsonl import describe_type
from mg_tui.data.row_problems import quote_text, safe_line
from mg_tui.data.row_reader import RowReader
from mg_tui.data.sources.column_values import is_empty

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
# Keys of a turn without which it would mean something else.
_REFUSED_KEYS: Final = frozenset(
    ("reasoning_content", "reasoning", "thinking", "images", "image", "videos", "video", "audios", "audio", "refusal")
)


def _ignore_hint(name: str) -> str:
    return f"ignore it with --ignore-column {shlex.quote(safe_line(name, limit=60))}"


class TurnReader:
    """Reads one turn; `images` are the row's images that placeholder parts refer to, consumed in order."""

    def __init__(self, reader: RowReader, name: str, which: str, keys: TurnKeys, images: list[int]):
        self._reader = reader
        self._name = name
        self._which = which
        self._keys = keys
        self._unplaced = images

    def read(self, item: Any) -> DraftTurn | None:
        """The turn, or None with its problems added to the reader."""
        if not isinstance(item, Mapping):
            keys = f"{self._keys.role} and {self._keys.content}"
            self._add_problem(f"is {describe_type(item)}, expected an object with {keys}")
            return None
        role = self._role(item.get(str(self._keys.role)))
        content = item.get(str(self._keys.content))
        if role is None:
            return None
        supervised = self._account_keys(item)
        if supervised is None:
            return None
        if isinstance(content, list):
            if len(content) > 1 and all(isinstance(part, str) for part in content):
                self._add_problem("has content that is a list of texts", "write one text, or parts with a type")
                return None
            parts = self._parts(content)
        elif isinstance(content, str):
            text = self._reader.read_text(self._name, content, which=self._which, empty=role != "assistant")
            parts = None if text is None else [text]
        else:
            self._add_problem(f"has content that is {describe_type(content)}, expected text or a list of parts")
            return None
        if parts is None:
            return None
        if role == "assistant" and not any(isinstance(part, str) and part.strip() for part in parts):
            self._add_problem("is an empty answer")
            return None
        return DraftTurn(role, tuple(parts), supervised)

    def _account_keys(self, item: Mapping[Any, Any]) -> bool | None:
        """Whether the turn is supervised; None, with a problem added, when a key changes what it means."""
        supervised: bool | None = True
        for key, value in item.items():
            name = f"{self._name}.{key}"
            if key in (self._keys.role, self._keys.content) or is_empty(value) or name in self._reader.ignored:
                continue
            if key in ("tool_calls", "function_call"):
                self._add_problem(f"is a tool call, which is not supported ({key})", _ignore_hint(name))
                supervised = None
            elif key in ("weight", "loss", "loss_scale"):
                if value in (0, False):
                    supervised = supervised and False
                elif value not in (1, True):
                    self._add_problem(f"has a {key} other than 0 and 1, which is not supported", _ignore_hint(name))
                    supervised = None
            elif key in _REFUSED_KEYS:
                self._add_problem(f"has {key}, which is not read", _ignore_hint(name))
                supervised = None
            else:
                self._reader.unused_keys.add(name)
        return supervised

    def _add_problem(self, what: str, hint: str | None = None) -> None:
        self._reader.add_problem(self._name, self._which + what, hint)

    def _role(self, value: Any) -> Role | None:
        configured: dict[str | None, Role] = {
            self._keys.user: "user",
            self._keys.assistant: "assistant",
            self._keys.system: "system",
        }
        if isinstance(value, str):
            role = configured.get(value) or _ROLES.get(value.strip().lower())
            if role is not None:
                return role
            self._add_problem(f"is by {quote_text(value, limit=40)}, expected system, user or assistant")
        else:
            role_type = f"{self._keys.role} that is {describe_type(value)}"
            self._add_problem(f"has a {role_type}, expected system, user or assistant")
        return None

    def _parts(self, content: Sequence[Any]) -> list[str | int] | None:
        parts: list[str | int] = []
        before = len(self._reader.problems)
        for index, part in enumerate(content, 1):
            read_part = self._part(part, f"{self._which}part {index} ")
            if read_part is not None:
                parts.append(read_part)
        return parts if len(self._reader.problems) == before else None

    def _part(self, part: Any, which: str) -> str | int | None:
        reader, name = self._reader, self._name
        if isinstance(part, str):
            return reader.read_text(name, part, which=which, empty=True)
        if not isinstance(part, Mapping):
            reader.add_problem(name, f"{which}is {describe_type(part)}, expected an object with a type")
            return None
        # Tables give every part all keys, most of them null.
        present = {key: value for key, value in part.items() if value is not None}
        kind = present.get("type")
        if kind in ("text", "input_text", "output_text") or (kind is None and "text" in present):
            return reader.read_text(name, present.get("text"), which=which, empty=True)
        if kind in ("image", "image_url", "input_image") or (kind is None and {"image", "image_url"} & set(present)):
            for key in ("image_url", "image", "url", "path", "base64", "bytes"):
                if key in present:
                    value = present[key] if key in ("image_url", "image") else {key: present[key]}
                    return reader.read_image(name, value, which=which)
            if self._unplaced:
                return self._unplaced.pop(0)
            reader.add_problem(name, f"{which}is an image placeholder without a matching image")
            return None
        part_type = quote_text(kind, limit=40) if isinstance(kind, str) else describe_type(kind)
        reader.add_problem(name, f"{which}is of type {part_type}; supported: text, image_url")
        return None
