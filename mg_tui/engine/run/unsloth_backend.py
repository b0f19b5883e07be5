"""Loading by unsloth where requested and possible; else the reason why not.

Only the loading is unsloth's. LoRA, the step and the loss are the same as with transformers, so that the backend
changes speed and memory but not the training.
"""

import importlib.util
import os
from typing import Any

from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import first_line
from mg_tui.engine.run.placement import Placement
from mg_tui.families.contract import LoadRequest


def import_unsloth(placement: Placement) -> str | None:
    """Import unsloth, which has to precede transformers; returns why it cannot be used, or None."""
    if importlib.util.find_spec("unsloth") is None:
        return "unsloth is not installed"
    if not placement.cuda:
        return "unsloth needs a CUDA device"
    # Without this it returns no logits in training, and our loss is computed from them.
    os.environ["UNSLOTH_RETURN_LOGITS"] = "1"
    try:
        importlib.import_module("unsloth")
    except Exception as error:
        # Its import checks devices and versions and patches other libraries: any exception is possible.
        return f"unsloth cannot be imported: {type(error).__name__}: {first_line(error)[:300]}"
    return None


def load_unsloth_model(request: LoadRequest, spec: TrainingSpec) -> Any:
    """The model, patched by unsloth, with its own gradient checkpointing if the spec enables it."""
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
