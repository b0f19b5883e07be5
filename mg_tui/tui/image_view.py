"""An image as a widget shows it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image to show: its file and a caption; without a file, a placeholder that says why."""

    path: Path | None
    caption: str = ""
    placeholder: str = ""
