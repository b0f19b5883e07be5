"""A small synthetic dataset ready for training: drawn images beside a JSON Lines file in the guide's format.

Everything is written to a staging folder and moved into place at the end, the dataset last: where the dataset exists,
its images do too.
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
from mg_tui.data.dataset_writer import output_exists_error, require_output_free
from mg_tui.data.row_problems import safe_line

MAX_EXAMPLES: Final = 100_000
_IMAGE_NAME: Final = re.compile(r"\d{4,6}\.png")
_IMAGE_SIZE: Final = (224, 224)


@dataclass(frozen=True, slots=True)
class SyntheticDataset:
    """The written dataset: its file, the folder of its images, and the number of rows."""

    dataset: Path
    images: Path
    examples: int


def create_vision_dataset(
    output: Path, num_examples: int = 10, *, force: bool = False, seed: int = 0
) -> SyntheticDataset:
    """Write `output` and, beside it, `<stem>_images/` with one drawn image for each row.

    Args:
        output: the dataset file to write; its folder is created if needed.
        num_examples: rows.
        force: overwrite a dataset written earlier by this function.
        seed: the same seed gives the same images and questions.

    Raises:
        UsageError: the output exists, or the number is out of bounds.
        EnvironmentProblem: the files cannot be written.
    """
    if not 1 <= num_examples <= MAX_EXAMPLES:
        raise UsageError(f"cannot create {num_examples:,} examples", hint=f"give 1 to {MAX_EXAMPLES:,}")
    output = expand_user(output).absolute()
    images = output.with_name(f"{output.stem}_images")
    _require_outputs_free(output, images, force=force)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{output.stem}-", dir=output.parent))
        try:
            _write_files(staging, images.name, num_examples, seed)
            _move_into_place(staging, output, images)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        where = safe_line(str(error.filename or output))
        raise EnvironmentProblem("cannot write the sample", where=where, why=error.strerror) from None
    return SyntheticDataset(output, images, num_examples)


def _require_outputs_free(output: Path, images: Path, *, force: bool) -> None:
    require_output_free(output, force=force)
    if not (images.exists() or images.is_symlink()):
        return
    if not force:
        raise output_exists_error(images, "the image folder")
    if images.is_symlink() or not images.is_dir() or not all(_IMAGE_NAME.fullmatch(p.name) for p in images.iterdir()):
        raise UsageError(
            "the image folder contains other files and is not overwritten",
            where=safe_line(str(images)),
            hint="choose another name for the output",
        )


def _write_files(staging: Path, images_name: str, num_examples: int, seed: int) -> None:
    from mg_tui.data.synthetic.drawings import draw_image, make_questions

    folder = staging / "images"
    folder.mkdir()
    rng = random.Random(seed)
    with (staging / "dataset").open("w", encoding="utf-8", newline="\n") as file:
        for number in range(1, num_examples + 1):
            image, facts = draw_image(rng, size=_IMAGE_SIZE)
            question = make_questions(rng, facts)[0]
            name = f"{number:04d}.png"
            image.save(folder / name)
            row = {"text": question.text, "image": f"{images_name}/{name}", "response": question.sentence}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(staging: Path, output: Path, images: Path) -> None:
    previous = staging / "replaced"
    if images.exists():
        images.rename(previous)
    try:
        (staging / "images").rename(images)
        (staging / "dataset").replace(output)
    except OSError:
        if images.exists():
            images.rename(staging / "images")
        if previous.exists():
            previous.rename(images)
        raise
