"""Packed steps: the loss and every gradient of plain one-example-at-a-time training, however the step is laid out."""

import random
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.batching.batches import MicroBatch, collate
from mg_tui.engine.batching.packed_layout import PackedLayout, dense_tree_mask
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute.loss import SupervisedHead, token_loss_sum
from mg_tui.families.contract import LoadRequest, Preprocessing
from mg_tui.families.split_encoding import SplitEncoder

LIMITS = Preprocessing(min_pixels=784, max_pixels=20_000)
TINY = str(QWEN2_5_VL.checkpoints[-1].path)


@pytest.fixture(scope="module")
def encoder() -> Any:
    return QWEN2_5_VL.make_collator(QWEN2_5_VL, QWEN2_5_VL.load_processor(QWEN2_5_VL, TINY, LIMITS), LIMITS)


@pytest.fixture(scope="module")
def model() -> Any:
    return QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))


IMAGES = {
    f"/{number}": Image.effect_mandelbrot(size, (-2 + number / 9, -1.5, 1, 1.5), 30).convert("RGB")
    for number, size in enumerate([(112, 112), (140, 84), (60, 170)])
}


def example(row: int, images: list[str], question: str, answer: str, *, first: str = "") -> Example:
    displayed = tuple(ImagePart(ImageRef(path, path)) for path in images)
    text = (TextPart(first),) if first else ()
    return Example(
        row, (Message("user", (*text, *displayed, TextPart(question))), Message("assistant", (TextPart(answer),)))
    )


def make_examples(count: int, per_image: int) -> list[Example]:
    chosen = random.Random(0)
    return [
        example(
            row,
            [f"/{row // per_image}"],
            f"what is {chosen.choice('abcdef')}{row}?",
            f"a {'very ' * (row % 3)}big one",
        )
        for row in range(count)
    ]


STEPS: dict[str, list[Example]] = {
    "five questions an image": make_examples(10, 5),
    "one question an image": make_examples(3, 1),
    "captions of one prompt": [example(n, ["/0"], "describe", f"it is {'so ' * n}round") for n in range(4)],
    "the same row twice": [example(1, ["/1"], "what?", "this"), example(2, ["/1"], "what?", "this")],
    "one answer begins another": [example(1, ["/1"], "what?", "this"), example(2, ["/1"], "what?", "this and that")],
    "text only among images": [example(1, [], "hello", "hi there"), example(2, ["/2"], "what?", "that")],
    "text before images": [
        example(1, ["/0"], "?", "yes", first="one"),
        example(2, ["/0"], "?", "no", first="another"),
        example(3, ["/1", "/0"], "?", "maybe"),
        example(4, ["/0", "/1", "/0"], "?", "never"),
    ],
}


def loss_and_gradients(
    model: Any, parts: list[MicroBatch], *, frozen_vision: bool
) -> tuple[float, dict[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not (frozen_vision and QWEN2_5_VL.parts.part_of(name) != "language"))
        parameter.grad = None
    vision = VisionInputs(frozen=frozen_vision)
    head, total, count = SupervisedHead(model), 0.0, sum(part.targets.numel() for part in parts)
    try:
        for part in parts:
            logits = head(model, vision(model, part.inputs), part.positions)
            loss = token_loss_sum(logits, part.targets) / count
            loss.backward()
            total += float(loss.detach())
    finally:
        head.close()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frozen", [True, False], ids=["tower frozen", "all trained"])
@pytest.mark.parametrize("budget", [60, 100_000], ids=["several forwards", "one forward"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_packed_step_is_the_plain_step(
    model: Any, encoder: Any, step: list[Example], budget: int, frozen: bool
) -> None:
    alone = [collate([item], IMAGES, encoder) for item in step]
    packed = PackedLayout(SplitEncoder(encoder), budget)(step, IMAGES)
    assert sorted(row for part in packed for row in part.rows) == [item.row for item in step]
    assert sum(part.tokens for part in packed) == sum(part.tokens for part in alone)

    loss, expected = loss_and_gradients(model, alone, frozen_vision=frozen)
    packed_loss, result = loss_and_gradients(model, packed, frozen_vision=frozen)
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    assert result.keys() == expected.keys()
    size = torch.stack([g.norm() for g in expected.values()]).norm()
    difference = torch.stack([(result[name] - g).norm() for name, g in expected.items()]).norm()
    assert float(difference / size) < 1e-5


def test_questions_about_one_image_cost_its_tokens_once(encoder: Any) -> None:
    (part,) = PackedLayout(SplitEncoder(encoder), 100_000)(make_examples(5, 5), IMAGES)
    assert part.laid_out is not None
    assert part.laid_out < part.tokens / 2
    assert part.inputs["image_grid_thw"].shape[0] == 1


def test_tree_mask_of_two_branches() -> None:
    observed = dense_tree_mask(torch.tensor([4, 2, 4, 4]))[0, 0].int().tolist()
    assert observed == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
