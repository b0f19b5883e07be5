"""Resolve a base model's name from names and `config.json` alone: no torch, no network."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import FamilyError, UsageError
from mg_tui.core.text import closest_model, one_line
from mg_tui.families.family import ModelFamily

_HUB_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# The configuration of a vision-language checkpoint has one of these keys, whatever its family.
_VISION_KEYS: Final = (
    "vision_config",
    "vision_tower",
    "mm_vision_tower",
    "visual",
    "image_token_id",
    "image_token_index",
)


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A base model, resolved.

    Attributes:
        name: the text the user gave.
        source: what to load: an absolute folder, or a Hub name.
        local: `source` is a folder.
        family: None when only a download can determine it (see `Registry.resolve`).
        config: its `config.json`, when that is on this machine.
        alias: `name` is a short name of a plugin's own checkpoint.
    """

    name: str
    source: str
    local: bool
    family: ModelFamily | None
    config: Mapping[str, Any] | None = None
    alias: bool = False


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint's folder.

    Raises:
        FamilyError: it is missing or not a JSON object; the hint names what the folder holds instead, if known.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FamilyError("not a model folder: no config.json", where=str(folder), hint=_suggest_instead(folder))
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FamilyError("cannot read the model's config.json", where=str(file), why=str(error)) from None
    if not isinstance(config, dict):
        raise FamilyError("the model's config.json is not a JSON object", where=str(file))
    return config


def _suggest_instead(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "this is an adapter; merge it first (`model-garden merge`), or train its base model"
    if any(folder.glob("*.gguf")):
        return "GGUF files cannot be trained; use the original checkpoint"
    inner = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if inner:
        return f"did you mean {folder / inner[0]}?"
    return "use a folder with config.json and *.safetensors, a Hub name, or `tiny`"


def looks_like_path(name: str) -> bool:
    """Whether a base model is written as a path, so that it cannot be a Hub name."""
    return name.startswith((".", "/", "~", "\\")) or name.count("/") > 1 or name.endswith("/")


def local_folder(name: str) -> Path | None:
    """The absolute folder that `name` refers to, or None when it can only be a Hub name.

    Raises:
        UsageError: the path does not exist, or is a file.
    """
    path = Path(name)
    is_file = False
    # No such user, or a name longer than a file's may be: then it is no folder, whatever else it is.
    with suppress(RuntimeError, OSError):
        path = path.expanduser()
        if path.is_dir():
            return path.absolute()
        is_file = path.is_file()
    if is_file:
        raise UsageError("the base model is a file, not a folder", where=str(path), hint=_suggest_instead(path.parent))
    if looks_like_path(name):
        hint = "use a folder with config.json and *.safetensors, a Hub name, or `tiny`"
        raise UsageError("the base model folder does not exist", where=str(path.absolute()), hint=hint)
    return None


def is_hub_name(name: str) -> bool:
    """Whether a text has the form of a Hub name, OWNER/NAME."""
    return _HUB_NAME.fullmatch(name) is not None and ".." not in name and "--" not in name


def require_hub_name(name: str, known: list[str]) -> None:
    """Require that `name` has the form of a Hub name, OWNER/NAME.

    Raises:
        UsageError: it has not; the hint suggests a close known name.
    """
    if is_hub_name(name):
        return
    close = closest_model(name, known)
    hint = f"did you mean {close}?" if close else f"known base models: {', '.join(known)}"
    raise UsageError(
        f"unknown base model {one_line(name, limit=100)!r}",
        why="not a local folder, an alias, or a Hub name (OWNER/NAME)",
        hint=hint,
    )


def has_vision(config: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a vision-language model."""
    return any(config.get(key) is not None for key in _VISION_KEYS)
