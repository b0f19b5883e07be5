"""Checks that no layout of a step changes its loss or a gradient: the invariant that all of training rests on."""

from collections.abc import Iterator
from typing import Any

import torch

from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute import attention
from mg_tui.engine.compute.activation_checkpointing import checkpoint_activations
from mg_tui.engine.compute.objective import Objective
from mg_tui.engine.conformance.fixture import TOLERANCE, LiveFixture
from mg_tui.engine.generation.generate import generate_rows
from mg_tui.engine.generation.interface import GenerationCallbacks, GenerationModel
from mg_tui.engine.generation.sequential import generate_sequentially
from mg_tui.engine.generation.support import unsupported_reason
from mg_tui.engine.inference.generation import Sampling


def padded_equals_alone(bench: LiveFixture) -> Iterator[str]:
    """Examples side by side, one, four and all: the loss and every gradient of one after another."""
    model = bench.load()
    expected = bench.gradients(model, bench.alone(), frozen=False)
    for count in (4, len(bench.step)):
        found = bench.gradients(model, bench.padded(count), frozen=False).differences(expected)
        yield from (f"{count} side by side: {finding}" for finding in found)


def packed_equals_alone(bench: LiveFixture) -> Iterator[str]:
    """Packed passes with shared prefixes, a frozen and a trained tower: the loss and every gradient of each alone."""
    for frozen in (True, False):
        model = bench.load()
        expected = bench.gradients(model, bench.alone(), frozen=frozen)
        attention.install(model)
        for budget in (100_000, 90):
            found = bench.gradients(model, bench.packed(budget=budget), frozen=frozen).differences(expected)
            name = f"{'frozen' if frozen else 'trained'} tower, passes of {budget:,} tokens"
            yield from (f"{name}: {finding}" for finding in found)


def shared_prefixes_equal_alone(bench: LiveFixture) -> Iterator[str]:
    """Questions about one image, with the optimizations of training: tokens are shared, and nothing else changes."""
    first = bench.step[0].images[0]
    examples = [example for example in bench.step if example.images == (first,)]
    model = bench.load()
    expected = bench.gradients(model, bench.alone(examples), frozen=True)
    (part,) = bench.packed(examples)
    if part.laid_out is None or part.laid_out >= part.tokens:
        yield f"no token is shared: {part.laid_out} of {part.tokens} are laid out"
    attention.install(model)
    vision, objective = VisionInputs(frozen=True, vision=bench.family.vision), Objective(model)
    try:
        inputs = vision(model, part.inputs)
        with torch.no_grad(), objective.restricted_to(part.positions, tuple(part.inputs["input_ids"].shape)):
            loss = float(objective.loss_sum(model, inputs, part.positions, part.targets)) / part.targets.numel()
    finally:
        objective.close()
    if vision.encoded != 1:
        yield f"one image is shown, and {vision.encoded} were encoded"
    if not abs(loss - expected.loss) <= TOLERANCE * abs(expected.loss):
        yield f"the loss is {loss:.7g}, not {expected.loss:.7g}"


def kept_features_equal_encoded(bench: LiveFixture) -> Iterator[str]:
    """Features that were kept, as the cache keeps them, give the loss and gradients of encoding the images again."""
    model = bench.load()
    attention.install(model)
    parts = bench.packed()
    expected = bench.gradients(model, parts, frozen=True)
    kept = _KeptFeatures(bench)
    for part in parts:
        kept(model, part.inputs)
    again = bench.gradients(model, parts, frozen=True, vision=kept)
    if kept.encoded_again:
        yield f"{kept.encoded_again} images were encoded again"
    yield from again.differences(expected)


class _KeptFeatures(VisionInputs):
    """Keeps the features of each image as bytes, like the cache on disk, and encodes none a second time."""

    def __init__(self, bench: LiveFixture):
        super().__init__(frozen=True, vision=bench.family.vision)
        self.kept: dict[bytes, torch.Tensor] = {}
        self.encoded_again = 0

    def _encode_new(self, model: Any, images: Any, names: Any, sizes: Any) -> list[torch.Tensor]:
        keys = [b"".join(value.contiguous().numpy().tobytes() for value in image.values()) for image in images]
        fresh = [image for image, key in zip(images, keys, strict=True) if key not in self.kept]
        if fresh:
            self.encoded_again += len(fresh) if self.kept else 0
            features = super()._encode_new(model, fresh, names, sizes)
            missing = [key for key in keys if key not in self.kept]
            self.kept.update(zip(missing, features, strict=True))
        raw = [self.kept[key].contiguous().view(torch.uint8).clone() for key in keys]
        return [data.view(torch.float32) for data in raw]


def checkpointing_changes_nothing(bench: LiveFixture) -> Iterator[str]:
    """Activations computed again in the backward pass: the same loss and gradients."""
    model = bench.load()
    expected = bench.gradients(model, bench.padded(4), frozen=False)
    model = bench.load()
    checkpoint_activations(model, 1)
    model.train()
    yield from bench.gradients(model, bench.padded(4), frozen=False).differences(expected)


def generation_equals_alone(bench: LiveFixture) -> Iterator[str]:
    """Rows answered together, with shared prefixes, get the tokens of the model's own generation, one at a time."""
    model = GenerationModel(bench.load().eval(), bench.collator)
    reason = unsupported_reason(model)
    if reason is not None:
        yield f"rows are answered one at a time: {reason}"
        return
    sampling = Sampling(max_new_tokens=16)
    alone = generate_sequentially(model, bench.step, [sampling] * len(bench.step), GenerationCallbacks())
    expected = {answer.index: answer.answer.text for answer in alone}
    for answer in generate_rows(model, bench.step, sampling):
        if answer.answer.text != expected[answer.index]:
            row = answer.example.row
            yield f"row {row}: {answer.answer.text!r} together, {expected[answer.index]!r} alone"
