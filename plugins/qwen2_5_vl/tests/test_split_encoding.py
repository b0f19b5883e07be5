"""Text and images encoded apart give what the processor gives for them together, and the model's own positions."""

from pathlib import Path

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image
from transformers import AutoConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.families.contract import Preprocessing
from mg_tui.families.split_encoding import SplitEncoder

LIMITS = Preprocessing(min_pixels=784, max_pixels=50_176)
TINY = QWEN2_5_VL.checkpoints[-1].path
SIZES = [(112, 112), (200, 90), (40, 300), (900, 700)]


@pytest.fixture(scope="module")
def encoder() -> SplitEncoder:
    processor = QWEN2_5_VL.load_processor(QWEN2_5_VL, str(TINY), LIMITS)
    return SplitEncoder(QWEN2_5_VL.make_collator(QWEN2_5_VL, processor, LIMITS))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> Qwen2_5_VLModel:
    with torch.device("meta"):
        return Qwen2_5_VLModel(AutoConfig.from_pretrained(Path(str(TINY))))


def make_image_part(size: tuple[int, int]) -> tuple[ImagePart, Image.Image]:
    return ImagePart(ImageRef(f"/{size}", str(size))), Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 50).convert(
        "RGB"
    )


def conversation(*image_parts: ImagePart) -> Example:
    turns: list[Message] = []
    for number, part in enumerate(image_parts):
        turns.append(Message("user", (TextPart("look: "), part, TextPart(f"what is number {number}?"))))
        turns.append(Message("assistant", (TextPart(f"it is a square, {number}"),)))
    return Example(1, tuple(turns))


@pytest.mark.parametrize("sizes", [SIZES[:1], SIZES[1:2], SIZES, SIZES[2:] * 2], ids=str)
def test_apart_is_together(encoder: SplitEncoder, model: Qwen2_5_VLModel, sizes: list[tuple[int, int]]) -> None:
    parts, images = zip(*(make_image_part(size) for size in sizes), strict=True)
    example = conversation(*parts)
    together = encoder.encoder.encode(example, images)
    apart = encoder.text(example, sizes)

    assert list(apart.ids) == together.input_ids.tolist()
    labels = [token if learn else -100 for token, learn in zip(apart.ids, apart.supervised, strict=True)]
    assert labels == together.labels.tolist()

    own, _delta = model.get_rope_index(
        together.input_ids[None],
        mm_token_type_ids=together.per_token["mm_token_type_ids"][None],
        image_grid_thw=together.vision["image_grid_thw"],
    )
    assert torch.equal(torch.tensor(apart.positions), own[:, 0])

    encoded = [encoder.encode_image(image) for image in images]
    for name, value in together.vision.items():
        assert torch.equal(torch.cat([part[name] for part in encoded]), value), name
    counts = [apart.image_index.count(index) for index in range(len(sizes))]
    assert counts == (together.vision["image_grid_thw"].prod(-1) // 4).tolist()


def test_an_example_without_images(encoder: SplitEncoder) -> None:
    example = Example(1, (Message("user", (TextPart("hello"),)), Message("assistant", (TextPart("hi"),))))
    apart = encoder.text(example, [])
    assert list(apart.ids) == encoder.encoder.encode(example, []).input_ids.tolist()
    assert apart.positions == (tuple(range(len(apart.ids))),) * 3
