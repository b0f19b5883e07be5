"""Label smoothing and weights of rows: the loss is what is written of it, however a step is laid out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.batching.batches import MicroBatch, StepBatch, collate
from mg_tui.engine.batching.packed_layout import PackedLayout
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute.loss import SupervisedHead, token_loss_sum
from mg_tui.engine.compute.objective import Objective
from mg_tui.families.contract import LoadRequest, Preprocessing
from mg_tui.families.split_encoding import SplitEncoder

LIMITS = Preprocessing(min_pixels=784, max_pixels=20_000)
TINY = str(QWEN2_5_VL.checkpoints[-1].path)
IMAGES = {
    f"/{number}": Image.effect_mandelbrot(size, (-2 + number / 9, -1.5, 1, 1.5), 30).convert("RGB")
    for number, size in enumerate([(112, 112), (140, 84)])
}
# (image, question, answer, weight): rows that share an image, the same row with two weights, one without effect.
ROWS = [
    ("/0", "what?", "this", 0.25),
    ("/0", "what?", "this", 4.0),
    ("/0", "what?", "this and that", 1.0),
    ("/0", "which one?", "the other", 0.0),
    ("/1", "what?", "something very different", 3.5),
    (None, "hello", "hi there", 0.5),
]


@pytest.fixture(scope="module")
def encoder() -> Any:
    return QWEN2_5_VL.make_collator(QWEN2_5_VL, QWEN2_5_VL.load_processor(QWEN2_5_VL, TINY, LIMITS), LIMITS)


@pytest.fixture(scope="module")
def model() -> Any:
    model = QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(QWEN2_5_VL.parts.part_of(name) == "language")
    return model


@pytest.fixture
def step() -> list[Example]:
    rows = []
    for number, (image_file, question, answer, weight) in enumerate(ROWS, 1):
        displayed = (ImagePart(ImageRef(image_file, image_file)),) if image_file else ()
        options = Message("user", (*displayed, TextPart(question)))
        rows.append(Example(number, (options, Message("assistant", (TextPart(answer),))), weight))
    return rows


def reference_loss(logits: torch.Tensor, targets: torch.Tensor, weight: float, smoothing: float) -> torch.Tensor:
    """The definition, written out: no cross-entropy of torch's."""
    log = logits.double() - logits.double().logsumexp(-1, keepdim=True)
    own = -log.gather(1, targets[:, None])[:, 0]
    return weight * ((1 - smoothing) * own + smoothing * -log.mean(-1)).sum()


def loss_and_gradients(
    model: Any, parts: Sequence[MicroBatch], smoothing: float, *, weight: float | None = None, written_out: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a step and its gradients; `weight` is that of every row where `written_out` reckons by hand."""
    model.zero_grad(set_to_none=True)
    vision, head, total = VisionInputs(frozen=True), SupervisedHead(model), 0.0
    count = StepBatch(0, list(parts)).supervised
    try:
        for part in parts:
            logits = head(model, vision(model, part.inputs), part.positions)
            if written_out:
                assert part.weights is None or len(set(part.weights.tolist())) == 1
                own = 1.0 if part.weights is None else float(part.weights[0])
                loss = reference_loss(logits, part.targets, own, smoothing) / count
            else:
                loss = token_loss_sum(logits, part.targets, weights=part.weights, label_smoothing=smoothing) / count
            loss.backward()
            total += float(loss.detach())
    finally:
        head.close()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def relative_difference(result: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Relative difference of two gradients, over all weights."""
    assert result.keys() == expected.keys()
    size = torch.stack([item.norm() for item in expected.values()]).norm()
    return float(torch.stack([(result[name] - item).norm() for name, item in expected.items()]).norm() / size)


@pytest.mark.parametrize("smoothing", [0.0, 0.1], ids=["plain", "smoothed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["one weight", "weights"])
@pytest.mark.parametrize("budget", [60, 100_000], ids=["several forwards", "one forward"])
def test_a_packed_step_has_the_loss_and_gradient_that_are_written_down(
    model: Any, encoder: Any, step: list[Example], budget: int, weighted: bool, smoothing: float
) -> None:
    if not weighted:
        step = [replace(item, weight=1.0) for item in step]
    alone = [collate([item], IMAGES, encoder) for item in step]
    loss, expected = loss_and_gradients(model, alone, smoothing, written_out=True)
    packed = PackedLayout(SplitEncoder(encoder), budget)(step, IMAGES)
    together = [collate(step[start : start + 4], IMAGES, encoder) for start in range(0, len(step), 4)]
    for parts in (alone, packed, together):
        found_loss, result = loss_and_gradients(model, parts, smoothing)
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert relative_difference(result, expected) < 1e-5


def test_the_normaliser_does_not_know_of_weights(model: Any, encoder: Any, step: list[Example]) -> None:
    """So that a weight means the same whoever else is in the step: twice the weight is twice the gradient."""
    ones = [replace(item, weight=1.0) for item in step]
    twice = [replace(item, weight=2.0) for item in step]
    loss, plain = loss_and_gradients(model, [collate(ones, IMAGES, encoder)], 0.0)
    doubled_loss, doubled = loss_and_gradients(model, [collate(twice, IMAGES, encoder)], 0.0)
    assert doubled_loss == pytest.approx(2 * loss, rel=1e-6)
    assert relative_difference(doubled, {name: 2 * item for name, item in plain.items()}) < 1e-6


def test_rows_without_weights_cost_nothing(encoder: Any, step: list[Example]) -> None:
    ones = [replace(item, weight=1.0) for item in step]
    assert collate(ones, IMAGES, encoder).weights is None
    assert all(part.weights is None for part in PackedLayout(SplitEncoder(encoder), 60)(ones, IMAGES))


def test_weights_go_where_their_tokens_go(encoder: Any, step: list[Example]) -> None:
    batch = StepBatch(0, PackedLayout(SplitEncoder(encoder), 100_000)(step, IMAGES))
    arrays = batch.map_values(lambda value: value.numpy() if torch.is_tensor(value) else value)
    (part,) = arrays.micro_batches
    assert part.weights is not None
    assert len(part.weights) == len(part.targets)
    assert set(part.weights.tolist()) == {weight for *_row, weight in ROWS}


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_quick_way_passes_its_trial_and_gives_what_is_written_down(
    model: Any, encoder: Any, step: list[Example], smoothing: float
) -> None:
    output = model.get_output_embeddings().weight
    output.requires_grad_(False)  # as it is wherever LoRA is trained
    loss, expected = loss_and_gradients(model, [collate([item], IMAGES, encoder) for item in step], smoothing)
    objective, vision, total = Objective(model, label_smoothing=smoothing), VisionInputs(frozen=True), 0.0
    assert objective.method[0] == "at supervised positions"
    parts = PackedLayout(SplitEncoder(encoder), 100_000)(step, IMAGES)
    count = StepBatch(0, parts).supervised
    model.zero_grad(set_to_none=True)
    try:
        for part in parts:
            with objective.restricted_to(part.positions, tuple(part.inputs["input_ids"].shape)):
                inputs = vision(model, part.inputs)
                result = objective.loss_sum(model, inputs, part.positions, part.targets, part.weights) / count
                result.backward()
            total += float(result.detach())
    finally:
        objective.close()
        output.requires_grad_(True)
    assert total == pytest.approx(loss, rel=1e-5)
    assert (
        relative_difference({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, expected)
        < 1e-5
    )
