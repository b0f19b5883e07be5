"""Load a located model for inference: base, adapter and processor, as its metadata says."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.core.text import first_few
from mg_tui.engine.inference.adapter_keys import find_rename, tried_renames
from mg_tui.engine.inference.locator import LocatedModel, locate_model, processor_source
from mg_tui.engine.inference.pixel_limits import LimitSource, RequestedLimits, settle_limits
from mg_tui.families.auto import AUTO_KEY, make_auto_family
from mg_tui.families.contract import LoadRequest
from mg_tui.families.family import ModelFamily
from mg_tui.families.image_limits import require_effective_limits
from mg_tui.runs.result_metadata import ADAPTER_WEIGHTS, ResultMetadata

if TYPE_CHECKING:
    from mg_tui.families.registry import Registry

DeviceChoice = Literal["auto", "cuda", "cpu"]

DEFAULT_ADAPTER: Final = "default"  # PEFT's name for the only adapter of a model


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready for inference, and how it was loaded; dtype and quantization are of the base weights.

    `metadata` has the limits of images' areas that it is used with, and `limits_from` where they are from.
    """

    model: Any
    processor: Any
    family: ModelFamily
    metadata: ResultMetadata
    located: LocatedModel
    device: str
    dtype: DTypeName
    quantization: QuantizationName
    limits_from: LimitSource = "trained"


def load_for_inference(
    model: str,
    *,
    home: Path,
    base_model: str | None = None,
    device: DeviceChoice = "auto",
    dtype: DTypeName | Literal["auto"] = "auto",
    quantization: QuantizationName | Literal["auto"] = "auto",
) -> LoadedModel:
    """Find and load what `model` means (see `locate_model`).

    Args:
        device: auto is CUDA where there is one.
        dtype: auto is that of training where the device has it; float32 on the CPU.
        quantization: auto is that of training on CUDA, and none on the CPU.

    Raises:
        UsageError, FamilyError: see `locate_model`; or the adapter does not fit the base model.
        EnvironmentProblem: no such device, no room in its memory, or a hub that cannot be reached.
    """
    from mg_tui.families.registry import load_registry

    registry = load_registry()
    return load_located(
        locate_model(model, home=home, registry=registry, base_model=base_model),
        registry,
        device=device,
        dtype=dtype,
        quantization=quantization,
    )


def load_located(
    located: LocatedModel,
    registry: "Registry",
    *,
    device: DeviceChoice = "auto",
    dtype: DTypeName | Literal["auto"] = "auto",
    quantization: QuantizationName | Literal["auto"] = "auto",
    limits: RequestedLimits | None = None,
) -> LoadedModel:
    """Load what `locate_model` found; arguments and errors as `load_for_inference`.

    Args:
        limits: of images' areas, in the place of the model's own.

    Raises:
        FamilyError: limits were asked for, and the model's processor has none.
    """
    chosen = resolve_device(device)
    number = resolve_dtype(dtype, located.metadata, chosen)
    if quantization == "auto":
        quantization = located.metadata.quantization if chosen == "cuda" else "none"
    family = resolve_family(located, registry)
    request = LoadRequest(
        source=located.base.source,
        dtype=number,
        device=chosen,
        quantization=quantization,
        revision=located.revision,
        trust_remote_code=located.metadata.trust_remote_code,
    )
    located, limits_from = settle_limits(located, family, limits)
    processor = load_processor(located, family)
    if limits:
        usual = replace(located.metadata.preprocessing, min_pixels=0, max_pixels=0)
        asked = replace(usual, min_pixels=limits.min_pixels or 0, max_pixels=limits.max_pixels or 0)
        require_effective_limits(family, processor, asked, usual)
    with translate_out_of_memory(located.base.name):
        model = family.load_model(family, request)
        if located.is_adapter:
            assert located.folder is not None
            model = attach_adapter(model, located.folder, device=chosen)
    model.eval()
    return LoadedModel(model, processor, family, located.metadata, located, chosen, number, quantization, limits_from)


def resolve_device(device: DeviceChoice) -> str:
    """ "cuda" or "cpu".

    Raises:
        EnvironmentProblem: CUDA was requested and is not available.
    """
    import torch

    available = bool(torch.cuda.is_available())
    if device == "cuda" and not available:
        raise EnvironmentProblem("there is no CUDA device", hint="leave --device out, or use --device cpu")
    return "cuda" if available and device != "cpu" else "cpu"


def resolve_dtype(dtype: DTypeName | Literal["auto"], metadata: ResultMetadata, device: str) -> DTypeName:
    """The requested dtype, or that of training if the device supports it."""
    if dtype != "auto":
        return dtype
    if device == "cpu":
        return "float32"
    import torch

    return "float16" if metadata.dtype == "bfloat16" and not torch.cuda.is_bf16_supported() else metadata.dtype


def resolve_family(located: LocatedModel, registry: "Registry") -> ModelFamily:
    """The family that handles the model: by the base's config, the metadata, or a downloaded config.

    Raises:
        FamilyError: none is installed.
        EnvironmentProblem: the hub cannot be reached.
    """
    if located.base.family is not None:
        return located.base.family
    metadata = located.metadata
    named = next((family for family in registry.families if family.key == metadata.family), None)
    if named is not None:
        return named
    if metadata.family == AUTO_KEY and metadata.model_type:
        return make_auto_family(metadata.model_type)
    if metadata.model_type:
        return registry.by_model_type(metadata.model_type)
    resolved = registry.resolve(located.base.source, revision=located.revision, fetch=True)
    assert resolved.family is not None  # with `fetch` it is known, or an error was raised
    return resolved.family


def load_processor(located: LocatedModel, family: ModelFamily) -> Any:
    """The processor saved with the result, else that of the base model."""
    source, hub = processor_source(located)
    return family.load_processor(family, source, located.metadata.preprocessing, **hub)


def attach_adapter(model: Any, folder: Path, *, device: str, name: str = DEFAULT_ADAPTER) -> Any:
    """Load the adapter in `folder` onto its base model, or beside the adapters that it already has.

    Args:
        model: the base model, or what an earlier call returned.
        folder: of the adapter.
        device: that the model is on.
        name: of the adapter among several.

    Raises:
        UsageError: the adapter was made for another model, or cannot be read.
    """
    from peft import PeftModel

    what, hint = f"the adapter in {folder} does not fit the base model", "name the right one with --base-model"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing keys are an error below
            if isinstance(model, PeftModel):
                adapted = model
                adapted.load_adapter(str(folder), name, torch_device=device)
            else:
                adapted = PeftModel.from_pretrained(model, str(folder), name, torch_device=device)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        if "out of memory" in str(error):
            raise
        raise UsageError(what, why=_shorten(error), hint=hint) from error
    missing, unknown = _key_differences(adapted, folder / ADAPTER_WEIGHTS, name)
    if missing or unknown:
        why = "; ".join(
            f"{len(keys)} weights {text}: {first_few(keys, 3)}"
            for keys, text in ((missing, "are not in the file"), (unknown, "have no place in the model"))
            if keys
        )
        renamed = find_rename(missing, unknown)
        if renamed is not None:
            raise UsageError(what, why=f"{why}; they would fit with {renamed}", hint=_RENAMED_HINT)
        raise UsageError(what, why=f"{why}; tried renaming {tried_renames()}", hint=hint)
    return adapted


_RENAMED_HINT = "another version of transformers saved it: rename its keys, or save it again with this version"


def _key_differences(adapted: Any, weights: Path, name: str) -> tuple[list[str], list[str]]:
    """Weights the model's adapter has and the file lacks, and the other way round."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        saved = set(file.keys())
    expected = set(get_peft_model_state_dict(adapted, adapter_name=name, save_embedding_layers=False))
    # Other programs may save whole embeddings with the adapter; PEFT then loads them.
    extra = {key for key in saved - expected if ".embed_tokens." not in key and ".lm_head." not in key}
    return sorted(expected - saved), sorted(extra)


@contextmanager
def translate_out_of_memory(name: str) -> Iterator[None]:
    """Translate an out-of-memory error; `name` is what was loaded or done."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory_error(name) from error


def out_of_memory_error(name: str) -> EnvironmentProblem:
    """The error for a GPU that is too small."""
    return EnvironmentProblem(
        f"{name} does not fit into the GPU's free memory",
        hint="see who uses it with `nvidia-smi`; load less with --quantization nf4, or use --device cpu",
    )


def _shorten(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:400] or type(error).__name__
