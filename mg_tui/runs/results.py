"""The results of runs and merges: result folders, read from their metadata alone.

A result is a folder with `model_garden.json`, which the engine writes last: a folder that has it is complete. Results
are searched in the output folders of runs, under `<home>/models`, and in folders that a face remembers. What this
version cannot validate (a newer schema, invalid fields) is listed all the same, with what can be read.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.result_metadata import METADATA_FILE, read_json_object
from mg_tui.runs.store import run_folders

MODELS_FOLDER: Final = "models"


@dataclass(frozen=True, slots=True)
class Result:
    """A result folder. Texts are unmodified: not safe to print.

    Attributes:
        folder: its path.
        kind: "adapter", "model" (trained in full) or "merged".
        base: the base model's name.
        run: id of the run that created it, or None.
        name: the run's name, None when it has none.
        dataset, eval_dataset: training and evaluation dataset of the run, as in its spec.
        created: Unix time in seconds, or None.
        bytes: of the weights.
        training: metrics of the run (`eval_loss`, `final_loss`, `steps`, `exact_match`, ...).
        fields: names of the dataset's fields by purpose.
        problem: why the metadata cannot be read; then only `folder` is set.
    """

    folder: Path
    kind: str = "adapter"
    base: str = ""
    run: str | None = None
    name: str | None = None
    dataset: str | None = None
    eval_dataset: str | None = None
    created: float | None = None
    bytes: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    merge: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def is_adapter(self) -> bool:
        """Whether it needs its base model, and can be merged into it."""
        return self.kind == "adapter"


def find_results(home: Path, remembered: Iterable[Path] = ()) -> list[Result]:
    """Every result of `home`'s runs, under `home`/models and at `remembered` paths, newest first."""
    folders: dict[Path, RunFolder | None] = {}
    for run in run_folders(home):
        for folder in _candidate_folders(run):
            folders.setdefault(folder, run)
    with contextlib.suppress(OSError):  # missing or unreadable: no results there
        folders.update((folder, None) for folder in (home / MODELS_FOLDER).iterdir() if folder not in folders)
    for folder in remembered:
        folders.setdefault(folder, None)
    results = [read_result(folder, run) for folder, run in folders.items() if (folder / METADATA_FILE).is_file()]
    return sorted(results, key=lambda result: -(result.created or 0.0))


def read_result(folder: Path, run: RunFolder | None = None) -> Result:
    """Read a result folder's metadata; `run` adds what only its run knows."""
    file = folder / METADATA_FILE
    try:
        values = read_json_object(file)
    except UsageError as error:
        return Result(folder, problem=f"{METADATA_FILE} cannot be read: {error.why or error.what}")
    spec = _optional_table(values, "spec")
    spec_values = {**spec, **_spec_values(run)}
    return Result(
        folder,
        kind=str(values.get("kind", "adapter")),
        base=str(_optional_table(values, "base").get("name", "")),
        run=_optional_text(values, "run") or (run.id if run is not None else None),
        name=_optional_text(spec_values, "name"),
        dataset=_optional_text(spec_values, "dataset"),
        eval_dataset=_optional_text(spec_values, "eval_dataset"),
        created=_parse_time(values.get("created")) or _modified_time(file),
        bytes=_weight_bytes(folder),
        training=_optional_table(values, "training"),
        fields={key: str(value) for key, value in _optional_table(values, "fields").items()},
        merge=_optional_table(values, "merge"),
    )


def result_name(folder: Path) -> str:
    """What a result without a name is called: the result of a run is the folder `model` in the run's folder."""
    return folder.parent.name if folder.name == "model" else folder.name


def _candidate_folders(run: RunFolder) -> list[Path]:
    with contextlib.suppress(GardenError):
        return [run.model_dir, run.result_dir]
    return [run.model_dir]


def _spec_values(run: RunFolder | None) -> Mapping[str, Any]:
    try:
        return run.spec_values() if run is not None else {}
    except GardenError:
        return {}


def _optional_table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    return value if isinstance(value, dict) else {}


def _optional_text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) and value else None


def _parse_time(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _modified_time(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


def _weight_bytes(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    except OSError:
        return 0
