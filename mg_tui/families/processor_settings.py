"""The settings of a checkpoint's image processor, by name: from its files, or from the loaded processor.

A family's arithmetic reads from them what differs between its checkpoints (`Preprocessing.settings`); both ways give
the same names, so that a front end counts tokens as the engine does.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_FILES: Final = ("preprocessor_config.json", "processor_config.json")  # the later one wins
_IMAGES: Final = "image_processor"  # key of the newer file with the image processor's own settings


def processor_settings(processor: Any) -> dict[str, Any]:
    """Settings of a loaded processor: those of its image processor, and its own numbers and texts."""
    images = getattr(processor, _IMAGES, None)
    own = {
        name: value
        for name, value in vars(processor).items()
        if isinstance(value, bool | int | float | str) and not name.startswith("_")
    }
    return {**own, **(images.to_dict() if images is not None and hasattr(images, "to_dict") else {})}


def read_processor_settings(folder: Path | None) -> dict[str, Any]:
    """The same from the files of a checkpoint; empty where there are none, so that a family's own values hold."""
    settings: dict[str, Any] = {}
    for name in _FILES:
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8")) if folder is not None else {}
        except (OSError, ValueError):
            continue
        if isinstance(content, Mapping):
            images = content.get(_IMAGES)
            settings.update(content)
            settings.update(images if isinstance(images, Mapping) else {})
    return settings
