"""Drawn images: the same seed draws the same, and the facts are what the pixels show."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mg_tui.data.synthetic import photos
from mg_tui.data.synthetic.drawings import (
    BACKGROUNDS,
    COLORS,
    NUMBER_WORDS,
    SHAPES,
    DrawingFacts,
    draw_image,
    make_caption,
    make_questions,
    quadrant_name,
)
from mg_tui.data.synthetic.photos import PHOTOS, PhotoRegion, crop_photo, load_photo, name_color, photo_region


def generate_images(count: int = 60) -> Iterator[tuple[Image.Image, DrawingFacts]]:
    for seed in range(count):
        yield draw_image(random.Random(seed))


def color_distance(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def pixel(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    result = image.getpixel((int(x), int(y)))
    assert isinstance(result, tuple)
    return result


def test_same_seed_same_image_and_questions() -> None:
    first, second = random.Random(5), random.Random(5)
    (a, facts_a), (b, facts_b) = draw_image(first), draw_image(second)
    assert a.tobytes() == b.tobytes()
    assert facts_a == facts_b
    assert make_questions(first, facts_a) == make_questions(second, facts_b)
    assert draw_image(random.Random(6))[0].tobytes() != a.tobytes()


def test_the_centre_of_each_shape_has_its_colour() -> None:
    for image, facts in generate_images():
        for shape in facts.shapes:
            assert color_distance(pixel(image, shape.x, shape.y), COLORS[shape.color]) <= 20, shape


def test_a_plain_background_is_seen_where_no_shape_is() -> None:
    for image, facts in generate_images():
        if facts.background not in BACKGROUNDS:
            continue
        assert len(image.getcolors(image.width * image.height) or ()) > 1
        free = [
            (x, y)
            for x in range(0, facts.width, 8)
            for y in range(0, facts.height, 8)
            if all((x - s.x) ** 2 + (y - s.y) ** 2 > (s.radius * 1.3 + 3) ** 2 for s in facts.shapes)
        ]
        assert free
        assert all(color_distance(pixel(image, x, y), BACKGROUNDS[facts.background]) <= 10 for x, y in free)


def test_shapes_stay_inside_and_apart() -> None:
    for _, facts in generate_images():
        assert list(facts.shapes) == sorted(facts.shapes, key=lambda s: s.x)
        for i, s in enumerate(facts.shapes):
            assert s.radius <= s.x <= facts.width - s.radius
            assert s.radius <= s.y <= facts.height - s.radius
            for other in facts.shapes[i + 1 :]:
                assert (s.x - other.x) ** 2 + (s.y - other.y) ** 2 > (s.radius + other.radius) ** 2


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_drawn_on_every_background(shape: str) -> None:
    for background in (*BACKGROUNDS, "photo"):
        image, facts = draw_image(random.Random(1), size=(140, 84), shapes=[(shape, "blue")], background=background)
        assert image.size == (140, 84)
        assert (facts.background, facts.shapes[0].kind) == (background, shape)


def test_an_unknown_shape_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'hexagon'.*circle, square"):
        draw_image(random.Random(0), shapes=[("hexagon", "red")])


def test_answers_follow_from_the_facts() -> None:
    for seed, (_, facts) in enumerate(generate_images()):
        questions = {question.kind: question for question in make_questions(random.Random(seed), facts)}
        assert questions["count"].answer == NUMBER_WORDS[len(facts.shapes)]
        assert questions["caption"].answer == make_caption(facts)
        name = questions["presence"].text.removeprefix("Is there ").rstrip("?").split(" ", 1)[1]
        assert questions["presence"].answer == ("yes" if name in [s.name for s in facts.shapes] else "no")
        if "largest" in questions:
            assert questions["largest"].answer == max(facts.shapes, key=lambda s: s.radius).name
        if "place" in questions and len(facts.shapes) == 1:
            assert questions["place"].answer == quadrant_name(facts.shapes[0], facts)


def test_captions_read_well() -> None:
    _, facts = draw_image(random.Random(0), shapes=[("cross", "orange"), ("cross", "orange")], background="white")
    assert make_caption(facts) == "Two orange crosses on a white background."
    _, facts = draw_image(random.Random(0), shapes=[("star", "orange")], background="photo")
    assert make_caption(facts) == "An orange star in front of a photo."


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("region", ["train", "held_out"])
def test_crops_stay_in_their_region(photo: str, region: PhotoRegion) -> None:
    left, top, right, bottom = photo_region(photo, region)
    width, height = load_photo(photo).size
    for seed in range(20):
        image, facts = crop_photo(random.Random(seed), photo, region=region, size=(112, 84))
        x0, y0, x1, y1 = facts.box
        assert image.size == (112, 84)
        assert left * width <= x0 < x1 <= right * width
        assert top * height <= y0 < y1 <= bottom * height
        assert len(make_questions(random.Random(seed), facts)) == 5


def test_colours_are_named_as_people_name_them() -> None:
    for name, rgb in {**COLORS, **BACKGROUNDS}.items():
        if name not in ("pink", "brown"):
            assert name_color(rgb) == name
    assert name_color((125, 85, 55)) == "brown"


def test_the_photos_are_small_and_attributed() -> None:
    folder = Path(photos.__file__).parent
    files = sorted(folder.glob("*.jpg"))
    text = (folder / "ATTRIBUTION.md").read_text()
    assert [file.stem for file in files] == sorted(PHOTOS)
    assert all(f"`{file.name}`" in text for file in files)
    assert sum(file.stat().st_size for file in files) <= 500_000
