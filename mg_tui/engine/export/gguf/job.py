"""A GGUF export that can be done: what files alone tell is checked before a model is loaded and anything is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.precision import DTypeName
from mg_tui.engine.export.asking_request import AskingRequest, Share
from mg_tui.engine.export.gguf.convert import probe_model
from mg_tui.engine.export.gguf.rules import (
    DEFAULT_QUANTIZATIONS,
    WEIGHT_BYTES,
    require_gguf_family,
    require_llama_model,
    require_lora,
    require_probed,
)
from mg_tui.engine.inference.loading import resolve_family
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.engine.results.base_files import find_base_folder
from mg_tui.engine.results.merge import require_disk_space
from mg_tui.engine.results.safetensors_files import list_weight_files, read_tensors
from mg_tui.families.registry import Registry, load_registry
from mg_tui.runs.llama_cpp import LlamaCpp, find_llama_cpp
from mg_tui.runs.output_folder import require_empty_target
from mg_tui.runs.result_metadata import ADAPTER_CONFIG, ADAPTER_WEIGHTS, MODEL_CONFIG, read_json_object

Quantization = Literal["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"]
_F16: Final = "F16"


class GgufRequest(AskingRequest):
    """What to export, in which quantizations, where to, and the rows that all are asked."""

    output: Path
    quantizations: tuple[Quantization, ...] = DEFAULT_QUANTIZATIONS
    adapter: bool = False
    min_agreement: Share = 0.9
    dtype: DTypeName | Literal["auto"] = "auto"
    device: Literal["auto", "cuda", "cpu"] = "cpu"


@dataclass(frozen=True, slots=True)
class GgufJob:
    """An export that can be done: everything that files alone tell has been checked.

    `source` is the folder that the text model's configuration and tokenizer are in.
    """

    request: GgufRequest
    target: Path
    located: LocatedModel
    registry: Registry
    llama: LlamaCpp
    source: Path

    @property
    def merges(self) -> bool:
        """Whether an adapter is merged into its base model."""
        return self.located.is_adapter and not self.request.adapter

    @property
    def quantizations(self) -> tuple[str, ...]:
        """In the order given, each once."""
        return tuple(dict.fromkeys(self.request.quantizations))


def prepare_gguf(request: GgufRequest, say: Callable[[str], None]) -> GgufJob:
    """Check what files alone tell, before a model is loaded and anything is written.

    Args:
        request: of the export.
        say: tells the user what takes a moment.

    Raises:
        UsageError: llama.cpp cannot have this model or this adapter.
        EnvironmentProblem: llama.cpp is not here, or there is no room.
    """
    target = expand_user(request.output).resolve()
    require_empty_target(target)
    registry = load_registry()
    located = locate_model(request.model, home=request.home, registry=registry, base_model=request.base_model)
    if located.folder is None:
        raise UsageError(
            "there is nothing to export",
            where=located.label,
            why="this is a base model, not the result of a run",
            hint="name a result folder or a run (`model-garden runs` lists them)",
        )
    require_gguf_family(resolve_family(located, registry), located.label)
    if request.adapter:
        _require_adapter(located, registry)
    source = find_base_folder(located) if located.is_adapter else located.folder
    if source is None or not (source / MODEL_CONFIG).is_file():
        raise UsageError("the base model is not on this machine", where=located.base.name)
    require_llama_model(read_json_object(source / MODEL_CONFIG), located.label)
    llama = find_llama_cpp(request.cache)
    _require_room(source, request, located, target)
    say(f"asking llama.cpp's converter whether it knows this model ({llama.origin})")
    work = request.cache / "llama.cpp"
    work.mkdir(parents=True, exist_ok=True)
    require_probed(probe_model(llama, source, work), located.label)
    return GgufJob(request, target, located, registry, llama, source)


def _require_adapter(located: LocatedModel, registry: Registry) -> None:
    folder = located.folder
    assert folder is not None
    if not located.is_adapter:
        raise UsageError("--adapter exports an adapter", where=str(folder), why="this is a whole model")
    keys = [tensor.name for tensor in read_tensors(folder / ADAPTER_WEIGHTS)]
    config: Mapping[str, Any] = read_json_object(folder / ADAPTER_CONFIG)
    require_lora(config, keys, resolve_family(located, registry), str(folder))


def _require_room(source: Path, request: GgufRequest, located: LocatedModel, target: Path) -> None:
    """The most that lies on the disk at a time: merged and 16-bit weights, then the 16-bit and the quantized ones."""
    count = 0
    for file in list_weight_files(source):
        for tensor in read_tensors(file):
            numbers = 1
            for size in tensor.shape:
                numbers *= size
            count += numbers
    width = 4 if request.dtype == "float32" or located.metadata.dtype == "float32" else 2
    merged = count * width if located.is_adapter and not request.adapter else 0
    kept = sum(count * WEIGHT_BYTES[kind] for kind in set(request.quantizations) - {_F16})
    require_disk_space(int(max(merged + 2 * count, 2 * count + kept)), target)
