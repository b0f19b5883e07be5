"""What makes the engine quicker changes nothing: loss and every gradient are those of plain one-by-one training.

Each of it alone and all together, on the tiny model and on a random one of other sizes, with the tower frozen, with
everything trained, with LoRA on every part, and with checkpointing.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.batching.batches import MicroBatch, collate
from mg_tui.engine.batching.packed_layout import PackedLayout
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute import attention, fused_lora, patch_embedding, swiglu
from mg_tui.engine.compute.fused_cross_entropy import fused_linear_cross_entropy
from mg_tui.engine.compute.loss import SupervisedHead, token_loss_sum
from mg_tui.engine.compute.objective import Objective
from mg_tui.families.contract import LoadRequest, Preprocessing
from mg_tui.families.split_encoding import SplitEncoder

LIMITS = Preprocessing(min_pixels=784, max_pixels=20_000)
TINY = str(QWEN2_5_VL.checkpoints[-1].path)
OPTIMIZATIONS = ("trees", "lora", "gated", "patches", "objective")


@pytest.fixture(scope="module")
def encoder() -> Any:
    return QWEN2_5_VL.make_collator(QWEN2_5_VL, QWEN2_5_VL.load_processor(QWEN2_5_VL, TINY, LIMITS), LIMITS)


def tiny_model() -> Any:
    return QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))


def random_model() -> Any:
    """As the tiny one but for its widths, heads and layers, with random weights."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(TINY)
    text, vision = config.get_text_config(), config.vision_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 64, 104, 3
    text.num_attention_heads, text.num_key_value_heads, text.layer_types = 4, 2, ["full_attention"] * 3
    text.rope_parameters["mrope_section"] = [2, 3, 3]
    vision.hidden_size, vision.num_heads, vision.out_hidden_size, vision.depth = 48, 3, 64, 2
    vision.fullatt_block_indexes = [1]
    torch.manual_seed(3)
    return AutoModelForImageTextToText.from_config(config, dtype=torch.float32, attn_implementation="sdpa")


def with_lora(model: Any, pattern: str) -> Any:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=pattern))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            weights.data.normal_(0, 0.05)
    return adapted


LANGUAGE_LINEARS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
ALL_LINEARS = r".*(_proj|qkv|attn\.proj|merger\.mlp\.[02])"
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


def mixed_examples(count: int = 10) -> list[Example]:
    """Questions about shared images, captions, rows twice, answers that begin alike, text alone, several images."""
    chosen = random.Random(0)
    options = [
        example(row, [f"/{row % 2}"], f"what is {chosen.choice('abcdef')}{row}?", f"a {'very ' * (row % 3)}big one")
        for row in range(count)
    ]
    return [
        *options,
        example(20, ["/2"], "describe", "it is round"),
        example(21, ["/2"], "describe", "it is round and red"),
        example(22, ["/2"], "describe", "it is round"),
        example(23, [], "hello", "hi there, " * 30),
        example(24, ["/1", "/0"], "which?", "both", first="look"),
        example(25, ["/0", "/1", "/0"], "which?", "none"),
    ]


def plain_loss_and_gradients(
    model: Any, parts: Sequence[MicroBatch], *, frozen: bool
) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad(set_to_none=True)
    vision, head, total = VisionInputs(frozen=frozen), SupervisedHead(model), 0.0
    count = sum(part.targets.numel() for part in parts)
    for part in parts:
        loss = token_loss_sum(head(model, vision(model, part.inputs), part.positions), part.targets) / count
        loss.backward()
        total += float(loss.detach())
    head.close()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def engine_loss_and_gradients(
    model: Any, parts: Sequence[MicroBatch], *, frozen: bool, tricks: Sequence[str] = OPTIMIZATIONS
) -> tuple[float, dict[str, torch.Tensor]]:
    if "objective" not in tricks:
        return plain_loss_and_gradients(model, parts, frozen=frozen)
    model.zero_grad(set_to_none=True)
    vision, objective, total = VisionInputs(frozen=frozen), Objective(model), 0.0
    count = sum(part.targets.numel() for part in parts)
    for part in parts:
        with objective.restricted_to(part.positions, tuple(part.inputs["input_ids"].shape)):
            inputs = vision(model, part.inputs)
            loss = objective.loss_sum(model, inputs, part.positions, part.targets) / count
            loss.backward()
        total += float(loss.detach())
    objective.close()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def apply_optimizations(model: Any, tricks: Sequence[str]) -> None:
    if "trees" in tricks:
        attention.install(model)
    if "lora" in tricks:
        assert fused_lora.fuse(model) > 0
    if "gated" in tricks:
        assert swiglu.fuse(model) == sum(type(module).__name__.endswith("MLP") for module in model.modules())
    if "patches" in tricks:
        assert patch_embedding.use_matrix_products(model) == 1


def relative_difference(result: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert result.keys() == expected.keys()
    size = torch.stack([item.norm() for item in expected.values()]).norm()
    return float(torch.stack([(result[name] - item).norm() for name, item in expected.items()]).norm() / size)


@pytest.mark.parametrize("budget", [150, 100_000], ids=["several forwards", "one forward"])
@pytest.mark.parametrize("pattern", [LANGUAGE_LINEARS, ALL_LINEARS], ids=["tower frozen", "every part"])
@pytest.mark.parametrize("make", [tiny_model, random_model])
@pytest.mark.parametrize(
    "tricks", [*((item,) for item in OPTIMIZATIONS), OPTIMIZATIONS], ids=[*OPTIMIZATIONS, "together"]
)
def test_gradients_are_those_of_plain_training(
    encoder: Any, tricks: tuple[str, ...], make: Callable[[], Any], pattern: str, budget: int
) -> None:
    step, frozen = mixed_examples(), pattern == LANGUAGE_LINEARS
    model = with_lora(make(), pattern)
    loss, expected = plain_loss_and_gradients(model, [collate([item], IMAGES, encoder) for item in step], frozen=frozen)
    apply_optimizations(model, tricks)
    parts = PackedLayout(SplitEncoder(encoder), budget)(step, IMAGES)
    found_loss, result = engine_loss_and_gradients(model, parts, frozen=frozen, tricks=tricks)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert relative_difference(result, expected) < 1e-5


def test_padded_batches_and_checkpointing(encoder: Any) -> None:
    step = mixed_examples(4)
    model = with_lora(tiny_model(), LANGUAGE_LINEARS)
    loss, expected = plain_loss_and_gradients(model, [collate([item], IMAGES, encoder) for item in step], frozen=True)
    apply_optimizations(model, OPTIMIZATIONS)
    model.train()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    padded = [collate(step[start : start + 4], IMAGES, encoder) for start in range(0, len(step), 4)]
    for parts in (padded, PackedLayout(SplitEncoder(encoder), 300)(step, IMAGES)):
        found_loss, result = engine_loss_and_gradients(model, parts, frozen=True)
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert relative_difference(result, expected) < 1e-5


def test_a_model_trained_in_full_gets_its_loss_plainly(encoder: Any) -> None:
    step, model = mixed_examples(3), tiny_model()
    loss, expected = plain_loss_and_gradients(model, [collate([item], IMAGES, encoder) for item in step], frozen=False)
    objective = Objective(model)
    assert objective.method[0] == "of logits at supervised positions"
    objective.close()
    attention.install(model)
    found_loss, result = engine_loss_and_gradients(
        model, PackedLayout(SplitEncoder(encoder), 400)(step, IMAGES), frozen=False
    )
    assert found_loss == pytest.approx(loss, rel=1e-5)
    assert relative_difference(result, expected) < 1e-5


def test_what_a_model_does_between_last_layer_and_logits_is_kept(encoder: Any) -> None:
    model = tiny_model()

    class Scaled(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            result = super().forward(*args, **kwargs)
            result.logits = 2 * result.logits
            return result

    model.requires_grad_(False)
    assert Objective(model).method[0] == "at supervised positions"
    model.__class__ = Scaled
    objective = Objective(model)
    assert objective.method == (
        "of logits at supervised positions",
        "the model changes its hidden states or logits around the output layer",
    )
    (part,) = PackedLayout(SplitEncoder(encoder), 9_999)(mixed_examples(2)[:2], IMAGES)
    inputs = VisionInputs(frozen=True)(model, part.inputs)
    result = objective.loss_sum(model, inputs, part.positions, part.targets)
    expected = token_loss_sum(SupervisedHead(model)(model, inputs, part.positions), part.targets)
    assert float(result) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 7 * 50 * 4, None], ids=["row by row", "seven rows", "at once"])
def test_output_layer_and_loss_as_one(chunk: int | None, smoothing: float) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 50).requires_grad_(False)
    rows, targets = torch.tensor([0, 3, 3, 3, 19, 7, 19]), torch.tensor([1, 2, 2, 49, 0, 7, 8])
    weights = torch.rand(7)
    results = []
    for fused in (False, True):
        hidden = torch.randn(20, 16, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
        if fused:
            options: dict[str, Any] = {"weights": weights, "label_smoothing": smoothing, "chunk_bytes": chunk}
            loss = fused_linear_cross_entropy(hidden, layer.weight, layer.bias, rows, targets, **options)
        else:
            loss = token_loss_sum(layer(hidden)[rows], targets, weights=weights, label_smoothing=smoothing)
        (loss * 0.3).backward()
        assert hidden.grad is not None
        results.append((float(loss.detach()), hidden.grad))
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)


def test_adapters_switched_off_or_merged_are_peft_s_own(encoder: Any) -> None:
    model = with_lora(tiny_model(), LANGUAGE_LINEARS).eval()
    batch = dict(collate(mixed_examples(1)[:1], IMAGES, encoder).inputs)
    with torch.no_grad():
        expected = model(**batch).logits
        with model.disable_adapter():
            without = model(**batch).logits
        fused_lora.fuse(model)
        assert torch.allclose(model(**batch).logits, expected, atol=1e-4)
        with model.disable_adapter():
            assert torch.equal(model(**batch).logits, without)
        model.merge_adapter()
        assert torch.allclose(model(**batch).logits, expected, atol=1e-4)
    assert not torch.allclose(without, expected, atol=1e-3)
