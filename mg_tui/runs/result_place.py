"""Where the result of a finished run is."""

from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError
from mg_tui.runs.folder import RunFolder

METADATA_FILE: Final = "model_garden.json"  # of a result, written last; see `result_metadata`


def result_folder(folder: RunFolder) -> Path | None:
    """The folder of a run's result if it is whole: its metadata is written last; None otherwise."""
    try:
        place = folder.result_dir
    except UsageError:
        return None
    return place if (place / METADATA_FILE).is_file() else None
