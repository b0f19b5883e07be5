"""Rows of every shape about a few images, the tiny model with and without an adapter, and answers got one at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.families.contract import LoadRequest, Preprocessing

LIMITS = Preprocessing(min_pixels=784, max_pixels=20_000)
TINY = str(QWEN2_5_VL.checkpoints[-1].path)
NEW = 36  # more than the cache has room for at first


@pytest.fixture(scope="session")
def encoder() -> Any:
    return QWEN2_5_VL.make_collator(QWEN2_5_VL, QWEN2_5_VL.load_processor(QWEN2_5_VL, TINY, LIMITS), LIMITS)


@pytest.fixture(scope="session")
def plain_model() -> Any:
    return QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))


@pytest.fixture(scope="session")
def adapted(make_adapted: Callable[..., Any]) -> Any:
    """Answers of many lengths: some end after a few tokens, some never."""
    return make_adapted(strength=0.5)


@pytest.fixture(scope="session")
def row(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Example]:
    """Makes an Example about the images of these numbers."""
    folder = tmp_path_factory.mktemp("images")
    for number, size in enumerate([(112, 112), (140, 84), (60, 170), (30, 30)]):
        image = Image.effect_mandelbrot(size, (-2 + number / 9, -1.5, 1, 1.5), 30)
        image.convert("RGB").save(folder / f"{number}.png")

    def make(number: int, images: Sequence[int], question: str, *, first: str = "", answer: str = "x") -> Example:
        shown = [ImagePart(ImageRef(str(folder / f"{image}.png"), f"{image}.png")) for image in images]
        before = [TextPart(first)] if first else []
        asked = Message("user", (*before, *shown, TextPart(question)))
        return Example(number, (asked, Message("assistant", (TextPart(answer),))))

    return make


@pytest.fixture(scope="session")
def rows(row: Callable[..., Example]) -> list[Example]:
    talk = row(14, [1], "and how many?")
    earlier = (Message("user", (TextPart("hello"),)), Message("assistant", (TextPart("hi there"),)))
    return [
        row(1, [0], "what shape is it?"),
        row(2, [], "hello there"),
        row(3, [0], "what colour is the largest of all the shapes that you can see in the picture?"),
        row(4, [1], "how many?"),
        row(5, [0, 1], "compare them"),
        row(6, [0], "what shape is it?"),  # again
        row(7, [2, 0, 1], "?"),
        row(8, [], "hello"),
        row(9, [1], "left or right", first="Look closely at this one:"),
        row(10, [0, 1], "which one is it?"),
        row(11, [0], "describe it at length, please, in all detail"),
        row(12, [3, 3], "the same twice?"),
        row(13, [1], "how many shapes are red?"),
        Example(14, (*earlier, *talk.messages)),
        row(15, [], "count to ten"),
        row(16, [0], "is there a red shape?"),
    ]


@pytest.fixture(scope="session")
def alone(encoder: Any) -> Callable[..., list[tuple[list[int], str]]]:
    """Token ids and text that the model's own `generate` gives each row by itself; asked once for each row."""
    from mg_tui.data.images import open_image
    from mg_tui.engine.inference.generation import Sampling, generation_config

    known: dict[tuple[int, Example], tuple[list[int], str]] = {}
    tokenizer = encoder.processor.tokenizer

    def answer(model: Any, example: Example) -> tuple[list[int], str]:
        config = generation_config(model, tokenizer, Sampling(max_new_tokens=NEW))
        inputs = encoder.encode_prompts([example.prompt], [[open_image(ref.path) for ref in example.images]])
        output = model.generate(**inputs, generation_config=config)[0, inputs["input_ids"].shape[1] :].tolist()
        return output, tokenizer.decode(output, skip_special_tokens=True)

    def answers(model: Any, examples: Sequence[Example]) -> list[tuple[list[int], str]]:
        for example in examples:
            if (id(model), example) not in known:
                known[id(model), example] = answer(model, example)
        return [known[id(model), example] for example in examples]

    return answers
