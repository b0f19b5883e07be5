"""Errors that can be found before a run is created.

The CLI and the dashboard call `run_preflight` before they start a run; the engine checks again. An error found here
costs the user seconds, and neither a run folder nor an output folder has been created.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.config import Settings
from mg_tui.core.errors import FamilyError, UsageError
from mg_tui.core.named_datasets import resolve_named_datasets
from mg_tui.core.paths import is_remote
from mg_tui.core.spec import AUTO_METRICS, BEST_LOSS, BEST_NONE, TrainingSpec
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.progress import Progress
from mg_tui.runs.cost import require_price

if TYPE_CHECKING:
    from mg_tui.data.checks.findings import CheckReport
    from mg_tui.data.dataset import Dataset
    from mg_tui.doctor.findings import MachineFinding
    from mg_tui.families.registry import ResolvedModel


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """The result of a preflight check.

    Attributes:
        model: the resolved base model.
        dataset, evaluation: the loaded datasets; `evaluation` is None when there is none.
        changes: spec values replaced by ones that are valid in every working directory.
        report: the check of the data; None when no family is installed for the model.
        machine: warnings and problems of this machine that matter to the run (`model-garden doctor`); none of them
            keeps it from starting.
    """

    model: "ResolvedModel"
    dataset: "Dataset"
    evaluation: "Dataset | None"
    changes: Mapping[str, Any] = dataclass_field(default_factory=dict)
    report: "CheckReport | None" = None
    machine: "tuple[MachineFinding, ...]" = ()

    def resolve_spec(self, spec: TrainingSpec) -> TrainingSpec:
        """`spec` with names in full: the worker runs in another directory without garden.toml. Aliases stay."""
        spec = spec.model_copy(update=dict(self.changes))
        if self.model.local and not self.model.alias:
            return spec.model_copy(update={"base_model": self.model.source})
        return spec


def run_preflight(
    spec: TrainingSpec,
    settings: Settings,
    *,
    cwd: Path,
    progress: Progress | None = None,
    policy: ReadPolicy = ALLOW_ALL,
) -> PreflightResult:
    """Check the base model and every row and image of the data.

    Args:
        spec: the requested run; relative paths in it are resolved against `cwd`.
        progress: called with (rows done, rows) while images are checked.
        policy: where data may be read from.

    Raises:
        FamilyError: no family supports the base model, or the family does not support an option.
        DataError: a dataset that cannot be read, or bad rows while `on_bad_row` is "stop".
        EnvironmentProblem: the base model is on the Hub, which cannot be reached.
    """
    from mg_tui.doctor.examination import findings_for_run

    model = check_options(spec, settings, cwd)
    resolved = resolve_named_datasets(spec, settings.datasets, settings.train)
    if model.family is not None and resolved.box_format == "resized":
        _require_box_rules(resolved, model)
    dataset = _load_dataset(resolved, settings, cwd, progress, policy)
    evaluation = None
    if resolved.eval_dataset:
        evaluation = _load_dataset(resolved, settings, cwd, progress, policy, evaluation=True)
    if evaluation is not None:
        _require_scorable(spec, evaluation)
    report = None
    if model.family is not None:
        from mg_tui.preflight.loaded_dataset_check import check_loaded_dataset

        report = check_loaded_dataset(resolved, settings, model, dataset, evaluation)
    changes = _resolved_names(spec, resolved, dataset, evaluation, cwd)
    machine = findings_for_run(spec, settings.home, settings.cache)
    return PreflightResult(model, dataset, evaluation, changes, report, machine)


def check_options(spec: TrainingSpec, settings: Settings, cwd: Path) -> "ResolvedModel":
    """The checks of a run that need no row of its data; returns the base model.

    Raises:
        FamilyError, UsageError, EnvironmentProblem: see `run_preflight`.
    """
    from mg_tui.families.registry import load_registry

    _require_possible(spec)
    _require_watching(spec, settings, cwd)
    _require_metrics(spec)
    model = load_registry().resolve(spec.base_model, revision=spec.revision, fetch=True, choice=spec.family)
    if model.family is not None:
        _require_supported(spec, model)
    return model


def _resolved_names(
    spec: TrainingSpec, resolved: TrainingSpec, dataset: "Dataset", evaluation: "Dataset | None", cwd: Path
) -> Mapping[str, Any]:
    """Spec values that change when names from garden.toml and of the Hub are resolved."""
    changes = {
        name: getattr(resolved, name) for name in resolved.changed() if getattr(resolved, name) != getattr(spec, name)
    }
    for field, loaded in (("dataset", dataset), ("eval_dataset", evaluation)):
        if loaded is not None and not loaded.parts and is_remote(loaded.address):
            changes[field] = loaded.address
    return changes | _pinned_parts(resolved, dataset, cwd)


def _pinned_parts(resolved: TrainingSpec, dataset: "Dataset", cwd: Path) -> dict[str, Any]:
    """Several datasets, those on the Hub with the commit that was read; {} where none is on the Hub."""
    if not any(is_remote(part.address) for part in dataset.parts):
        return {}
    from mg_tui.data.mixture import parts_of

    texts = [
        (replace(part, name=loaded.address) if is_remote(loaded.address) else part).format()
        for part, loaded in zip(parts_of(resolved, cwd), dataset.parts, strict=True)
    ]
    return {"dataset": texts[0], "additional_dataset": tuple(texts[1:])}


def _require_possible(spec: TrainingSpec) -> None:
    """Refuse what the worker would refuse after minutes: options that exclude each other, or need a GPU."""
    trained = [name for name in ("train_vision", "train_projector") if getattr(spec, name) != "none"]
    if spec.vision_cache == "on" and trained:
        raise UsageError(
            f"vision_cache: on requires {trained[0]} none",
            why="features of an image change while the vision tower or the projector is trained",
            hint="give --vision-cache auto",
        )
    if spec.optimizer != "adamw" and (spec.device == "cpu" or (spec.device == "auto" and not _has_gpu())):
        raise UsageError(
            f"optimizer: {spec.optimizer} requires a CUDA device",
            why="the run uses the CPU" if spec.device == "cpu" else "NVML finds no GPU on this machine",
            hint="give --optimizer adamw",
        )


def _require_watching(spec: TrainingSpec, settings: Settings, cwd: Path) -> None:
    """Raise UsageError for an address, destination or command that cannot be used, or a budget without a price."""
    import os

    from mg_tui.runs.watch_request import separate_secrets
    from mg_tui.watching.requirements import check_request

    _public, request = separate_secrets(spec, settings.notify, cwd)
    if request is not None:
        check_request(request, os.environ)
    if spec.max_cost is not None:
        require_price(settings.cost)


def _metric_names(spec: TrainingSpec) -> list[str]:
    """The metrics that a spec names, once each."""
    named = [*spec.eval_metrics, spec.keep_best]
    return list(dict.fromkeys(name for name in named if name not in (AUTO_METRICS, BEST_LOSS, BEST_NONE)))


def _require_metrics(spec: TrainingSpec) -> None:
    """Raise UsageError for a metric that there is not."""
    if names := _metric_names(spec):
        from mg_tui.metrics.registry import load_metrics

        load_metrics().named(names)


def _require_scorable(spec: TrainingSpec, evaluation: "Dataset") -> None:
    """Raise DataError, naming the row, when a metric does not accept a reference of the evaluation dataset."""
    names, examples = _metric_names(spec), evaluation.examples[: spec.eval_limit]
    if names and examples:
        from mg_tui.metrics.choose import settle_metrics
        from mg_tui.metrics.contract import Prediction

        settle_metrics(
            names,
            [
                Prediction(e.row, "", e.references or (e.response,), tuple(image.path for image in e.images))
                for e in examples
            ],
        )


def _has_gpu() -> bool:
    from mg_tui.runs import devices

    return [device.name for device in devices.find_devices()] != [devices.CPU]


def _require_supported(spec: TrainingSpec, model: "ResolvedModel") -> None:
    from mg_tui.families.contract import CapabilityName, Preprocessing, Unsupported
    from mg_tui.families.image_limits import refuse_ignored_limits

    assert model.family is not None
    refuse_ignored_limits(model.family, Preprocessing(spec.min_pixels, spec.max_pixels))
    required: list[tuple[str, CapabilityName]] = []
    for field, value, lora in (
        ("train_language", spec.train_language, "lora_language"),
        ("train_projector", spec.train_projector, "lora_projector"),
        ("train_vision", spec.train_vision, "lora_vision"),
    ):
        if value == "lora":
            required.append((field, lora))  # type: ignore[arg-type]
        elif value == "full":
            required.append((field, "full"))
    if spec.quantization in ("nf4", "int8"):
        required.append(("quantization", spec.quantization))
    for field, name in required:
        capability = model.family.capability(name)
        if isinstance(capability, Unsupported):
            raise FamilyError(
                f"{model.family.title} does not support {field} = {getattr(spec, field)}", why=capability.why
            )


def _require_box_rules(spec: TrainingSpec, model: "ResolvedModel") -> None:
    """Raise FamilyError when the family resizes images otherwise than boxes are written for."""
    from mg_tui.core.preprocessing import Preprocessing
    from mg_tui.core.resizing import resize_to_multiples
    from mg_tui.data.boxes import RESIZE_FACTOR

    assert model.family is not None
    limits = Preprocessing(spec.min_pixels, spec.max_pixels)
    area = {"min_pixels": spec.min_pixels, "max_pixels": spec.max_pixels}
    for size in ((1400, 900), (300, 500)):
        wide, high = resize_to_multiples(*size, factor=RESIZE_FACTOR, **area)
        count = model.family.image_tokens
        if count is None or count(*size, limits) != wide * high // RESIZE_FACTOR**2:
            raise FamilyError(
                f"{model.family.title} does not resize images as box_format = resized assumes",
                why=f"that is to multiples of {RESIZE_FACTOR} pixels within the limits of the area",
                hint="give the units of its boxes: --box-format thousandths or pixels",
            )


def _load_dataset(
    spec: TrainingSpec,
    settings: Settings,
    cwd: Path,
    progress: Progress | None,
    policy: ReadPolicy,
    *,
    evaluation: bool = False,
) -> "Dataset":
    from mg_tui.data.dataset import require_no_bad_rows
    from mg_tui.data.from_spec import load_dataset_from_spec

    dataset = load_dataset_from_spec(
        spec,
        evaluation=evaluation,
        cwd=cwd,
        cache=settings.cache,
        check_images="decode",
        progress=progress,
        policy=policy,
    )
    if spec.on_bad_row == "stop":
        require_no_bad_rows(dataset)
    return dataset
