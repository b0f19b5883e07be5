"""What a checkpoint holds of the model: the trained weights, and no others.

An adapter is saved as PEFT saves it, so that a checkpoint's folder can be used like a result; of training in full, the
trained weights under their own names. Both are float32, as they are trained.
"""

from pathlib import Path
from typing import Any

import torch

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.runs.checkpoint_format import TRAINED_WEIGHTS_FILE
from mg_tui.runs.result_metadata import ADAPTER_WEIGHTS


def save_trained_weights(model: Any, folder: Path) -> None:
    """Save the trained weights of a model into a folder."""
    from peft import PeftModel

    if isinstance(model, PeftModel):
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
        return
    from safetensors.torch import save_file

    weights = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters() if p.requires_grad}
    save_file(weights, folder / TRAINED_WEIGHTS_FILE, metadata={"format": "pt"})


def load_trained_weights(model: Any, folder: Path) -> None:
    """Put the trained weights of a checkpoint into a model that was prepared in the same way.

    Raises:
        EnvironmentProblem: the checkpoint is not of this model.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    if isinstance(model, PeftModel):
        from peft import set_peft_model_state_dict

        weights = load_file(folder / ADAPTER_WEIGHTS)
        outcome = set_peft_model_state_dict(model, weights)
        missing = [name for name in outcome.missing_keys if ".lora_" in name or ".modules_to_save." in name]
        surplus = list(outcome.unexpected_keys)
    else:
        weights = load_file(folder / TRAINED_WEIGHTS_FILE)
        own = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        missing, surplus = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
        with torch.no_grad():
            for name in own.keys() & weights.keys():
                own[name].copy_(weights[name])
    if missing or surplus:
        raise EnvironmentProblem(
            "the checkpoint does not fit the model",
            where=str(folder),
            why=f"{len(missing)} weights are missing and {len(surplus)} are not the model's, e.g. "
            f"{(missing + surplus)[0]}",
            hint="was the base model changed, or the run started with another version of a library?",
        )
