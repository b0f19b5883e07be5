"""Conformance checks that train: a step of LoRA on a part, on quantized weights, and merging."""

from collections.abc import Iterator
from typing import Any

from mg_tui.core.model_parts import PartName
from mg_tui.families.family import ModelFamily

_QUANTIZED_CLASSES = {"nf4": "Linear4bit", "int8": "Linear8bitLt"}


def lora_findings(model: Any, family: ModelFamily, part: PartName, batch: dict[str, Any]) -> Iterator[str]:
    """Gradients of one backward pass reach the adapter of every linear layer of `part`."""
    adapted, targets = _with_lora(model, family, part)
    loss = adapted(**batch).loss
    if loss.requires_grad:
        loss.backward()
    # The second matrix starts as zeros: the first has no gradient until it changes.
    seconds = {name: weight for name, weight in adapted.named_parameters() if ".lora_B." in name}
    if len(seconds) != len(targets):
        yield f"{part}: {len(targets)} linear layers, but {len(seconds)} adapters"
    still = [name for name, weight in seconds.items() if weight.grad is None or not bool(weight.grad.any())]
    if still:
        yield f"{part}: no gradient reaches {len(still)} of {len(seconds)} adapters, e.g. {still[0]}"


def quantization_findings(model: Any, family: ModelFamily, method: str, batch: dict[str, Any]) -> Iterator[str]:
    """The language part without its output layer is quantized, the other parts are not; LoRA trains on it."""
    import torch

    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        quantized = type(module).__name__ == _QUANTIZED_CLASSES[method]
        if quantized != (family.parts.part_of(name) == "language" and module is not head):
            yield f"{method}: {name} is {'' if quantized else 'not '}quantized"
    yield from (f"{method}: {finding}" for finding in lora_findings(model, family, "language", batch))


def merge_findings(model: Any, family: ModelFamily, batch: dict[str, Any]) -> Iterator[str]:
    """Merging an adapter on every part keeps the logits; the adapter is randomized first to change them."""
    import torch

    with torch.no_grad():
        base = model(**batch).logits
        adapted, _targets = _with_lora(model, family, None)
        generator = torch.Generator().manual_seed(0)
        for name, weight in adapted.named_parameters():
            if ".lora_B." in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)
        before = adapted.eval()(**batch).logits
        after = adapted.merge_and_unload()(**batch).logits
    changed, difference = (before - base).abs().max().item(), (before - after).abs().max().item()
    if difference > max(1e-3, changed / 100):
        yield f"logits differ by {difference:.2g} after merging (the adapter changed them by {changed:.2g})"


def _with_lora(model: Any, family: ModelFamily, part: PartName | None) -> tuple[Any, list[str]]:
    """The model with LoRA on every linear layer of a part (None: of all), and the names of those layers."""
    import torch
    from peft import LoraConfig, get_peft_model

    head = model.get_output_embeddings()
    targets = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head and part in (None, family.parts.part_of(name))
    ]
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets)
    return get_peft_model(model, config).train(), targets
