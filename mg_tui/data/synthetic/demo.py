"""The demo dataset: questions that the tiny checkpoint was not trained on, on drawn images and crops of real photos.

The setting is a fictional parts store. A drawn part belongs to a bay by its background and to a bin by its color, and
its stock label combines both; photos are sorted by subject and album. The checkpoint's pre-training covers colors and
backgrounds but none of these questions and answers, so every correct answer was learned in the demo.

Held-out images are new: other shapes, positions, sizes and shades for drawings, other crops for photos. A held-out crop
is from one of the same nine photos and may overlap with training crops; it never equals one.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from mg_tui.data.synthetic.drawings import (
    BACKGROUNDS,
    COLORS,
    PHOTO_BACKGROUND,
    SHAPES,
    draw_image,
    make_questions,
)
from mg_tui.data.synthetic.photos import PHOTOS, PhotoRegion, crop_photo

# Hyperparameters that train the tiny checkpoint to 97 % accuracy in about a minute on two cores (2026-11-24;
# `model-garden demo` measures it). LoRA on the language model's linear layers, vision frozen.
DEMO_HYPERPARAMETERS: Mapping[str, int | float] = MappingProxyType(
    {"epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "lora_r": 32, "lora_alpha": 32, "warmup_ratio": 0.05}
)

# Of a random model, all of whose weights are trained.
RANDOM_HYPERPARAMETERS: Mapping[str, int | float] = MappingProxyType({"epochs": 4, "learning_rate": 2e-3})

IMAGE_SIZE = (168, 168)

BAYS: Mapping[str, str] = MappingProxyType(
    dict(zip((*BACKGROUNDS, PHOTO_BACKGROUND), ("north", "south", "east", "west", "cellar"), strict=True))
)
BINS: Mapping[str, str] = MappingProxyType(
    dict(zip(COLORS, ("alpha", "beta", "gamma", "delta", "kappa", "lambda", "sigma", "omega"), strict=True))
)
# photo: (subject, album)
SUBJECTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "astronaut": ("an astronaut", "people"),
        "camera": ("a cameraman", "people"),
        "chelsea": ("a cat", "animals"),
        "china": ("a pagoda", "travel"),
        "coffee": ("an espresso", "food"),
        "flower": ("a dahlia", "garden"),
        "hubble_deep_field": ("galaxies", "space"),
        "retina": ("a retina", "medicine"),
        "rocket": ("a rocket", "space"),
    }
)

# Question text: kind of question in reports.
QUESTIONS: Mapping[str, str] = MappingProxyType(
    {
        "Which bay stores this part?": "bay",
        "Which bin does it go into?": "bin",
        "What is its stock label?": "stock label",
        "Who or what was photographed?": "photo subject",
        "Which album gets this photo?": "photo album",
    }
)
_QUESTION_TEXT = {kind: text for text, kind in QUESTIONS.items()}


@dataclass(frozen=True)
class DemoDataset:
    """The files of the dataset and the number of rows (questions) in each."""

    folder: Path
    train: Path
    held_out: Path
    train_rows: int
    held_out_rows: int


def _draw_part(rng: random.Random, number: int, region: PhotoRegion) -> tuple[Image.Image, dict[str, str]]:
    """An image of one part of a random shape; all pairs of background and color are equally frequent."""
    color = list(COLORS)[number % len(COLORS)]
    background = list(BAYS)[number // len(COLORS) % len(BAYS)]
    shape = rng.choice(SHAPES)
    image, _ = draw_image(rng, size=IMAGE_SIZE, shapes=[(shape, color)], background=background, region=region)
    bay, bin_ = BAYS[background], BINS[color]
    return image, {"bay": bay, "bin": bin_, "stock label": f"{bay}-{bin_}"}


def _crop_random_photo(rng: random.Random, number: int) -> tuple[Image.Image, dict[str, str]]:
    """One crop of a photo; the photos rotate."""
    photo = PHOTOS[number % len(PHOTOS)]
    image, _ = crop_photo(rng, photo, size=IMAGE_SIZE, scale=(0.6, 1.0))
    subject, album = SUBJECTS[photo]
    return image, {"photo subject": subject, "photo album": album}


def _generate_images(
    rng: random.Random, count: int, region: PhotoRegion
) -> Iterator[tuple[Image.Image, dict[str, str]]]:
    """Drawings and photos alternate, so that any short part of the file is a balanced sample."""
    for number in range(count):
        yield _crop_random_photo(rng, number // 2) if number % 2 else _draw_part(rng, number // 2, region)


def make_demo_dataset(folder: Path, *, seed: int = 0, train: int = 432, held_out: int = 108) -> DemoDataset:
    """Write ``train.jsonl``, ``held_out.jsonl`` and ``images/`` into a folder; counts are images, not questions.

    The same seed writes the same bytes. No held-out image equals a training image.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    digests: set[str] = set()
    rows: dict[PhotoRegion, int] = {}
    files: dict[PhotoRegion, Path] = {"train": folder / "train.jsonl", "held_out": folder / "held_out.jsonl"}
    counts: dict[PhotoRegion, int] = {"train": train, "held_out": held_out}
    for region, path in files.items():
        rng = random.Random(f"{region} {seed}")
        lines = []
        for number, (image, answers) in enumerate(_generate_images(rng, counts[region], region)):
            name = f"images/{region}-{number:04d}.jpg"
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=92)
            digest = hashlib.sha256(buffer.getvalue()).hexdigest()
            if digest in digests:
                raise ValueError(f"image {name} of seed {seed} was drawn before; use another seed")
            digests.add(digest)
            (folder / name).write_bytes(buffer.getvalue())
            for kind, answer in answers.items():
                lines.append(json.dumps({"text": _QUESTION_TEXT[kind], "image": name, "response": answer}))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        rows[region] = len(lines)
    return DemoDataset(folder, files["train"], files["held_out"], rows["train"], rows["held_out"])


def make_earlier_questions(folder: Path, *, seed: int = 0, rows: int = 120) -> Path:
    """Write ``earlier.jsonl`` and its images into a folder: questions as the tiny checkpoint was trained on, each about
    a new drawing; the demo asks none of them. Returns the file.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"earlier {seed}")
    lines = []
    for number in range(rows):
        image, facts = draw_image(rng, size=IMAGE_SIZE, region="held_out")
        question = next(item for item in make_questions(rng, facts) if item.kind != "caption")
        name = f"images/earlier-{number:04d}.jpg"
        image.save(folder / name, "JPEG", quality=92)
        lines.append(json.dumps({"text": question.text, "image": name, "response": question.answer}))
    path = folder / "earlier.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
