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
# Content that is not supported, by the type of a part, or by its key in Gemini's parts.
_REFUSED_PARTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("video", "video_url", "input_video", "videoMetadata"), "a video"),
    **dict.fromkeys(("audio", "audio_url", "input_audio"), "audio"),
    **dict.fromkeys(("tool_use", "tool_call", "functionCall", "function_call"), "a tool call"),
    **dict.fromkeys(("tool_result", "functionResponse", "function_response"), "the result of a tool"),
    **dict.fromkeys(("document", "file", "input_file"), "a file that is not an image"),
    **dict.fromkeys(("thinking", "redacted_thinking", "reasoning"), "the model's reasoning"),
}
_PARTS_HINT: Final = "leave such rows out with --on-bad-row skip"
_TOOL_ROLES: Final = ("tool", "function", "observation", "function_call", "tool_call", "tool_response", "ipython")
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
            elif key in ("weight", "loss", "loss_scale", "loss_weight"):
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
            if value.strip().lower() in _TOOL_ROLES:
                self._add_problem(f"is a tool's ({quote_text(value, limit=40)}), which is not supported", _PARTS_HINT)
                return None
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
        keys = (kind, *present) if isinstance(kind, str) else tuple(present)
        refused = next((_REFUSED_PARTS[key] for key in keys if key in _REFUSED_PARTS), None)
        if refused is not None:
            reader.add_problem(name, f"{which}is {refused}, which is not supported", _PARTS_HINT)
            return None
        if kind in ("text", "input_text", "output_text") or (kind is None and "text" in present):
            # LLaMA-Factory's version 1 keeps the text, or the path of an image, in "value".
            return reader.read_text(name, present.get("text", present.get("value")), which=which, empty=True)
        if kind is None and (data := _gemini_data(present)) is not None:
            return self._gemini_image(data, which)
        if kind in ("image", "image_url", "input_image") or (kind is None and {"image", "image_url"} & set(present)):
            if isinstance(present.get("source"), Mapping):
                return self._anthropic_image(present["source"], which)
            for key in ("image_url", "image", "url", "path", "base64", "bytes", "value"):
                if key in present:
                    value = present[key] if key in ("image_url", "image", "value") else {key: present[key]}
                    return reader.read_image(name, value, which=which)
            if self._unplaced:
                return self._unplaced.pop(0)
            reader.add_problem(name, f"{which}is an image placeholder without a matching image")
            return None
        part_type = quote_text(kind, limit=40) if isinstance(kind, str) else describe_type(kind)
        reader.add_problem(name, f"{which}is of type {part_type}; supported: text, image_url")
        return None

    def _anthropic_image(self, source: Mapping[str, Any], which: str) -> int | None:
        """The image of Anthropic's {"type": "base64", "media_type", "data"} or {"type": "url", "url"}."""
        value = {"base64": source["data"]} if isinstance(source.get("data"), str) else source.get("url")
        if value is None:
            self._reader.add_problem(self._name, f"{which}has a source without data or url", "embed its image")
            return None
        return self._reader.read_image(self._name, value, which=which)

    def _gemini_image(self, data: Mapping[str, Any], which: str) -> int | None:
        """The image of Gemini's inlineData or fileData."""
        mime_type = str(data.get("mimeType", data.get("mime_type", "image/")))
        if not mime_type.startswith("image/"):
            kind = quote_text(mime_type, limit=40)
            self._reader.add_problem(self._name, f"{which}is {kind}, which is not supported", _PARTS_HINT)
            return None
        value = data.get("fileUri", data.get("file_uri"))
        if isinstance(data.get("data"), str):
            value = {"base64": data["data"]}
        if value is None:
            self._reader.add_problem(self._name, f"{which}has neither data nor fileUri", "embed its image")
            return None
        return self._reader.read_image(self._name, value, which=which)


def _gemini_data(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
    data = next((part[key] for key in ("inlineData", "inline_data", "fileData", "file_data") if key in part), None)
    return data if isinstance(data, Mapping) else None
