"""The files of a base model beside its weights, for a merged model: byte for byte, as other programs read them.

What transformers writes of a tokenizer is not what every server reads: version 5 writes a list where older ones want
a mapping, and leaves out the chat template of tokenizer_config.json. Files of the base model are known to work, so only
what training changed is changed in them: the limits of images' areas.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Final

from mg_tui.engine.inference.locator import LocatedModel
from mg_tui.families.hub import cached_snapshot, is_reachable
from mg_tui.runs.result_metadata import METADATA_FILE, MODEL_CONFIG

_WEIGHTS: Final = frozenset(
    {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".h5", ".msgpack", ".npz"}
)
_NOT_COPIED: Final = frozenset({MODEL_CONFIG, METADATA_FILE, "README.md", "adapter_config.json"})
_PROCESSOR_FILES: Final = frozenset({"processor_config.json", "preprocessor_config.json"})
_MAX_FILE_BYTES: Final = 256 << 20  # a larger file holds weights, whatever its name


def find_base_folder(located: LocatedModel) -> Path | None:
    """The base model's folder on this machine, completed from the Hub where that answers; None when there is none."""
    base = located.base
    if base.local:
        return Path(base.source)
    if is_reachable():
        from huggingface_hub import snapshot_download

        try:
            patterns = [f"*{suffix}" for suffix in sorted(_WEIGHTS)]
            return Path(snapshot_download(base.source, revision=located.revision, ignore_patterns=[*patterns, "*/*"]))
        except Exception:
            return cached_snapshot(base.source, located.revision)  # what is here has loaded the model
    return cached_snapshot(base.source, located.revision)


def copy_base_files(base: Path, staging: Path, processor: Any) -> tuple[str, ...]:
    """Copy every file of a base model that holds no weights over those of a saved model; config.json stays.

    Args:
        base: the base model's folder.
        staging: the saved model's folder.
        processor: the processor the model was trained with; files that have other limits of images' areas get its own.

    Returns:
        The names of the files that are equal to the base model's byte for byte.
    """
    copied = []
    for path in sorted(base.iterdir()):
        if not _is_copied(path):
            continue
        if path.name in _PROCESSOR_FILES and (changed := _with_limits(path, processor)) is not None:
            (staging / path.name).write_text(json.dumps(changed, ensure_ascii=False, indent=2) + "\n", "utf-8")
            continue
        shutil.copyfile(path, staging / path.name)
        copied.append(path.name)
    return tuple(copied)


def copy_licenses(base: Path, staging: Path) -> None:
    """Copy a model's licenses and notices."""
    for path in sorted(base.iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "NOTICE")):
            shutil.copyfile(path, staging / path.name)


def _is_copied(path: Path) -> bool:
    name = path.name
    if name.startswith(".") or name in _NOT_COPIED or name.endswith(".index.json"):
        return False
    return path.is_file() and path.suffix.lower() not in _WEIGHTS and path.stat().st_size <= _MAX_FILE_BYTES


def _with_limits(path: Path, processor: Any) -> dict[str, Any] | None:
    """A processor's file with the limits of `processor`; None when it has them already, or has none."""
    size = getattr(processor.image_processor, "size", None)
    low, high = getattr(size, "shortest_edge", None), getattr(size, "longest_edge", None)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(low, int) or not isinstance(high, int):
        return None
    nested = record.get("image_processor")
    images = nested if isinstance(nested, dict) else record
    before = json.dumps(images)
    if isinstance(images.get("size"), dict) and {"shortest_edge", "longest_edge"} <= images["size"].keys():
        images["size"] |= {"shortest_edge": low, "longest_edge": high}
    for name, value in (("min_pixels", low), ("max_pixels", high)):
        if name in images:
            images[name] = value
    return record if json.dumps(images) != before else None
