"""A sample dataset that trains as it stands: drawn images beside a JSON Lines file in the guide's format.

Everything is made under other names and moved into place at the end, the dataset last: where the dataset is, its
images are.
"""

import json
import os
import random
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.data.row_problems import safe_line

MAX_EXAMPLES: Final = 100_000
_IMAGE_NAME: Final = re.compile(r"\d{4,6}\.png")
_IMAGE_SIZE: Final = (224, 224)


@dataclass(frozen=True, slots=True)
class SyntheticDataset:
    """What was written: the dataset, the folder of its images, and the number of rows."""

    dataset: Path
    images: Path
    examples: int


def create_vision_dataset(
    output: Path, num_examples: int = 10, *, force: bool = False, seed: int = 0
) -> SyntheticDataset:
    """Write `output` and, beside it, `<stem>_images/` with one drawn image for each row.

    Args:
        output: the dataset file to make; its folder is made if need be.
        num_examples: rows.
        force: replace a sample made earlier.
        seed: the same seed draws the same images and asks the same questions.

    Raises:
        UsageError: something is in the way, or the number is out of bounds.
        EnvironmentProblem: nothing can be written there.
    """
    if not 1 <= num_examples <= MAX_EXAMPLES:
        raise UsageError(f"cannot create {num_examples:,} examples", hint=f"give 1 to {MAX_EXAMPLES:,}")
    output = expand_user(output).absolute()
    images = output.with_name(f"{output.stem}_images")
    _require_output_free(output, images, force=force)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        workshop = Path(tempfile.mkdtemp(prefix=f".{output.stem}-", dir=output.parent))
        try:
            _write_files(workshop, images.name, num_examples, seed)
            _move_into_place(workshop, output, images)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    except OSError as error:
        where = safe_line(str(error.filename or output))
        raise EnvironmentProblem("cannot write the sample", where=where, why=error.strerror) from None
    return SyntheticDataset(output, images, num_examples)


def _require_output_free(output: Path, images: Path, *, force: bool) -> None:
    where = safe_line(str(output))
    if output.is_dir():
        raise UsageError(
            "the output is a folder", where=where, hint=f"give a file name, e.g. {safe_line(str(output))}/sample.jsonl"
        )
    if not force and _exists(output):
        raise UsageError(
            "the output already exists", where=where, hint="choose another name, or overwrite it with --force"
        )
    if not _exists(images):
        return
    where = safe_line(str(images))
    if not force:
        raise UsageError(
            "the image folder already exists",
            where=where,
            hint="choose another name, or overwrite it with --force",
        )
    if images.is_symlink() or not images.is_dir() or not all(_IMAGE_NAME.fullmatch(p.name) for p in images.iterdir()):
        raise UsageError(
            "the image folder contains other files and is not overwritten",
            where=where,
            hint="choose another name for the output",
        )


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _write_files(workshop: Path, images_name: str, num_examples: int, seed: int) -> None:
    from mg_tui.data.synthetic.drawings import draw_image, make_questions

    folder = workshop / "images"
    folder.mkdir()
    rng = random.Random(seed)
    with (workshop / "dataset").open("w", encoding="utf-8", newline="\n") as file:
        for number in range(1, num_examples + 1):
            image, facts = draw_image(rng, size=_IMAGE_SIZE)
            question = make_questions(rng, facts)[0]
            name = f"{number:04d}.png"
            image.save(folder / name)
            row = {"text": question.text, "image": f"{images_name}/{name}", "response": question.sentence}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(workshop: Path, output: Path, images: Path) -> None:
    replaced = workshop / "replaced"
    if images.exists():
        images.rename(replaced)
    try:
        (workshop / "images").rename(images)
        (workshop / "dataset").replace(output)
    except OSError:
        if images.exists():
            images.rename(workshop / "images")
        if replaced.exists():
            replaced.rename(images)
        raise
