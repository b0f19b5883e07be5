"""The data sets: drawn images with short questions, or with captions, made the same every time.

Images are 224 to 512 pixels a side, about 200 tokens. VQAv2 and COCO have larger ones (640 x 480: about 390), where
sharing and keeping features save more.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

COLORS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (235, 215, 50),
    "purple": (140, 50, 170),
    "orange": (240, 140, 30),
    "cyan": (40, 200, 210),
    "black": (20, 20, 20),
}
BACKGROUNDS = {"white": (245, 245, 245), "grey": (150, 150, 150), "pink": (245, 190, 200), "brown": (120, 85, 60)}
SHAPES = ("circle", "square", "triangle")
CAPTION_PROMPT = "Describe the image in one sentence."


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """An example: what is asked of which image, and the answer to learn."""

    text: str
    image: str
    response: str


@dataclass(frozen=True, slots=True)
class DataKind:
    """A kind of data. `per_image` rows show each image; `per_step` rows make an optimizer step."""

    key: str
    title: str
    per_image: int
    per_step: int
    pairs: Callable[[random.Random, "Scene"], list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class SceneShape:
    """One shape of a scene; centre and half its size in pixels."""

    shape: str
    colour: str
    x: int
    y: int
    half: int


@dataclass(frozen=True, slots=True)
class Scene:
    """What an image shows; sizes in pixels."""

    width: int
    height: int
    ground: str
    things: tuple[SceneShape, ...]


def make_questions(chosen: random.Random, scene: Scene) -> list[tuple[str, str]]:
    """Eight questions with answers of a word, in random order."""
    item = chosen.choice(scene.things)
    largest = max(scene.things, key=lambda thing: thing.half)
    absent = next(colour for colour in COLORS if colour not in {thing.colour for thing in scene.things})
    pool = [
        ("How many shapes are there in the image?", str(len(scene.things))),
        (f"What shape is {item.colour}?", item.shape),
        ("What is the background colour of the picture?", scene.ground),
        ("What colour is the largest shape?", largest.colour),
        (f"Is there a {absent} shape in the image?", "no"),
        (f"Is there a {item.colour} shape in the image?", "yes"),
        (
            f"Is the {item.colour} {item.shape} in the left or the right half?",
            _half_name(item.x, scene.width, "left right"),
        ),
        (
            f"Is the {item.colour} {item.shape} in the top or the bottom half?",
            _half_name(item.y, scene.height, "top bottom"),
        ),
    ]
    chosen.shuffle(pool)
    return pool


def make_captions(chosen: random.Random, scene: Scene) -> list[tuple[str, str]]:
    """Five captions of about ten words, under one prompt."""
    item = chosen.choice(scene.things)
    largest = max(scene.things, key=lambda thing: thing.half)
    listed = " and ".join(f"a {thing.colour} {thing.shape}" for thing in scene.things[:2])
    count = ("one shape", "two shapes", "three shapes", "four shapes", "five shapes")[len(scene.things) - 1]
    where = f"{_half_name(item.y, scene.height, 'top bottom')} {_half_name(item.x, scene.width, 'left right')}"
    texts = [
        f"There are {count} in the image, with {listed} on {scene.ground}.",
        f"{listed[0].upper()}{listed[1:]} on a {scene.ground} background.",
        f"An image of {count}, the largest of which is a {largest.colour} {largest.shape}.",
        f"In the {where} of the image there is a {item.colour} {item.shape}.",
        f"A {largest.colour} {largest.shape} is the largest of {count} on a {scene.ground} background.",
    ]
    chosen.shuffle(texts)
    return [(CAPTION_PROMPT, text) for text in texts]


KINDS = {
    kind.key: kind
    for kind in (
        DataKind("vqa", "5 questions per image (VQAv2-like)", 5, 10, make_questions),
        DataKind("captions", "5 captions per image, one prompt (COCO-like)", 5, 10, make_captions),
        DataKind("single", "1 question per image", 1, 8, make_questions),
    )
}


def make_rows(folder: Path, kind: DataKind, steps: int, seed: int = 0, side: int | None = None) -> Path:
    """Write images and `rows.jsonl` with the rows of `steps` optimizer steps, in random order; returns the file.

    What is there already stays: everyone reads the same files. With `side` all images are squares of so many pixels.
    """
    file = folder / "rows.jsonl"
    if file.exists():
        return file
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows: list[QuestionRow] = []
    for number in range(steps * kind.per_step // kind.per_image):
        chosen = random.Random(seed * 1_000_003 + number)
        path = images / f"{number:05d}.jpg"
        scene = _draw_scene(chosen, path, side)
        rows += [QuestionRow(text, str(path), answer) for text, answer in kind.pairs(chosen, scene)[: kind.per_image]]
    random.Random(seed).shuffle(rows)
    file.write_text(
        "".join(json.dumps({"text": r.text, "image": r.image, "response": r.response}) + "\n" for r in rows)
    )
    return file


def read_rows(file: Path) -> Sequence[QuestionRow]:
    """The rows of a file of `make_rows`."""
    return [QuestionRow(**json.loads(line)) for line in file.read_text().splitlines()]


def _half_name(at: int, size: int, words: str) -> str:
    return words.split()[0 if at < size / 2 else 1]


def _draw_scene(chosen: random.Random, path: Path, side: int | None) -> Scene:
    width, height = (side, side) if side else (chosen.randrange(224, 513, 4), chosen.randrange(224, 513, 4))
    ground = chosen.choice(list(BACKGROUNDS))
    # Not Pillow's own noise, which is another one at every call.
    grain = Image.frombytes("L", (width, height), chosen.randbytes(width * height))
    noise = grain.point(lambda value: 88 + value * 80 // 255).convert("RGB")
    image = Image.blend(Image.new("RGB", (width, height), BACKGROUNDS[ground]), noise, 0.15)
    if chosen.random() < 0.5:  # a gradient makes the JPEG less trivial
        image = Image.blend(image, Image.linear_gradient("L").resize((width, height)).convert("RGB"), 0.2)
    pen = ImageDraw.Draw(image)
    things = []
    for colour in chosen.sample(list(COLORS), chosen.randint(1, 5)):
        shape = chosen.choice(SHAPES)
        half = chosen.randint(min(width, height) // 10, min(width, height) // 5)
        thing = SceneShape(shape, colour, chosen.randint(half, width - half), chosen.randint(half, height - half), half)
        _draw_shape(pen, thing)
        things.append(thing)
    image.filter(ImageFilter.GaussianBlur(0.6)).save(path, quality=90)
    return Scene(width, height, ground, tuple(things))


def _draw_shape(pen: ImageDraw.ImageDraw, thing: SceneShape) -> None:
    x, y, half, fill = thing.x, thing.y, thing.half, COLORS[thing.colour]
    if thing.shape == "triangle":
        pen.polygon([(x, y - half), (x - half, y + half), (x + half, y + half)], fill=fill)
    elif thing.shape == "circle":
        pen.ellipse((x - half, y - half, x + half, y + half), fill=fill)
    else:
        pen.rectangle((x - half, y - half, x + half, y + half), fill=fill)
