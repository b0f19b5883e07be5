"""Checks of what is trained, saved, merged and estimated."""

import math
from collections.abc import Iterator
from typing import Any, cast

import torch

from mg_tui.core.model_parts import PARTS
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching.batches import collate
from mg_tui.engine.checkpointing.trained_weights import save_trained_weights
from mg_tui.engine.conformance.fixture import LiveFixture
from mg_tui.engine.run.trainable_parameters import make_trainable
from mg_tui.families.contract import Capability, CapabilityName, Unsupported

_BASE = "base_model.model."
_LOGITS = 1e-4  # of a model reloaded in float32: the same operations, on the same numbers


def one_step_changes_only_what_should(bench: LiveFixture) -> Iterator[str]:
    """LoRA and full training of each part: after a step only that part's weights differ, and all of its adapters do."""
    batch = _batch(bench)
    for part in PARTS:
        for method, capability in (("lora", f"lora_{part}"), ("full", "full")):
            declared = _capability(bench, capability)
            if isinstance(declared, Unsupported) or not getattr(bench.family.parts, part):
                continue
            methods = {f"train_{name}": method if name == part else "none" for name in PARTS}
            model = make_trainable(bench.load(), bench.family, _spec(bench, lora_r=4, **methods))
            trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
            yield from (
                f"{part}, {method}: {finding}" for finding in _step_findings(bench, model, trained, part, batch)
            )


def _step_findings(bench: LiveFixture, model: Any, trained: set[str], part: str, batch: Any) -> Iterator[str]:
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model.train()
    model(**batch).loss.backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    outside = sorted(name for name in changed if bench.family.parts.part_of(_plain(name)) != part)
    if outside:
        yield f"{len(outside)} weights of other parts changed, e.g. {outside[0]}"
    if frozen := sorted(changed - trained):
        yield f"{len(frozen)} frozen weights changed, e.g. {frozen[0]}"
    # The first matrix of an adapter has no gradient while the second one is zero.
    still = sorted(name for name in trained - changed if ".lora_A." not in name and before[name].numel())
    if len(still) > len(trained) // 2:
        yield f"{len(still)} of {len(trained)} trained weights did not change, e.g. {still[0]}"


def saved_adapter_reloads(bench: LiveFixture) -> Iterator[str]:
    """An adapter as it is saved, loaded by plain PEFT on the base model, gives the same logits; so does merging it."""
    from peft import PeftModel

    batch = _batch(bench)
    parts = [part for part in PARTS if not isinstance(_capability(bench, f"lora_{part}"), Unsupported)]
    methods = {f"train_{part}": "lora" if part in parts else "none" for part in PARTS}
    model = make_trainable(bench.load(), bench.family, _spec(bench, lora_r=4, **methods))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
        expected = model.eval()(**batch).logits
        folder = bench.work / "adapter"
        save_trained_weights(model, folder)
        reloaded = PeftModel.from_pretrained(bench.load(), str(folder)).eval()
        yield from _compare(reloaded(**batch).logits, expected, "reloaded")
        if not isinstance(bench.family.capability("merge"), Unsupported):
            merged = model.merge_and_unload()
            yield from _compare(merged(**batch).logits, expected, "merged")


def _compare(logits: torch.Tensor, expected: torch.Tensor, what: str) -> Iterator[str]:
    off = float((logits - expected).norm() / expected.norm())
    if not off <= _LOGITS:
        yield f"{what}, its logits are off by {off:.1e}"


def estimate_counts_parameters(bench: LiveFixture) -> Iterator[str]:
    """The shape that memory is estimated from has the parameters and bytes of the model, part by part."""
    from mg_tui.families.base_models import read_config
    from mg_tui.hardware.checkpoint_shape import infer_model_shape, read_tensor_shapes

    config = read_config(bench.folder)
    family = bench.family
    if family.shape is not None:
        shape = family.shape(config)
    else:
        shape = infer_model_shape(config, read_tensor_shapes(bench.folder), family.parts.part_of)
    model = bench.load()
    counted = sum(parameter.numel() for parameter in model.parameters())
    if not math.isclose(shape.parameters, counted, rel_tol=0.0 if family.shape is not None else 0.01):
        yield f"{shape.parameters:,} parameters are estimated, and the model has {counted:,}"


def _capability(bench: LiveFixture, name: str) -> Capability:
    return bench.family.capability(cast(CapabilityName, name))


def _batch(bench: LiveFixture) -> dict[str, Any]:
    from torch import full_like

    part = collate(bench.step[:2], bench.images, bench.collator)
    batch = dict(part.inputs)
    labels = full_like(batch["input_ids"], -100)
    # `collate` gives positions that predict; the label is the next token's.
    labels.view(-1)[part.positions + 1] = part.targets
    return {**batch, "labels": labels}


def _spec(bench: LiveFixture, **fields: Any) -> TrainingSpec:
    required = {"base_model": str(bench.folder), "dataset": "none.jsonl", "output_dir": str(bench.work / "out")}
    return TrainingSpec.parse({**required, "lora_dropout": 0.0, **fields})


def _plain(name: str) -> str:
    """A parameter's name in the model without PEFT."""
    return name.removeprefix(_BASE).replace(".base_layer.", ".").partition(".lora_")[0]
