"""An evaluation before its process: names and paths settled, what it names looked at, and the process started."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mg_tui.config import Settings
from mg_tui.core.dataset_parts import DATASET_KEYS
from mg_tui.core.evaluation_spec import BASE, EvaluationSpec
from mg_tui.core.named_datasets import require_path
from mg_tui.data.evaluation_rows import open_evaluation_source
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy, read_policy
from mg_tui.metrics.registry import load_metrics
from mg_tui.preflight.model_names import settle_model
from mg_tui.runs import devices, launch
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.versions import package_versions

# The keys of a [datasets.NAME] table that mean something here, each with the option it stands for.
_DATASET_KEYS: Final = {"split": "split"} | {
    key: name for key, name in DATASET_KEYS.items() if name in EvaluationSpec.model_fields
}


def launch_evaluation(
    spec: EvaluationSpec,
    settings: Settings,
    *,
    cwd: Path,
    gpus: Sequence[str] | None = None,
    run_id: str | None = None,
    bounds: CallerBounds | None = None,
) -> EvaluationFolder:
    """Check what can be checked without the model, make the evaluation's folder, and start its process, detached.

    Args:
        cwd: the folder that relative paths start from.
        gpus: devices by name; any free one by default.
        run_id, bounds: see `RunFolder.create`.

    Raises:
        GardenError: something is wrong; nothing has been made then.
    """
    settled = settle_spec(spec, settings, cwd, policy=read_policy(bounds))
    folder = EvaluationFolder.create(
        settings.home, settled, versions=package_versions(), cwd=cwd, run_id=run_id, bounds=bounds
    )
    launch.start_worker(folder, _devices(settled, gpus))
    return folder


def settle_spec(
    spec: EvaluationSpec, settings: Settings, cwd: Path, *, policy: ReadPolicy = ALLOW_ALL
) -> EvaluationSpec:
    """The spec with every name and path as the worker needs them, after a look at what it names.

    Raises:
        UsageError, DataError: no such metric, run or dataset, or a dataset without rows.
        EnvironmentProblem: a hub cannot be reached.
    """
    load_metrics().named(spec.metrics)
    spec = _with_named_dataset(spec, settings)
    if spec.endpoint is None:
        changes = {"model": settle_model(spec.model, settings.home, cwd)}
        if spec.compare not in (None, BASE):
            changes["compare"] = settle_model(str(spec.compare), settings.home, cwd)
        if spec.base_model is not None:
            changes["base_model"] = settle_model(spec.base_model, settings.home, cwd)
        spec = spec.model_copy(update=changes)
    source = open_evaluation_source(spec, cwd=cwd, cache=settings.cache, policy=policy)
    next(iter(source.rows()), None)  # an empty or unreadable dataset is an error here, and not in the worker
    spec = spec.model_copy(update={"dataset": source.address})
    return launch.with_absolute_paths(spec, cwd)


def _with_named_dataset(spec: EvaluationSpec, settings: Settings) -> EvaluationSpec:
    """What [datasets.NAME] says of the dataset holds for options that were not set.

    Raises:
        UsageError: the table has no path.
        SpecError: a value of it cannot be used.
    """
    table = settings.datasets.get(spec.dataset)
    if not table:
        return spec
    changes = {
        name: table[key]
        for key, name in _DATASET_KEYS.items()
        if key != "path" and key in table and name not in spec.model_fields_set
    }
    changes["dataset"] = require_path(spec.dataset, table)
    values = spec.model_dump(include=spec.model_fields_set)
    return EvaluationSpec.parse({**values, **changes}, where=dict.fromkeys(changes, f"[datasets] {spec.dataset}"))


def _devices(spec: EvaluationSpec, asked: Sequence[str] | None) -> Sequence[str] | None:
    """A server answers: the worker uses no GPU of this machine."""
    return (devices.CPU,) if spec.endpoint is not None and asked is None else asked
