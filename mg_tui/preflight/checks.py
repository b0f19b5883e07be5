"""Everything that can be known to be wrong before a run exists, found before it exists.

Every face that starts runs calls `run_preflight` first; the engine trusts nothing and looks again. What is found here costs the
user seconds, and neither a run folder nor an output folder has been made.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.config import Settings
from mg_tui.core.errors import FamilyError
from mg_tui.core.named_datasets import resolve_named_datasets
from mg_tui.core.paths import is_remote
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport
    from mg_tui.data.dataset import Dataset
    from mg_tui.families.registry import ResolvedModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """What was found: the model as resolved and the datasets as read (`evaluation` is None when there is none).

    `changes` are values of the spec that name the same things from every folder; `report` is what the check of the data
    says besides, None when there was no family to check it by.
    """

    model: "ResolvedModel"
    dataset: "Dataset"
    evaluation: "Dataset | None"
    changes: Mapping[str, Any] = dataclass_field(default_factory=dict)
    report: "CheckReport | None" = None

    def resolve_spec(self, spec: TrainingSpec) -> TrainingSpec:
        """`spec` with names in full: the worker works elsewhere, without garden.toml. An alias stays what it is."""
        spec = spec.model_copy(update=dict(self.changes))
        if self.model.local and not self.model.alias:
            return spec.model_copy(update={"base_model": self.model.source})
        return spec


def run_preflight(
    spec: TrainingSpec, settings: Settings, *, cwd: Path, progress: Progress | None = None
) -> PreflightResult:
    """Look at the base model and at every row and image of the data.

    Args:
        spec: what is asked for; relative paths in it are seen from `cwd`.
        progress: called with (rows done, rows) while images are checked.

    Raises:
        FamilyError: no family for the base model, or the family refuses what is asked of it.
        DataError: a dataset that cannot be read, or bad rows while `on_bad_row` is "stop".
        EnvironmentProblem: a base model on a hub that cannot be reached.
    """
    from mg_tui.families.registry import load_registry

    model = load_registry().resolve(spec.base_model, revision=spec.revision, fetch=True)
    if model.family is not None:
        _require_supported(spec, model)
    settled = resolve_named_datasets(spec, settings.datasets, settings.train)
    dataset = _load_dataset(settled, settings, cwd, progress)
    evaluation = _load_dataset(settled, settings, cwd, progress, evaluation=True) if settled.eval_dataset else None
    report = None
    if model.family is not None:
        from mg_tui.preflight.loaded_dataset_check import check_loaded_dataset

        report = check_loaded_dataset(settled, settings, model, dataset, evaluation)
    return PreflightResult(model, dataset, evaluation, _resolved_names(spec, settled, dataset, evaluation), report)


def _resolved_names(
    spec: TrainingSpec, settled: TrainingSpec, dataset: "Dataset", evaluation: "Dataset | None"
) -> Mapping[str, Any]:
    """What a spec says otherwise once names of garden.toml and of the hub are put in full."""
    changes = {
        name: getattr(settled, name) for name in settled.changed() if getattr(settled, name) != getattr(spec, name)
    }
    for field, found in (("dataset", dataset), ("eval_dataset", evaluation)):
        if found is not None and is_remote(found.address):
            changes[field] = found.address
    return changes


def _require_supported(spec: TrainingSpec, model: "ResolvedModel") -> None:
    from mg_tui.families.contract import CapabilityName, Unsupported

    asked: list[tuple[str, CapabilityName]] = []
    for field, value, lora in (
        ("train_language", spec.train_language, "lora_language"),
        ("train_projector", spec.train_projector, "lora_projector"),
        ("train_vision", spec.train_vision, "lora_vision"),
    ):
        if value == "lora":
            asked.append((field, lora))  # type: ignore[arg-type]
        elif value == "full":
            asked.append((field, "full"))
    if spec.quantization in ("nf4", "int8"):
        asked.append(("quantization", spec.quantization))
    assert model.family is not None
    for field, name in asked:
        capability = model.family.capability(name)
        if isinstance(capability, Unsupported):
            raise FamilyError(
                f"{model.family.title} does not support {field} = {getattr(spec, field)}", why=capability.why
            )


def _load_dataset(
    spec: TrainingSpec, settings: Settings, cwd: Path, progress: Progress | None, *, evaluation: bool = False
) -> "Dataset":
    from mg_tui.data.dataset import require_no_bad_rows
    from mg_tui.data.from_spec import load_dataset_from_spec

    dataset = load_dataset_from_spec(
        spec, evaluation=evaluation, cwd=cwd, cache=settings.cache, check_images="decode", progress=progress
    )
    if spec.on_bad_row == "stop":
        require_no_bad_rows(dataset)
    return dataset
