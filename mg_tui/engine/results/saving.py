"""Saves the result of a run: a standard PEFT adapter or model, its processor, a model card and the metadata."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.errors import GardenError, RunFailed
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.results.base_license import folder_license
from mg_tui.engine.results.model_card import render_model_card
from mg_tui.engine.results.publish import publish_folder
from mg_tui.families.family import ModelFamily
from mg_tui.runs.result_metadata import (
    ADAPTER_WEIGHTS,
    METADATA_FILE,
    BaseModelRef,
    ResultMetadata,
    make_result_metadata,
    read_result_metadata,
    write_result_metadata,
)

if TYPE_CHECKING:
    from mg_tui.families.registry import ResolvedModel


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """Numbers of the run, for the card and the metadata; the card omits those that are None or 0.

    `seconds` is the time of training, all attempts together. `trained_parts` counts trained parameters by part name.
    `peak_device_memory` is in bytes; `device` is its model name. `result_step` is the step the weights are of,
    when that is not the last. `cost` is an amount of money with its currency.
    """

    final_loss: float | None = None
    eval_loss: float | None = None
    eval_metrics: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    epochs: float | None = None
    examples: int = 0
    eval_examples: int = 0
    skipped_rows: int = 0
    seconds: float = 0.0
    supervised_tokens: int | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    trained_parts: dict[str, int] = field(default_factory=dict)
    device: str | None = None
    peak_device_memory: int | None = None
    result_step: int | None = None
    energy_kwh: float | None = None
    gpu_hours: float | None = None
    cost: str | None = None


def save_result(
    model: Any,
    processor: Any,
    *,
    spec: TrainingSpec,
    family: ModelFamily,
    base: "ResolvedModel",
    folder: Path,
    facts: TrainingSummary,
    dtype: DTypeName,
    quantization: QuantizationName,
    run: str | None = None,
) -> Path:
    """Save what was trained as `folder`, written beside and renamed.

    A `PeftModel` is saved as an adapter, parts trained in full (`modules_to_save`) included; any other model whole.

    Args:
        model: the trained model, unwrapped.
        processor: the processor it was trained with.
        base: the base model as the registry resolved it.
        folder: new or empty; a result that this same `run` left there earlier is replaced.
        dtype: of the base weights, as resolved.
        quantization: of the base weights, as resolved.
        run: the id of the run.

    Returns:
        The absolute path of the result.

    Raises:
        UsageError: `folder` is not empty.
        EnvironmentProblem: it cannot be written.
        RunFailed: nothing was trained, so there is nothing to save.
    """
    adapter = is_peft_model(model)
    metadata = make_result_metadata(
        spec,
        family.key,
        BaseModelRef(
            name=base.name, path=str(Path(base.source).absolute()) if base.local else None, revision=spec.revision
        ),
        kind="adapter" if adapter else "model",
        model_type=str(model.config.model_type),
        dtype=dtype,
        quantization=quantization,
        run=run,
        training={key: value for key, value in asdict(facts).items() if value not in (None, {})},
    )
    target = folder.expanduser().resolve()
    with publish_folder(
        target, tag=run or "result", replace=_belongs_to_run(target, run), last=METADATA_FILE
    ) as staging:
        if adapter:
            _save_adapter(model, staging, metadata)
        else:
            save_full_model(model, staging)
        write_result_files(staging, processor, metadata, family=family, target=target)
    return target


def is_peft_model(model: Any) -> bool:
    """Whether the model is wrapped by PEFT."""
    from peft import PeftModel

    return isinstance(model, PeftModel)


def _belongs_to_run(target: Path, run: str | None) -> bool:
    """Whether the folder holds an earlier result of this run: one saved just before its worker died."""
    if run is None or not (target / METADATA_FILE).is_file():
        return False
    try:
        return read_result_metadata(target).run == run
    except GardenError:
        return False


def _save_adapter(model: Any, staging: Path, metadata: ResultMetadata) -> None:
    config = model.peft_config["default"]
    # Plain PEFT passes this name to from_pretrained, which would not load an alias such as `tiny`, or a relative path.
    config.base_model_name_or_path = metadata.base.path or metadata.base.name
    config.revision = metadata.base.revision
    # "auto" would request the base model's vocabulary size from the hub; we never resize embeddings.
    model.save_pretrained(staging, selected_adapters=["default"], save_embedding_layers=False)
    from safetensors import safe_open

    with safe_open(staging / ADAPTER_WEIGHTS, framework="pt") as saved:
        if not list(saved.keys()):
            raise RunFailed("the adapter is empty: no weights were trained")


def save_full_model(model: Any, staging: Path) -> None:
    """Save all weights as safetensors. Training turns the key-value cache off; a saved model has it on."""
    for config in (model.config, getattr(model.config, "text_config", None)):
        if config is not None and getattr(config, "use_cache", None) is False:
            config.use_cache = True
    model.save_pretrained(staging)


def write_result_files(
    staging: Path, processor: Any, metadata: ResultMetadata, *, family: ModelFamily, target: Path
) -> None:
    """Write the files beside the weights: processor, card, metadata."""
    processor.save_pretrained(staging)
    spec_name = metadata.spec.get("name")
    title = spec_name if isinstance(spec_name, str) and spec_name else target.name
    known = folder_license(metadata.base.path)
    card = render_model_card(metadata, title=title, family=family.title, folder=target, base_license=known)
    (staging / "README.md").write_text(card, encoding="utf-8")
    write_result_metadata(staging, metadata)
