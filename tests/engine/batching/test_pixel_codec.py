"""Pixels handed over as bytes: the processor's numbers come back to the bit, or were never changed."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.batching.packed_layout import PackedLayout
from mg_tui.engine.batching.pixel_codec import PIXEL_VALUES, PixelCodec, decode_pixels
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import Preprocessing
from mg_tui.families.split_encoding import SplitEncoder

LIMITS = Preprocessing(min_pixels=784, max_pixels=20_000)
TINY = str(QWEN2_5_VL.checkpoints[-1].path)


@pytest.fixture(scope="module")
def processor() -> Any:
    return QWEN2_5_VL.load_processor(QWEN2_5_VL, TINY, LIMITS)


def fake_image_processor(**changes: Any) -> Any:
    """What tells how an image processor makes numbers of bytes."""
    reported = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    return SimpleNamespace(**{**reported, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], **changes})


def normalize(pixels: torch.Tensor, told: Any) -> torch.Tensor:
    """Numbers of bytes (..., 3, height, width), as processors make them."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (told.image_mean, told.image_std))
    return (pixels * told.rescale_factor - mean) / std


def byte_size(inputs: dict[str, Any]) -> int:
    return sum(value.numel() * value.element_size() for value in inputs.values() if torch.is_tensor(value))


def round_trip(levels: PixelCodec, pixels: torch.Tensor) -> tuple[dict[str, Any], torch.Tensor]:
    inputs: dict[str, Any] = {PIXEL_VALUES: pixels.clone(), "other": 1}
    levels.encode(inputs)
    narrow = dict(inputs)
    decode_pixels(inputs)
    assert inputs.keys() == {PIXEL_VALUES, "other"}
    return narrow, inputs[PIXEL_VALUES]


@pytest.mark.parametrize("image", ["noise", "one colour", "photo"])
def test_the_numbers_of_a_real_processor_come_back_to_the_bit(processor: Any, image: str) -> None:
    images = {
        "noise": Image.frombytes("RGB", (84, 112), bytes(torch.randint(0, 256, (84 * 112 * 3,)).tolist())),
        "one colour": Image.new("RGB", (56, 56), (255, 0, 17)),
        "photo": Image.effect_mandelbrot((301, 77), (-2, -1.5, 1, 1.5), 60).convert("RGB"),
    }
    inputs = dict(processor.image_processor(images=[images[image]], return_tensors="pt"))
    levels = PixelCodec.from_processor(processor.image_processor)
    assert levels is not None

    narrow, result = round_trip(levels, inputs[PIXEL_VALUES])

    assert PIXEL_VALUES not in narrow
    assert torch.equal(result, inputs[PIXEL_VALUES])
    # A byte instead of four, one frame instead of two; and a table.
    assert byte_size(narrow) == inputs[PIXEL_VALUES].numel() // 2 + 3 * 256 * 4


@settings(max_examples=40, deadline=None)
@given(
    scale=st.sampled_from([1 / 255, 1 / 127.5, 1.0]),
    mean=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    std=st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
    shape=st.sampled_from([(1, 3, 4, 5), (2, 2, 3, 8, 8), (0, 3, 2, 2)]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_affine_processor(
    scale: float, mean: list[float], std: list[float], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    reported = fake_image_processor(rescale_factor=scale, image_mean=mean, image_std=std)
    pixels = normalize(torch.randint(0, 256, shape).to(dtype), reported)
    levels = PixelCodec.from_processor(reported)
    assert levels is not None

    _narrow, result = round_trip(levels, pixels)

    assert result.dtype == pixels.dtype
    assert torch.equal(result, pixels)


def test_two_frames_that_differ_are_both_kept() -> None:
    reported = fake_image_processor()
    # Patches, frames, channels, rows, columns.
    frames = normalize(torch.randint(0, 256, (6, 2, 3, 4, 4)).float(), reported)
    pixels = frames.movedim(2, 1).reshape(6, -1)
    levels = PixelCodec.from_processor(reported)
    assert levels is not None

    narrow, result = round_trip(levels, pixels)

    assert torch.equal(result, pixels)
    assert byte_size(narrow) == pixels.numel() + 3 * 256 * 4


@pytest.mark.parametrize(
    "pixels",
    [
        torch.randn(2, 3, 8, 8),  # resized as numbers: on no grid
        torch.full((2, 3, 8, 8), float("nan")),
        torch.full((2, 3, 8, 8), 1e9),
        normalize(torch.zeros(2, 3, 8, 8), fake_image_processor()) * torch.tensor([[[[1.0, 1.0000001] * 4]]]),
        torch.zeros(2, 5),  # values that are not channel by channel
        torch.zeros(3, 8, 8),
        torch.zeros(2, 4, 8, 8),
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
    ],
    ids=["no grid", "no numbers", "too large", "two of one byte", "values", "no image", "channels", "bytes already"],
)
def test_what_would_lose_something_is_left_alone(pixels: torch.Tensor) -> None:
    levels = PixelCodec.from_processor(fake_image_processor())
    assert levels is not None
    inputs = {PIXEL_VALUES: pixels}

    levels.encode(inputs)

    assert inputs[PIXEL_VALUES] is pixels


def test_a_forward_without_images() -> None:
    levels = PixelCodec.from_processor(fake_image_processor())
    assert levels is not None
    inputs = {"input_ids": torch.ones(1, 3)}
    levels.encode(inputs)
    decode_pixels(inputs)
    assert inputs.keys() == {"input_ids"}


@pytest.mark.parametrize(
    "told",
    [
        None,
        fake_image_processor(image_mean=None),
        fake_image_processor(image_mean=[0.5]),
        fake_image_processor(image_std=[0.2, 0.0, 0.1]),
        fake_image_processor(image_mean="abc"),
        fake_image_processor(rescale_factor=0),
    ],
)
def test_a_processor_that_does_not_tell(told: Any) -> None:
    assert PixelCodec.from_processor(told) is None


def test_without_normalising_a_byte_is_its_own_number() -> None:
    levels = PixelCodec.from_processor(fake_image_processor(do_normalize=False, do_rescale=False))
    assert levels == PixelCodec(1.0, (0.0,) * 3, (1.0,) * 3)
    pixels = torch.randint(0, 256, (1, 3, 4, 4)).float()
    assert torch.equal(round_trip(levels, pixels)[1], pixels)


def test_a_step_carries_bytes(processor: Any) -> None:
    encoder = QWEN2_5_VL.make_collator(QWEN2_5_VL, processor, LIMITS)
    assert isinstance(encoder, ExampleEncoder)
    image = Image.effect_mandelbrot((112, 112), (-2, -1.5, 1, 1.5), 30).convert("RGB")
    messages = (Message("user", (ImagePart(ImageRef("/a", "/a")),)), Message("assistant", (TextPart("yes"),)))

    (part,) = PackedLayout(SplitEncoder(encoder), 1_000)([Example(1, messages)], {"/a": image})

    assert PIXEL_VALUES not in part.inputs
    decode_pixels(part.inputs)
    expected = processor.image_processor(images=[image], return_tensors="pt")[PIXEL_VALUES]
    assert torch.equal(part.inputs[PIXEL_VALUES], expected)
