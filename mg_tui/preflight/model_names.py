"""Names of models as a detached process needs them: folders by their absolute path, `last` by the run it means now."""

import os
from pathlib import Path
from typing import Final

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.families.registry import load_registry
from mg_tui.runs.store import find_run

_MODEL_HINT: Final = "give a result folder, a run (`model-garden runs` lists them), RUN@STEP or a base model"


def settle_model(model: str, home: Path, cwd: Path, *, files: bool = False) -> str:
    """A folder by its absolute path, and `last` by the run it means now; other names stay.

    Args:
        home: where runs are.
        cwd: the folder that relative paths start from.
        files: whether a file is a model, too, as a .gguf file is.

    Raises:
        UsageError: a path that is no folder, or there is no run.
    """
    place = cwd / expand_user(model)
    is_model = place.exists() if files else place.is_dir()
    if is_model and model not in {checkpoint.name for checkpoint in load_registry().checkpoints}:
        return str(place.absolute())
    name, at, step = model.partition("@")
    if name == "last":
        return f"{find_run(home, name).id}{at}{step}"
    if model.startswith((".", "/", "~")):
        place = (cwd / expand_user(name)).absolute()
        if not place.is_dir():
            what = "is a file, not a folder" if place.is_file() else "does not exist"
            raise UsageError(f"the model {what}", where=os.path.normpath(place), hint=_MODEL_HINT)
        return f"{place}{at}{step}"
    return model


def settle_dataset(dataset: str, cwd: Path) -> str:
    """A file or folder by its absolute path; other names, as of the Hub, stay."""
    place = cwd / expand_user(dataset)
    return str(place.absolute()) if place.exists() else dataset
