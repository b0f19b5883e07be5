"""Which parameters are trained: LoRA or full training for each part of the model, and a summary.

LoRA is applied to the full names of the linear layers of the chosen parts, never to suffixes that happen to match
elsewhere. The output layer gets none. A part trained in full beside LoRA is saved with
the adapter (PEFT's `modules_to_save`). Trained weights are float32 whatever the compute dtype: the updates of a
small learning rate are lost in bfloat16.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mg_tui.core.errors import FamilyError, UsageError
from mg_tui.core.model_parts import PARTS, PartName
from mg_tui.core.spec import TrainingSpec
from mg_tui.families.family import ModelFamily

_PEFT_PREFIX = "base_model.model."  # PEFT's prefix of every name


def training_methods(spec: TrainingSpec) -> dict[PartName, str]:
    """How each part is trained: "lora", "full" or "none"."""
    return {"language": spec.train_language, "projector": spec.train_projector, "vision": spec.train_vision}


def make_trainable(model: Any, family: ModelFamily, spec: TrainingSpec) -> Any:
    """Freeze the model and make the parts trainable that the spec selects.

    Returns:
        The model, wrapped by PEFT where LoRA is used.

    Raises:
        UsageError: full training of the language model beside LoRA on another part.
        FamilyError: a part to be trained has no trainable parameters.
    """
    methods = training_methods(spec)
    model.requires_grad_(False)
    _disable_cpu_repacking(model)
    full = [part for part in PARTS if methods[part] == "full"]
    if "lora" not in methods.values():
        for part in full:
            for name, parameter in model.named_parameters():
                if family.parts.part_of(name) == part and parameter.is_floating_point():
                    parameter.requires_grad_(True)
        _require_trainable(model, family, methods)
        _cast_trainable_to_float32(model)
        return model
    if methods["language"] == "full":
        raise UsageError(
            "train_language: full cannot go with LoRA on another part",
            why="the adapter would have to hold the whole language model",
            hint="train the other part in full too, or the language model with LoRA",
        )
    model = _apply_lora(model, family, spec, methods)
    _require_trainable(model, family, methods)
    _cast_trainable_to_float32(model)
    return model


def _apply_lora(model: Any, family: ModelFamily, spec: TrainingSpec, methods: dict[PartName, str]) -> Any:
    from peft import LoraConfig, get_peft_model

    targets = [
        name for name in linear_layer_names(model) if (part := family.parts.part_of(name)) and methods[part] == "lora"
    ]
    if not targets:
        parts = ", ".join(part for part in PARTS if methods[part] == "lora")
        raise FamilyError(f"{family.title}: there are no linear layers for LoRA in: {parts}")
    whole = [name for part in PARTS if methods[part] == "full" for name in modules_to_save(model, family, part)]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.lora_r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        use_rslora=spec.use_rslora,
        use_dora=spec.use_dora,
        target_modules=targets,
        modules_to_save=whole or None,
    )
    torch.manual_seed(spec.seed)  # the initial adapter depends on the seed alone, not on earlier random numbers
    return get_peft_model(model, config)


def linear_layer_names(model: Any) -> list[str]:
    """Full names of the linear layers, quantized ones included, without the output layer."""
    head = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]


def modules_to_save(model: Any, family: ModelFamily, part: PartName) -> list[str]:
    """The largest modules entirely in `part`; of a container its children, since PEFT cannot wrap containers."""

    def within(name: str, module: nn.Module) -> Iterator[str]:
        owners = {family.parts.part_of(f"{name}.{inner}" if name else inner) for inner, _ in module.named_parameters()}
        if part not in owners:
            return
        if owners == {part} and not isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential):
            yield name
            return
        for child, inner_module in module.named_children():
            yield from within(f"{name}.{child}" if name else child, inner_module)

    return list(within("", model))


def trainable_summary(model: Any, family: ModelFamily, spec: TrainingSpec) -> dict[str, dict[str, Any]]:
    """By part: `method`, `parameters` (of the base model), `trained` (trainable parameters) and `dtype` of the weights.

    Weights that are in no part of the family are listed as "other".
    """
    methods: dict[str, str] = dict(training_methods(spec).items())
    table: dict[str, dict[str, Any]] = {}
    for part in (*PARTS, "other"):
        table[part] = {"method": methods.get(part, "none"), "parameters": 0, "trained": 0, "dtype": None}
    for name, parameter in model.named_parameters():
        entry = table[family.parts.part_of(strip_peft_prefix(name)) or "other"]
        extra = ".lora_" in name or ".modules_to_save." in name
        if not extra:
            entry["parameters"] += count_parameters(parameter)
            entry["dtype"] = entry["dtype"] or dtype_name(parameter)
        if parameter.requires_grad:
            entry["trained"] += parameter.numel()
    if not table["other"]["parameters"]:
        del table["other"]
    return table


def strip_peft_prefix(name: str) -> str:
    """A parameter's name in the base model, without PEFT's prefix."""
    return name.removeprefix(_PEFT_PREFIX)


def count_parameters(parameter: Any) -> int:
    """Weights in a parameter; a 4-bit one packs two in a byte."""
    state = getattr(parameter, "quant_state", None)
    if state is not None:
        return int(torch.Size(state.shape).numel())
    return int(parameter.numel()) * (2 if type(parameter).__name__ == "Params4bit" else 1)


def dtype_name(parameter: Any) -> str:
    """A parameter's dtype: torch's name, or its quantization."""
    kind = type(parameter).__name__
    if kind == "Params4bit":
        return "nf4"
    return "int8" if kind == "Int8Params" else str(parameter.dtype).removeprefix("torch.")


def _require_trainable(model: Any, family: ModelFamily, methods: dict[PartName, str]) -> None:
    trainable = {
        family.parts.part_of(strip_peft_prefix(name)) for name, p in model.named_parameters() if p.requires_grad
    }
    missing = [part for part in PARTS if methods[part] != "none" and part not in trainable]
    if missing:
        raise FamilyError(
            f"{family.title}: there is nothing to train in: {', '.join(missing)}",
            hint=f"give --train-{missing[0]} none",
        )


def _disable_cpu_repacking(model: Any) -> None:
    """On some CPUs bitsandbytes repacks 4-bit weights in the first forward pass in evaluation mode, after which no
    gradient flows through them; training usually continues after an evaluation."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _cast_trainable_to_float32(model: Any) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
