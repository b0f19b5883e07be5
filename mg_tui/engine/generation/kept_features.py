"""A cache on disk of image features as generation computes them, for models whose vision tower is frozen.

The store is that of training, under keys of its own: the two encode images with different kernels, and a run that read
features of the other would no longer be bit for bit the same.
"""

import shutil
from pathlib import Path
from typing import Any, Final, Literal

from mg_tui.data.feature_store import FeatureStore
from mg_tui.engine.batching.feature_cache import FeatureCache, vision_digest
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.family import ModelFamily

DEFAULT_GIB: Final = 20.0  # as the default of `vision_cache_size`


def open_kept_features(
    folder: Path,
    model: Any,
    family: ModelFamily,
    encoder: ExampleEncoder,
    *,
    purpose: Literal["training", "evaluation"],
    gib: float = DEFAULT_GIB,
) -> FeatureCache:
    """The cache, enabled for the vision tower of `model`.

    Args:
        folder: of the store.
        encoder: preprocesses images.
        purpose: whether the model is one in training, whose kernels differ from those of a model loaded to answer.
        gib: the most that the store may take; half of the free disk space if that is less.
    """
    folder.mkdir(parents=True, exist_ok=True)
    room = min(int(gib * 2**30), shutil.disk_usage(folder).free // 2)
    shaping = {"answers_in": purpose, **encoder.processor.image_processor.to_dict()}
    cache = FeatureCache(FeatureStore(folder, room), shaping)
    cache.enable_for(vision_digest(model, family))
    return cache


def adapter_has_vision(model: Any, family: ModelFamily) -> bool:
    """Whether the adapter of a PEFT model changes the vision tower or the projector."""
    added = [name for name, _weights in model.named_parameters() if "lora_" in name or "modules_to_save" in name]
    parts = {family.parts.part_of(name.removeprefix("base_model.model.")) for name in added}
    return bool(parts & {"vision", "projector"})
