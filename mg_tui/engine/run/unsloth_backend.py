"""Loading by unsloth where it was asked for and can be used; else the reason why not.

Only loading is unsloth's. LoRA, the step and the loss are the same as with transformers, so that a backend changes
speed and memory and nothing of what is learned.
"""

import importlib.util
import os
from typing import Any

from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import first_line
from mg_tui.engine.run.placement import Placement
from mg_tui.families.contract import LoadRequest


def import_unsloth(placed: Placement) -> str | None:
    """Import unsloth, which wants to come before transformers; returns why it cannot be used, or None."""
    if importlib.util.find_spec("unsloth") is None:
        return "unsloth is not installed"
    if not placed.cuda:
        return "unsloth needs a CUDA device"
    # It gives no logits while training unless told to, and our loss is made from them.
    os.environ["UNSLOTH_RETURN_LOGITS"] = "1"
    try:
        importlib.import_module("unsloth")
    except Exception as error:
        # Its import checks devices and versions and patches other libraries: anything may come of it.
        return f"unsloth cannot be imported: {type(error).__name__}: {first_line(error)[:300]}"
    return None


def load_unsloth_model(request: LoadRequest, spec: TrainingSpec) -> Any:
    """The model, patched by unsloth, with its own gradient checkpointing when that is asked for."""
    import torch
    from unsloth import FastVisionModel

    model, _processor = FastVisionModel.from_pretrained(
        model_name=request.source,
        max_seq_length=spec.max_seq_length,
        dtype=getattr(torch, request.dtype),
        load_in_4bit=request.quantization == "nf4",
        load_in_8bit=request.quantization == "int8",
        use_gradient_checkpointing="unsloth" if spec.gradient_checkpointing else False,
        trust_remote_code=request.trust_remote_code,
        revision=request.revision,
    )
    FastVisionModel.for_training(model)
    return model
