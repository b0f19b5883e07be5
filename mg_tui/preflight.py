"""Everything that can be known to be wrong before a run exists, found before it exists.

Every face that starts runs calls `check` first; the engine trusts nothing and looks again. What is found here costs the
user seconds, and neither a run folder nor an output folder has been made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mg_tui.config import Settings
from mg_tui.core.errors import FamilyError
from mg_tui.core.paths import expanded
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.dataset import Dataset
    from mg_tui.families.registry import ResolvedModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found: the model as resolved and the datasets as read (`evaluation` is None when there is none)."""

    model: "ResolvedModel"
    dataset: "Dataset"
    evaluation: "Dataset | None"

    def settled(self, spec: TrainingSpec) -> TrainingSpec:
        """`spec` with a base model's folder in full: the worker works elsewhere. An alias stays what it is."""
        if self.model.local and not self.model.alias:
            return spec.model_copy(update={"base_model": self.model.source})
        return spec


def check(spec: TrainingSpec, settings: Settings, *, cwd: Path, progress: Progress | None = None) -> Preflight:
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
        _refuse_unsupported(spec, model)
    dataset = _read(spec, spec.dataset, settings, cwd, progress)
    evaluation = _read(spec, spec.eval_dataset, settings, cwd, progress) if spec.eval_dataset else None
    return Preflight(model, dataset, evaluation)


def _refuse_unsupported(spec: TrainingSpec, model: "ResolvedModel") -> None:
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


def _read(spec: TrainingSpec, path: str, settings: Settings, cwd: Path, progress: Progress | None) -> "Dataset":
    from mg_tui.data.dataset import FieldMap, load_dataset, require_clean

    weight = spec.weight_field if path == spec.dataset else None  # evaluations do without
    dataset = load_dataset(
        cwd / expanded(path),
        FieldMap(spec.text_field, spec.image_field, spec.response_field, weight),
        image_root=cwd / expanded(spec.image_root) if spec.image_root else None,
        system_prompt=spec.system_prompt,
        cwd=cwd,
        cache=settings.cache,
        check_images="decode",
        progress=progress,
    )
    if spec.on_bad_row == "stop":
        require_clean(dataset)
    return dataset
