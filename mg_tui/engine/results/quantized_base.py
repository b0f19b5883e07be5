"""The base model to merge into, where the adapter was trained on a checkpoint that was saved in 4 or 8 bit."""

from dataclasses import dataclass
from pathlib import Path

from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.engine.results.base_files import find_base_folder
from mg_tui.engine.results.dequantize import is_quantized
from mg_tui.engine.results.safetensors_files import has_weight_files
from mg_tui.families.hub import cached_snapshot
from mg_tui.families.registry import Registry


@dataclass(frozen=True, slots=True)
class MergeBase:
    """An adapter on the base model it is merged into, and what to tell the user about the choice."""

    located: LocatedModel
    note: str | None = None


def choose_merge_base(located: LocatedModel, *, home: Path, registry: Registry) -> MergeBase:
    """The weights to merge an adapter into: of a quantized checkpoint those it came from, where they are here.

    The model card of a quantized checkpoint names the model it was made from (`base_model`).

    Args:
        located: an adapter on the base model that it names.
        home: where runs are.

    Raises:
        UsageError: the base model is quantized in a way that cannot be undone.
    """
    folder = find_base_folder(located)
    if folder is None or not is_quantized(folder):
        return MergeBase(located)
    origin = _card_base_model(folder)
    if origin is not None and _has_weights(origin):
        try:
            whole = locate_model(str(located.folder), home=home, registry=registry, base_model=origin)
        except GardenError:
            whole = None
        if whole is not None:
            return MergeBase(
                whole, f"merging into {one_line(origin, limit=200)}, which {located.base.name} was quantized from"
            )
    named = f" ({one_line(origin, limit=200)})" if origin else ""
    return MergeBase(
        located,
        f"{located.base.name} is quantized: its weights are dequantized and merged; to merge into the weights it was "
        f"quantized from{named}, name them with --base-model",
    )


def _card_base_model(folder: Path) -> str | None:
    card = folder / "README.md"
    if not card.is_file():
        return None
    from huggingface_hub import metadata_load

    try:
        value = (metadata_load(card) or {}).get("base_model")
    except Exception:  # a card that somebody else wrote: YAML raises many types
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) and value.strip() and "\n" not in value else None


def _has_weights(name: str) -> bool:
    folder = Path(name) if Path(name).is_dir() else cached_snapshot(name)
    return folder is not None and has_weight_files(folder)
