"""Drawn images with known contents, and questions about them with known answers.

Every image is drawn with a seeded ``random.Random``: the same seed gives the same pixels on every machine with the same
version of Pillow. An image is returned together with its facts, and questions are made from the facts alone.

Depends on Pillow and the standard library only: the dashboard and the CLI use this module without torch.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from mg_tui.data.synthetic.photos import PHOTOS, PhotoFacts, PhotoRegion, crop_photo

RGB = tuple[int, int, int]

COLORS: dict[str, RGB] = {
    "red": (215, 35, 40),
    "green": (35, 160, 60),
    "blue": (35, 70, 215),
    "yellow": (240, 215, 45),
    "purple": (140, 45, 170),
    "orange": (240, 130, 25),
    "cyan": (40, 200, 215),
    "black": (20, 20, 20),
}
BACKGROUNDS: dict[str, RGB] = {
    "white": (246, 246, 246),
    "grey": (150, 150, 150),
    "pink": (245, 185, 200),
    "brown": (125, 85, 55),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "diamond")
NUMBER_WORDS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five")
PHOTO_BACKGROUND = "photo"


@dataclass(frozen=True)
class Shape:
    """One drawn shape: kind, color, center and radius in pixels."""

    kind: str
    color: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        """Color and kind, e.g. "red circle"."""
        return f"{self.color} {self.kind}"


@dataclass(frozen=True)
class DrawingFacts:
    """The contents of a drawn image; shapes from left to right."""

    width: int
    height: int
    background: str
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class VisualQuestion:
    """A question about an image, its short answer, and the same answer as a sentence."""

    kind: str
    text: str
    answer: str
    sentence: str


CORNERS: tuple[str, ...] = ("top left", "top right", "bottom left", "bottom right")


def _outline(shape: Shape) -> list[tuple[float, float]]:
    """The corners of a shape that is not a circle."""
    x, y, r = shape.x, shape.y, shape.radius
    if shape.kind == "square":
        s = r * 0.86
        return [(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)]
    if shape.kind == "diamond":
        return [(x, y - r), (x + r * 0.72, y), (x, y + r), (x - r * 0.72, y)]
    if shape.kind == "triangle":
        return [(x, y - r), (x + r * 0.95, y + r * 0.8), (x - r * 0.95, y + r * 0.8)]
    if shape.kind == "cross":
        w = r * 0.34
        arm = [(-w, -w), (-w, -r), (w, -r)]  # one of four; the others are its rotations by 90 degrees
        ring = arm + [(-dy, dx) for dx, dy in arm] + [(-dx, -dy) for dx, dy in arm] + [(dy, -dx) for dx, dy in arm]
        return [(x + dx, y + dy) for dx, dy in ring]
    if shape.kind == "star":
        points = []
        for i in range(10):
            reach = r if i % 2 == 0 else r * 0.45
            angle = math.pi * (i / 5 - 0.5)
            points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
        return points
    raise ValueError(f"no shape {shape.kind!r}; there are: {', '.join(SHAPES)}")


def _jitter(rng: random.Random, rgb: RGB, spread: int = 14) -> RGB:
    r, g, b = (max(0, min(255, channel + rng.randint(-spread, spread))) for channel in rgb)
    return r, g, b


def _place_shapes(rng: random.Random, count: int, width: int, height: int) -> list[tuple[float, float, float]]:
    """(x, y, radius) of shapes that touch neither each other nor the edge."""
    short = min(width, height)
    largest = (0.42, 0.3, 0.25, 0.22, 0.2)[min(count, 5) - 1]
    while True:
        placed: list[tuple[float, float, float]] = []
        for _ in range(count * 40):
            radius = short * rng.uniform(0.15, largest)
            x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
            if all(math.dist((x, y), other[:2]) > radius + other[2] + short * 0.03 for other in placed):
                placed.append((x, y, radius))
            if len(placed) == count:
                return placed


def draw_image(
    rng: random.Random,
    *,
    size: tuple[int, int] = (112, 112),
    shapes: Sequence[tuple[str, str]] | None = None,
    background: str | None = None,
    region: PhotoRegion = "train",
) -> tuple[Image.Image, DrawingFacts]:
    """Draw an image and return it with its facts.

    ``shapes`` are (kind, color) pairs, by default one to five at random; ``background`` is a key of BACKGROUNDS or
    "photo" (a crop of ``region`` of a real photo), by default one of them at random.
    """
    if shapes is None:
        count = rng.choice((1, 1, 2, 2, 3, 3, 4, 5))
        kinds = rng.sample(SHAPES, min(len(SHAPES), rng.randint(1, 3)))
        shapes = [(rng.choice(kinds), rng.choice(list(COLORS))) for _ in range(count)]
    if background is None:
        background = rng.choice((*BACKGROUNDS, PHOTO_BACKGROUND))
    width, height = size
    factor = 2  # drawn larger and downscaled: Pillow draws without anti-aliasing
    if background == PHOTO_BACKGROUND:
        crop, _ = crop_photo(rng, rng.choice(PHOTOS), region=region, size=size)
        canvas = crop.resize((width * factor, height * factor), Image.Resampling.BILINEAR)
    else:
        canvas = Image.new("RGB", (width * factor, height * factor), _jitter(rng, BACKGROUNDS[background], 8))
    pen = ImageDraw.Draw(canvas)
    drawn = []
    for (kind, color), (x, y, radius) in zip(shapes, _place_shapes(rng, len(shapes), width, height), strict=True):
        shape = Shape(kind, color, x, y, radius)
        fill = _jitter(rng, COLORS[color])
        # On a photo a shape needs an outline to be visible on any background.
        edge = (255, 255, 255) if background == PHOTO_BACKGROUND else None
        if kind == "circle":
            box = [(v * factor) for v in (x - radius, y - radius, x + radius, y + radius)]
            pen.ellipse(box, fill=fill, outline=edge, width=factor)
        else:
            ring = [(px * factor, py * factor) for px, py in _outline(shape)]
            pen.polygon(ring, fill=fill, outline=edge, width=factor)
        drawn.append(shape)
    drawn.sort(key=lambda shape: shape.x)
    return canvas.reduce(factor), DrawingFacts(width, height, background, tuple(drawn))


def quadrant_name(shape: Shape, facts: DrawingFacts) -> str | None:
    """The quadrant of the image that a shape lies in, or None where it is ambiguous."""
    dx, dy = shape.x / facts.width - 0.5, shape.y / facts.height - 0.5
    if min(abs(dx), abs(dy)) < 0.1:
        return None
    return f"{'top' if dy < 0 else 'bottom'} {'left' if dx < 0 else 'right'}"


def _count_phrase(count: int, name: str) -> str:
    if count > 1:
        return f"{NUMBER_WORDS[count]} {name}{'es' if name.endswith('s') else 's'}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def make_caption(facts: DrawingFacts) -> str:
    """One sentence naming every shape, from left to right, and the background."""
    counts = Counter(shape.name for shape in facts.shapes)  # keeps the order of first appearance
    parts = [_count_phrase(count, name) for name, count in counts.items()]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    back = "in front of a photo" if facts.background == PHOTO_BACKGROUND else f"on a {facts.background} background"
    return f"{listed[0].upper()}{listed[1:]} {back}."


def _make_question(kind: str, text: str, answer: str, sentence: str) -> VisualQuestion:
    return VisualQuestion(kind, text, answer, sentence[0].upper() + sentence[1:] + ".")


def make_questions(rng: random.Random, facts: DrawingFacts | PhotoFacts) -> list[VisualQuestion]:
    """Every kind of question that has one unambiguous answer for this image, at most one per kind, in random order."""
    if isinstance(facts, PhotoFacts):
        questions = _make_photo_questions(rng, facts)
    else:
        questions = _make_drawing_questions(rng, facts)
    rng.shuffle(questions)
    return questions


def _make_photo_questions(rng: random.Random, facts: PhotoFacts) -> list[VisualQuestion]:
    corner = rng.randrange(4)
    where, color, main, light = CORNERS[corner], facts.corners[corner], facts.main_color, facts.brightness
    caption = f"A {'' if light == 'medium' else light + ' '}photo, mostly {main}."
    return [
        _make_question("medium", "Is this a photo or a drawing?", "photo", "this is a photo"),
        _make_question("main colour", "What is the main colour of the picture?", main, f"the main colour is {main}"),
        _make_question("brightness", "Is the picture dark, medium or bright?", light, f"the picture is {light}"),
        _make_question("corner colour", f"What colour is the {where} corner?", color, f"the {where} corner is {color}"),
        VisualQuestion("caption", "Describe the picture.", caption, caption),
    ]


def _make_drawing_questions(rng: random.Random, facts: DrawingFacts) -> list[VisualQuestion]:
    shapes = facts.shapes
    kinds, colors, names = ([getattr(s, what) for s in shapes] for what in ("kind", "color", "name"))
    total = NUMBER_WORDS[len(shapes)]
    caption = make_caption(facts)
    behind = "a photo" if facts.background == PHOTO_BACKGROUND else facts.background
    questions = [
        _make_question("medium", "Is this a photo or a drawing?", "drawing", "this is a drawing"),
        _make_question("count", "How many shapes are there?", total, f"the number of shapes is {total}"),
        _make_question("background", "What is in the background?", facts.background, f"the background is {behind}"),
        VisualQuestion("caption", "Describe the picture.", caption, caption),
    ]
    if len(shapes) == 1:
        shape, where = shapes[0], quadrant_name(shapes[0], facts)
        questions.append(_make_question("shape", "What shape is it?", shape.kind, f"the shape is a {shape.kind}"))
        questions.append(
            _make_question("colour", "What colour is the shape?", shape.color, f"the shape is {shape.color}")
        )
        if where:
            questions.append(_make_question("place", "Where is the shape?", where, f"the shape is in the {where}"))
    else:
        once = [s for s in shapes if colors.count(s.color) == 1]
        if once:
            s = rng.choice(once)
            questions.append(
                _make_question("shape", f"What shape is {s.color}?", s.kind, f"the {s.color} shape is a {s.kind}")
            )
        alone = [s for s in shapes if kinds.count(s.kind) == 1]
        if alone:
            s = rng.choice(alone)
            questions.append(
                _make_question("colour", f"What colour is the {s.kind}?", s.color, f"the {s.kind} is {s.color}")
            )
        placed = [(s, where) for s in shapes if names.count(s.name) == 1 and (where := quadrant_name(s, facts))]
        if placed:
            s, where = rng.choice(placed)
            questions.append(
                _make_question("place", f"Where is the {s.name}?", where, f"the {s.name} is in the {where}")
            )
        kind = rng.choice(SHAPES) if rng.random() < 0.3 else rng.choice(kinds)
        number = NUMBER_WORDS[kinds.count(kind)]
        plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
        questions.append(
            _make_question("count kind", f"How many {plural} are there?", number, f"the number of {plural} is {number}")
        )
        largest, second = sorted(shapes, key=lambda s: s.radius)[:-3:-1]
        if largest.radius > 1.25 * second.radius:
            name = largest.name
            questions.append(
                _make_question("largest", "What is the largest shape?", name, f"the {name} is the largest shape")
            )
    if rng.random() < 0.5:
        name, answer = rng.choice(names), "yes"
    else:
        name, answer = rng.choice([n for c in COLORS for k in SHAPES if (n := f"{c} {k}") not in names]), "no"
    article = "an" if name[0] in "aeiou" else "a"
    sentence = f"{answer}, there is {article if answer == 'yes' else 'no'} {name}"
    questions.append(_make_question("presence", f"Is there {article} {name}?", answer, sentence))
    return questions
