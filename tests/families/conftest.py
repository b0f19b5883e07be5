"""The tiny checkpoint's family, processor and encoder, loaded once for all tests here that need a real processor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.families import ModelFamily, Preprocessing
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.registry import load_registry

LIMITS = Preprocessing(min_pixels=3_136, max_pixels=12_544)


@pytest.fixture(scope="session")
def tiny() -> Path:
    return Path(load_registry().resolve("tiny").source)


@pytest.fixture(scope="session")
def family() -> ModelFamily:
    return load_registry().by_model_type("qwen2_5_vl")


@pytest.fixture(scope="session")
def processor(family: ModelFamily, tiny: Path) -> Any:
    return family.load_processor(family, str(tiny), LIMITS)


@pytest.fixture(scope="session")
def encoder(family: ModelFamily, processor: Any) -> ExampleEncoder:
    return ExampleEncoder(family, processor, LIMITS)


@pytest.fixture(scope="session")
def talk() -> Callable[..., Example]:
    """Makes an Example of turns that alternate between user and assistant; images come first."""

    def make(*turns: str, images: int = 0, row: int = 1, system: str | None = None) -> Example:
        shown = tuple(ImagePart(ImageRef(f"/{index}.png", f"{index}.png")) for index in range(images))
        messages = [
            Message("assistant" if index % 2 else "user", (*(shown if index == 0 else ()), TextPart(text)))
            for index, text in enumerate(turns)
        ]
        if system:
            messages.insert(0, Message("system", (TextPart(system),)))
        return Example(row, tuple(messages))

    return make
