"""A job before its process: names and paths settled, the output folder looked at, and the process started."""

from pathlib import Path

from mg_tui.config import Settings
from mg_tui.core.model_job_spec import ExportSpec, MergeSpec, ModelJobSpec, VerifySpec
from mg_tui.core.named_datasets import require_path
from mg_tui.preflight.model_names import settle_dataset, settle_model
from mg_tui.runs import launch
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.model_jobs import ModelJobFolder
from mg_tui.runs.output_folder import require_empty_target
from mg_tui.runs.versions import package_versions


def launch_model_job(
    spec: ModelJobSpec,
    settings: Settings,
    *,
    cwd: Path,
    run_id: str | None = None,
    bounds: CallerBounds | None = None,
) -> ModelJobFolder:
    """Check what can be checked without the model, make the job's folder, and start its process, detached.

    Args:
        cwd: the folder that relative paths start from.
        run_id, bounds: see `RunFolder.create`.

    Raises:
        GardenError: something is wrong; nothing has been made then.
    """
    settled = settle_spec(spec, settings, cwd)
    folder = ModelJobFolder.create(
        settings.home, settled, versions=package_versions(), cwd=cwd, run_id=run_id, bounds=bounds
    )
    launch.start_worker(folder)
    return folder


def settle_spec(spec: ModelJobSpec, settings: Settings, cwd: Path) -> ModelJobSpec:
    """The spec with every name and path as the worker needs them.

    Raises:
        UsageError: there is no such folder or run, or the output folder is not empty.
    """
    changes = {"model": settle_model(spec.model, settings.home, cwd)}
    if isinstance(spec, MergeSpec | ExportSpec | VerifySpec) and spec.base_model is not None:
        changes["base_model"] = settle_model(spec.base_model, settings.home, cwd)
    if isinstance(spec, ExportSpec | VerifySpec) and spec.dataset is not None:
        table = settings.datasets.get(spec.dataset)
        changes["dataset"] = settle_dataset(require_path(spec.dataset, table) if table else spec.dataset, cwd)
    if isinstance(spec, VerifySpec) and not spec.against.startswith(("http://", "https://")):
        changes["against"] = settle_model(spec.against, settings.home, cwd, files=True)
    settled = launch.with_absolute_paths(spec.model_copy(update=changes), cwd)
    output = getattr(settled, "output", None)
    if output is not None:
        require_empty_target(Path(output))
    return settled
