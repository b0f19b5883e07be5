"""One process that serves the tiny model and two adapters over it, and what its models answer by themselves."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.example import ImagePart, ImageRef, Message, TextPart
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.engine.inference.generation import Sampling
from mg_tui.families.registry import load_registry

QUESTIONS = ("what shape is it?", "?", "how many?", "describe it at length, please, in all detail", "what color is it?")


@pytest.fixture(scope="session")
def trained(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Two adapters: `mine`, whose answer to the fourth question does not end, and `other`, which changes the vision
    tower too."""
    folder = tmp_path_factory.mktemp("trained")
    other = make_adapted(strength=0.7, target_modules=r".*(language_model.*(q|v|down)_proj|visual.*qkv)")
    return {"mine": save(make_adapted(strength=0.5), folder / "mine"), "other": save(other, folder / "other")}


@pytest.fixture(scope="session")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of three images."""
    from mg_tui.data.synthetic.drawings import draw_image

    folder = tmp_path_factory.mktemp("image_files")
    files = []
    for number, size in enumerate([(112, 112), (140, 84), (60, 170)]):
        image, _facts = draw_image(random.Random(number), size=size)
        files.append(str(folder / f"{number}.png"))
        image.save(files[-1])
    return files


@pytest.fixture(scope="session")
def served(trained: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The loaded models: `tiny`, `mine` and `other`."""
    from mg_tui.engine.serving.served_models import load_served, locate_served

    home, registry = tmp_path_factory.mktemp("home"), load_registry()
    spec = ServeSpec.parse({"models": ["tiny", *map(str, trained.values())], "device": "cpu"})
    return load_served(spec, locate_served(spec, home=home, registry=registry), registry)


@pytest.fixture
def engine(served: Any) -> Iterator[Any]:
    from mg_tui.engine.serving.builtin import BuiltinEngine

    engine = BuiltinEngine(served, max_waiting=64)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Any]:
    from mg_tui.engine.serving.answering import ChatTask

    def make(
        model: str, images: Sequence[str], question: str, *, tokens: int = 24, stop: Sequence[str] = (), **how: Any
    ) -> Any:
        shown = [ImagePart(ImageRef(path, path)) for path in images]
        messages = (Message("user", (*shown, TextPart(question))),)
        return ChatTask(model, messages, Sampling(tokens, **how), tuple(stop))

    return make


@pytest.fixture(scope="session")
def alone(served: Any) -> Callable[..., Any]:
    """The answer to a task by the model's own generate, as `generate-vision` gives it; asked once."""
    from mg_tui.data.images import open_image
    from mg_tui.engine.inference.generation import generate_answer

    known: dict[Any, Any] = {}

    def answer(task: Any) -> Any:
        if task not in known:
            model = served.by_name(task.model)
            served.activate(model)
            images = [open_image(path) for path in task.images]
            known[task] = generate_answer(served.model, model.encoder, task.messages, images, task.sampling)
        return known[task]

    return answer


async def collect(engine: Any, task: Any) -> tuple[str, Any]:
    """The whole text of an answer, and its end."""
    from mg_tui.engine.serving.answering import TextPiece

    pending, text = engine.start(task), ""
    while isinstance(event := await pending.next(), TextPiece):
        text += event.text
    return text, event


def ask(engine: Any, *tasks: Any) -> list[tuple[str, Any]]:
    """The answers to tasks that are asked at the same time."""

    async def all_of_them() -> list[Any]:
        async with asyncio.timeout(120):
            return list(await asyncio.gather(*(collect(engine, task) for task in tasks)))

    return asyncio.run(all_of_them())
