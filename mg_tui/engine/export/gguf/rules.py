"""What llama.cpp can have: checked from a model's configuration before it is loaded and anything is written.

What its converter would take and its programs compute differently is refused as well. The facts are those of the
llama.cpp that comes with llama-cpp-python 0.3.36.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.engine.export.vllm_rules import has_tower_weights
from mg_tui.families.contract import Unsupported
from mg_tui.families.family import ModelFamily
from mg_tui.runs.llama_cpp import FOLDER_VARIABLE, VERSION

QUANTIZATIONS: Final = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")
DEFAULT_QUANTIZATIONS: Final = ("Q8_0", "Q4_K_M")
# Bytes a weight takes: bits of the blocks, of the mixed kinds as llama-quantize reports them for models of 3 to 7
# billion weights, rounded up.
WEIGHT_BYTES: Final = {"F16": 2.0, "Q8_0": 1.07, "Q6_K": 0.83, "Q5_K_M": 0.73, "Q4_K_M": 0.63}
_MIN_VISION_DEPTH: Final = 3
_WINDOW: Final = 112  # pixels: `attn_window_size` in tools/mtmd/clip.cpp, whatever the model has
_TEMPORAL_PATCH: Final = 2  # an assertion of llama.cpp's converter
_DEPTH_KEYS: Final = ("depth", "num_hidden_layers", "num_layers", "n_layers", "layers")
_MERGED_HINT: Final = "export the merged model: leave --adapter out"


def require_llama_model(config: Mapping[str, Any], where: str) -> None:
    """Refuse a model that llama.cpp would not load, or compute differently.

    Args:
        config: the model's config.json.
        where: the model, for the message.

    Raises:
        UsageError: all reasons at once.
    """
    reasons = list(_config_reasons(config))
    if reasons:
        raise UsageError(
            "llama.cpp cannot have this model",
            where=where,
            why="; ".join(reasons),
            hint="export it with --format merged or vllm",
        )


def require_gguf_family(family: ModelFamily, where: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse a family of which it is known that the converter of the llama.cpp built here lacks it.

    Another llama.cpp, named in LLAMA_CPP_DIR, may have it: then its converter is asked (`require_probed`).

    Args:
        family: of the model.
        where: the model, for the message.
        environment: may name another llama.cpp.

    Raises:
        UsageError: with the family's reason.
    """
    capability = family.capability("gguf")
    if isinstance(capability, Unsupported) and not environment.get(FOLDER_VARIABLE):
        raise UsageError(
            f"{family.title} cannot be exported to GGUF",
            where=where,
            why=f"{capability.why} (llama-cpp-python {VERSION})",
            hint=f"export it with --format merged or vllm, or name a newer llama.cpp in {FOLDER_VARIABLE}",
        )


def _config_reasons(config: Mapping[str, Any]) -> Iterator[str]:
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        yield "its configuration has no vision tower (vision_config)"
        return
    depth = next((vision[key] for key in _DEPTH_KEYS if isinstance(vision.get(key), int)), None)
    if depth is not None and depth < _MIN_VISION_DEPTH:
        yield f"its vision tower has {depth} layers, and llama.cpp needs at least {_MIN_VISION_DEPTH}"
    if vision.get("temporal_patch_size", _TEMPORAL_PATCH) != _TEMPORAL_PATCH:
        yield f"its temporal_patch_size is {vision['temporal_patch_size']}, and llama.cpp has {_TEMPORAL_PATCH}"
    if "fullatt_block_indexes" in vision:  # of a tower most of whose layers attend within windows
        yield from _window_reasons(vision)


def _window_reasons(vision: Mapping[str, Any]) -> Iterator[str]:
    window, blocks = vision.get("window_size", _WINDOW), vision.get("fullatt_block_indexes")
    if window != _WINDOW:
        yield f"its vision tower attends within windows of {window} pixels, and llama.cpp has {_WINDOW}"
    if isinstance(blocks, list) and len(blocks) > 1:
        step = blocks[0] + 1
        if any(after - before != step for before, after in pairwise(blocks)):
            yield f"its layers with full attention ({', '.join(map(str, blocks))}) are not at equal distances"


def require_probed(probe: Mapping[str, Any], where: str) -> None:
    """Refuse what llama.cpp's converter does not know.

    Args:
        probe: the report of `converter_child`'s probe.
        where: the model, for the message.

    Raises:
        UsageError: naming architecture or tokenizer.
    """
    for part in ("text", "projector"):
        if probe.get(f"{part}_unknown"):
            what = "text model" if part == "text" else "vision tower"
            raise UsageError(
                "llama.cpp's converter does not know this architecture",
                where=where,
                why=f"it has no {what} {probe.get(part)}",
                hint="a newer llama.cpp may have it: name its folder in LLAMA_CPP_DIR",
            )
    if "tokenizer" in probe and probe["tokenizer"] is None:
        raise UsageError(
            "llama.cpp does not know this tokenizer",
            where=where,
            why="neither how it encodes text nor the rules by which it splits text are among those known",
            hint="a newer llama.cpp may know it: name its folder in LLAMA_CPP_DIR",
        )


def require_lora(config: Mapping[str, Any], keys: list[str], family: Any, where: str) -> None:
    """Refuse an adapter that llama.cpp's converter would take without all of it.

    It drops the weights of the vision tower and says that it was successful; it reads one alpha for all layers.

    Args:
        config: the adapter's configuration.
        keys: the names of its weights.
        family: of its base model.
        where: the adapter, for the message.

    Raises:
        UsageError: all reasons at once.
    """
    reasons = list(_lora_reasons(config, keys, family))
    if reasons:
        raise UsageError("llama.cpp cannot have this adapter", where=where, why="; ".join(reasons), hint=_MERGED_HINT)


def _lora_reasons(config: Mapping[str, Any], keys: list[str], family: Any) -> Iterator[str]:
    if config.get("peft_type") != "LORA":
        yield f"it is no LoRA adapter but {config.get('peft_type')}"
    if has_tower_weights(keys, family):
        yield "it changes the vision tower or the projector, which llama.cpp's converter drops without a word"
    for key, reason in (
        ("use_dora", "it is DoRA"),
        ("use_rslora", "it is scaled by rsLoRA"),
        ("alpha_pattern", "its layers have different alphas (alpha_pattern)"),
        ("modules_to_save", "it has modules trained in full (modules_to_save)"),
        ("trainable_token_indices", "it trains single tokens"),
        ("lora_bias", "it has biases of its own (lora_bias)"),
    ):
        if config.get(key):
            yield reason
    if config.get("bias") not in (None, "none"):
        yield f"it trains biases (bias: {config['bias']})"
