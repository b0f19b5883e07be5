"""An adapter merged into its base, saved, loaded again, compared.

Weights are merged in full precision: into a quantized base the adapter would be lost in rounding. They are merged from
file to file, a layer at a time (`streamed_merge`). The saved model is compared with the adapter, and deleted if it
differs; its files beside the weights are those of the base model. A merge that is terminated leaves no files.
"""

import gc
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from mg_tui.core.errors import EnvironmentProblem, FamilyError, RunFailed, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.precision import DTypeName
from mg_tui.core.text import pluralize
from mg_tui.engine.inference.channel import ProgressChannel
from mg_tui.engine.inference.generate import ChannelRequest, parse_request, silence_libraries
from mg_tui.engine.inference.loading import LoadedModel, load_located, translate_out_of_memory
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.engine.results.base_files import copy_base_files, find_base_folder
from mg_tui.engine.results.dequantize import is_quantized
from mg_tui.engine.results.merge_check import LogitComparison, add_answers, answer_logits, compare_logits, make_samples
from mg_tui.engine.results.merge_layers import require_numbers, translate_merge_errors
from mg_tui.engine.results.publish import publish_folder
from mg_tui.engine.results.quantized_base import choose_merge_base
from mg_tui.engine.results.safetensors_files import has_weight_files
from mg_tui.engine.results.saving import save_full_model, write_result_files
from mg_tui.engine.results.streamed_merge import MergePlan, plan_merge, write_merge
from mg_tui.families.contract import LoadRequest, Unsupported
from mg_tui.families.registry import load_registry
from mg_tui.runs.output_folder import require_empty_target
from mg_tui.runs.result_metadata import METADATA_FILE, MODEL_CONFIG, ResultMetadata, read_json_object
from mg_tui.runs.versions import package_versions

_PHASE_COUNT: Final = 5


class MergeRequest(ChannelRequest):
    """What to merge, and the output folder."""

    model: Annotated[str, Field(min_length=1)]
    output: Path
    home: Path
    base_model: str | None = None
    dtype: DTypeName | Literal["auto"] = "auto"
    device: Literal["auto", "cuda", "cpu"] = "cpu"


class Merger:
    """Does merges, one at a time, without state between them."""

    def __init__(self, channel: ProgressChannel) -> None:
        self._channel = channel

    def merge(self, values: dict[str, Any]) -> None:
        """Merge, compare, publish; replies `merged` with the folder and the comparison."""
        request = parse_request(MergeRequest, values)
        began = time.monotonic()
        target = expand_user(request.output).resolve()
        require_empty_target(target)
        registry = load_registry()
        located = locate_model(request.model, home=request.home, registry=registry, base_model=request.base_model)
        require_mergeable(located)
        chosen = choose_merge_base(located, home=request.home, registry=registry)
        located = chosen.located
        for note in (*located.notes, *filter(None, [chosen.note])):
            self._channel.send_notice(note)
        silence_libraries()
        dtype = located.metadata.dtype if request.dtype == "auto" else request.dtype
        with translate_out_of_memory("merging"):
            self._at(0, f"loading {located.base.name} in {dtype}")
            loaded = load_located(located, registry, device=request.device, dtype=dtype, quantization="none")
            compared = self._merge(loaded, target)
        self._channel.send(
            "merged",
            output=str(target),
            model=located.label,
            base_model=located.base.name,
            dtype=dtype,
            comparison=compared.as_dict(),
            seconds=round(time.monotonic() - began, 2),
        )

    def _at(self, done: int, what: str) -> None:
        self._channel.send("progress", what=what, done=done, total=_PHASE_COUNT)

    def _merge(self, loaded: LoadedModel, target: Path) -> LogitComparison:
        with publish_folder(target, tag=f"merge-{os.getpid()}", last=METADATA_FILE) as staging:
            return write_merged(loaded, staging, target, self._at)


def write_merged(loaded: LoadedModel, staging: Path, target: Path, at: Callable[[int, str], None]) -> LogitComparison:
    """Merge a loaded adapter, save the model into `staging`, load it again and compare; `loaded` is used up.

    Args:
        loaded: an adapter on its base model, not quantized.
        staging: an empty folder, which becomes `target` later.
        target: where there has to be room.
        at: is told the number of finished phases and what begins.

    Raises:
        FamilyError: the family's models cannot be merged.
        EnvironmentProblem: there is no room.
        RunFailed: the saved model does not answer like the adapter, or would be of another class than its base.
    """
    from mg_tui.engine.inference.generation import make_encoder

    capability = loaded.family.capability("merge")
    if isinstance(capability, Unsupported):
        raise FamilyError(f"{loaded.family.title} cannot be merged", why=capability.why)
    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    at(1, "answering with the adapter")
    samples = add_answers(make_samples(), loaded.model, encoder)
    adapter = answer_logits(samples, loaded.model, encoder)
    with loaded.model.disable_adapter():
        base = answer_logits(samples, loaded.model, encoder)
    at(2, "merging")
    base_folder = find_base_folder(loaded.located)
    plan = _plan_streamed(loaded, base_folder)
    processor, family, metadata = loaded.processor, loaded.family, merged_metadata(loaded)
    inner = loaded.model.get_base_model()
    attention, architecture = inner.config._attn_implementation or "sdpa", type(inner).__name__
    if isinstance(plan, MergePlan):
        assert base_folder is not None
        require_disk_space(plan.nbytes, target)
        whole = inner
        _free(whole)
        at(3, f"merging {pluralize(plan.layers, 'layer')} from file to file, {plan.nbytes / 1e9:.2f} GB")
        write_merge(plan, base_folder, staging)
    else:
        whole = merge_weights(loaded.model)
        require_disk_space(sum(each.numel() * each.element_size() for each in whole.parameters()), target)
        at(3, f"saving; merged in memory, because {plan}")
        save_full_model(whole, staging)
    _require_architecture(staging, architecture)
    # One model in memory at a time: what is merged is freed before it is loaded again.
    _free(whole)
    del whole, inner, plan
    gc.collect()
    at(4, "loading what was saved, and comparing")
    request = LoadRequest(str(staging), loaded.dtype, loaded.device, attention=attention)
    saved = family.load_model(family, request)
    # bitsandbytes rounds activations of quantized layers to 16 bit, whatever the dtype.
    quantized = base_folder is not None and is_quantized(base_folder)
    rounding = "bfloat16" if quantized else loaded.dtype
    compared = compare_logits(adapter, answer_logits(samples, saved, encoder), base, rounding)
    if not compared.agrees:
        raise disagreement_error(compared)
    metadata = metadata.model_copy(update={"merge": compared.as_dict()})
    write_result_files(staging, processor, metadata, family=family, target=target)
    if base_folder is not None:
        copy_base_files(base_folder, staging, processor)
    return compared


def _plan_streamed(loaded: LoadedModel, base: Path | None) -> MergePlan | str:
    """The plan of merging from file to file, or why the merge has to be done in memory."""
    folder = loaded.located.folder
    assert folder is not None  # an adapter has one
    if base is None or not has_weight_files(base):
        return "the files of the base model are not in one folder"
    return plan_merge(loaded.model.get_base_model(), base, folder, loaded.dtype)


def _free(model: Any) -> None:
    """Let go of a model's weights, whoever still holds the model."""
    for module in model.modules():
        module._parameters.clear()
        module._buffers.clear()
    gc.collect()


def _require_architecture(folder: Path, expected: str) -> None:
    """Raises RunFailed when config.json names another class than that of the whole model: others go by that name."""
    named = read_json_object(folder / MODEL_CONFIG).get("architectures")
    if named != [expected] or expected.endswith("Model"):
        raise RunFailed(
            "the merged model would not be read as what it is",
            where=MODEL_CONFIG,
            why=f"its architectures are {named}, and the model with its last layer is a {expected}",
        )


def require_mergeable(located: LocatedModel) -> None:
    """Refuse a model that is no adapter.

    Raises:
        UsageError: it is a whole model.
    """
    if not located.is_adapter:
        raise UsageError(
            "there is nothing to merge",
            where=str(located.folder or located.base.name),
            why="this is a whole model, not an adapter",
        )


def merge_weights(model: Any) -> Any:
    """Merge the adapter into its base and take PEFT away; returns the plain model.

    Raises:
        RunFailed: merging makes weights that are no numbers.
        UsageError: this kind of adapter cannot be merged.
    """
    untie_adapted(model)
    with translate_merge_errors():
        whole = model.merge_and_unload()
    for name, weight in whole.named_parameters():
        require_numbers(name, weight)
    first, last = whole.get_input_embeddings(), whole.get_output_embeddings()
    if last is not None and first.weight.data_ptr() != last.weight.data_ptr():
        _mark_untied(whole)
    return whole


def untie_adapted(model: Any) -> None:
    """Give the output layer weights of its own where it shares them with the embedding and one of them is adapted.

    Merging changes weights in place: shared ones would change in both places, though the adapter changed only one.
    """
    from torch import nn

    inner = model.get_base_model()
    first, last = inner.get_input_embeddings(), inner.get_output_embeddings()
    if last is None:
        return
    layers = [getattr(layer, "base_layer", layer) for layer in (first, last)]
    adapted = layers[0] is not first or layers[1] is not last
    if adapted and layers[0].weight.data_ptr() == layers[1].weight.data_ptr():
        layers[1].weight = nn.Parameter(layers[1].weight.detach().clone(), requires_grad=False)


def _mark_untied(model: Any) -> None:
    for config in (model.config, getattr(model.config, "text_config", None)):
        if config is not None and getattr(config, "tie_word_embeddings", None):
            config.tie_word_embeddings = False


def require_disk_space(needed: int, target: Path, what: str = "the merged model") -> None:
    """Check that `needed` bytes of weights fit on the disk; `what` is written there.

    Raises:
        EnvironmentProblem: they do not.
    """
    place = next(path for path in (target, *target.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed * 1.02 + 64 * 2**20:
        raise EnvironmentProblem(
            f"there is no room for {what}",
            where=str(place),
            why=f"it takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            hint="free space, or choose a folder on another disk with --output",
        )


def merged_metadata(loaded: LoadedModel) -> ResultMetadata:
    """The metadata of the merged model, from that of the adapter."""
    base, metadata = loaded.located.base, loaded.metadata
    ref = metadata.base.model_copy(
        update={"name": base.name, "path": base.source if base.local else None, "revision": loaded.located.revision}
    )
    update = {
        "kind": "merged",
        "family": loaded.family.key,
        "model_type": metadata.model_type or str(loaded.model.config.model_type),
        "base": ref,
        "dtype": loaded.dtype,
        "quantization": "none",
        "versions": package_versions(),
    }
    return metadata.model_copy(update=update)


def disagreement_error(compared: LogitComparison) -> RunFailed:
    """The error for a merge that lost the adapter."""
    return RunFailed(
        "the merged model does not answer like the adapter, and was deleted",
        why=f"logits differ by {compared.mean_difference:.3g} on average (at most {compared.limit:.3g} is rounding), "
        f"{compared.max_difference:.3g} at most; the best token is the same at {compared.top1_agreement:.1%} of "
        f"{compared.positions} positions",
        hint="try --dtype float32; if that does not help, keep using the adapter",
    )
