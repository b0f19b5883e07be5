"""Reads one turn of a conversation: its role, and the texts and images of its content."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mg_tui.core.example import Role
from mg_tui.data.field_map import DraftTurn, RowReader, TurnKeys
from mg_tui.data.jsonl import describe_type
from mg_tui.data.row_problems import quote_text

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
        if item.get("tool_calls"):
            self._add_problem("is a tool call, which is not supported")
            return None
        supervised = not any(item.get(key) in (0, False) and item.get(key) is not None for key in ("weight", "loss"))
        if isinstance(content, list):
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
