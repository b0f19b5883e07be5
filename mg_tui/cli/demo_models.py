"""The base model of the demo: the bundled one, or a random checkpoint of another family that is made for it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mg_tui.core.errors import UsageError
from mg_tui.core.text import closest_model, one_line, printable

if TYPE_CHECKING:
    from mg_tui.families.family import ModelFamily

TINY_MAX_PIXELS: Final = 12_544  # the largest images the tiny checkpoint was trained on
_PROGRAM: Final = "mg_tui.engine.inference.make_tiny"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """What the demo starts from.

    Attributes:
        base_model: as `--base-model` takes it.
        random: it knows nothing, so that all of it is trained.
        takes_areas: its images can be limited by their area.
    """

    base_model: str
    random: bool = False
    takes_areas: bool = True


def choose_demo_model(family: str | None, home: Path) -> DemoModel:
    """The bundled model, or one of a family: its bundled one, else a random one, made in the garden once.

    Raises:
        UsageError: there is no such family, or nothing to make a model from.
        RunFailed: it cannot be made.
    """
    if family is None:
        return DemoModel("tiny")
    chosen = _find_family(family)
    bundled = next((item.name for item in chosen.checkpoints if item.path is not None), None)
    if bundled is not None:
        return DemoModel(bundled)
    folder = _random_checkpoint(chosen, home / "demo" / "models")
    return DemoModel(str(folder), random=True, takes_areas=chosen.image_size is None)


def _find_family(key: str) -> "ModelFamily":
    from mg_tui.families.registry import INSTALL_HINT, load_registry

    known = {family.key: family for family in load_registry().families}
    if key in known and (known[key].tiny or any(item.path for item in known[key].checkpoints)):
        return known[key]
    if key in known:
        raise UsageError(
            f"there is no small model of {known[key].title} for the demo",
            why="its plugin has no recipe for a random checkpoint",
            hint="train a checkpoint of yours: model-garden train-vision --base-model FOLDER --dataset FILE",
        )
    close = closest_model(key, known)
    hint = f"did you mean {close}?" if close else f"installed: {', '.join(known)}" if known else INSTALL_HINT
    raise UsageError(f"there is no model family {printable(one_line(key, limit=60))!r}", hint=hint)


def _random_checkpoint(family: "ModelFamily", models: Path) -> Path:
    """Make it in a process with torch; another recipe is another folder."""
    from mg_tui.runs.engine_process import EngineProcess

    recipe = hashlib.sha256(repr(family.tiny).encode()).hexdigest()[:8]
    folder = models / f"{family.key}-{recipe}"
    models.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        click.echo(f"making a random {family.title} at a small size: it knows nothing before it is trained", err=True)
    with EngineProcess(_PROGRAM) as process:
        *_notices, made = process.stream("make", family=family.key, folder=str(folder))
    click.echo(f"{made['parameters']:,} parameters: {folder}", err=True)
    return folder
