"""`model-garden datasets split`, `sample` and `concat`: new datasets out of others."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.datasets_common import open_given, reading_option, spec_for, telling
from mg_tui.cli.spec_flags import SpecCommand, spec_flags
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.checking import Reading
    from mg_tui.data.draw import Written
    from mg_tui.data.sources.base import Source

_seed = click.option(
    "--seed", type=click.IntRange(min=0), default=42, show_default=True, help="The same seed chooses the same rows."
)
_force = click.option("--force", is_flag=True, help="Replace files that are there.")
_json = click.option("--json", "as_json", is_flag=True, help="Print a record of what was written.")
_path = click.Path(path_type=Path)


@spec_flags(TrainingSpec, only=reading_option)
@click.command("split", cls=SpecCommand)
@click.argument("file")
@click.option(
    "--share", type=float, default=0.1, show_default=True, help="Share of the rows to part off for evaluation."
)
@click.option("--train", "train", type=_path, help="File for the rows to train on.  [default: FILE's name -train]")
@click.option("--eval", "evaluation", type=_path, help="File for the others.  [default: FILE's name -eval]")
@_seed
@_force
@_json
@click.pass_obj
def split(
    settings: Settings,
    /,
    file: str,
    share: float,
    train: Path | None,
    evaluation: Path | None,
    seed: int,
    force: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Part rows of FILE off for evaluation, so that no picture is on both sides.

    Rows that show a common picture, directly or through a third, stay together. FILE is never changed.
    """
    from mg_tui.data.draw import split as part_off

    if not 0 < share < 1:
        raise UsageError(f"--share {share:g} is no share", hint="give a number between 0 and 1, e.g. --share 0.1")
    source, reading = _open(settings, file, values)
    train = train or _beside(source, "train")
    evaluation = evaluation or _beside(source, "eval")
    with telling("splitting") as tell:
        kept, parted = part_off(source, reading, train, evaluation, share=share, seed=seed, force=force, progress=tell)
    if as_json:
        click.echo(json.dumps({"train": _record(kept), "eval": _record(parted)}))
    _say(kept)
    _say(parted)


@spec_flags(TrainingSpec, only=reading_option)
@click.command("sample", cls=SpecCommand)
@click.argument("file")
@click.argument("out", type=_path)
@click.option("--count", type=click.IntRange(min=1), help="How many rows.")
@click.option("--share", type=float, help="Which share of the rows.")
@_seed
@_force
@_json
@click.pass_obj
def sample(
    settings: Settings,
    /,
    file: str,
    out: Path,
    count: int | None,
    share: float | None,
    seed: int,
    force: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Draw rows of FILE at random and write them to OUT, in FILE's order."""
    from mg_tui.data.draw import sample as draw

    if (count is None) == (share is None):
        raise UsageError("say how many rows", hint="give one of --count 1000 and --share 0.1")
    source, reading = _open(settings, file, values)
    with telling("drawing") as tell:
        written = draw(source, reading, out, count=count, share=share, seed=seed, force=force, progress=tell)
    if as_json:
        click.echo(json.dumps(_record(written)))
    _say(written)


@spec_flags(TrainingSpec, only=reading_option)
@click.command("concat", cls=SpecCommand)
@click.argument("out", type=_path)
@click.argument("datasets", nargs=-1, required=True)
@_seed
@_force
@_json
@click.pass_obj
def concat(
    settings: Settings,
    /,
    out: Path,
    datasets: tuple[str, ...],
    seed: int,
    force: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Put DATASETS into OUT, each with a weight: `concat mix.jsonl photos.jsonl:2 charts.jsonl:0.5`.

    A weight of 2 puts every row in twice, 0.5 a random half of them; 1 when left out. A run on OUT trains on the
    mixture.
    """
    from mg_tui.data.draw import Part, parse_part
    from mg_tui.data.draw import concat as put_together

    parts = []
    for text in datasets:
        name, weight = parse_part(text) if not Path(text).exists() else (text, 1.0)
        parts.append(Part(*_open(settings, name, values), weight))
    with telling("writing") as tell:
        written = put_together(parts, out, seed=seed, force=force, progress=tell)
    if as_json:
        click.echo(json.dumps(_record(written)))
    _say(written)


def _open(settings: Settings, file: str, values: dict[str, Any]) -> "tuple[Source, Reading]":
    return open_given(settings, spec_for(settings, file, None, values))


def _beside(source: "Source", which: str) -> Path:
    """A name for a new file beside the dataset; in the working folder for one that is no file."""
    if source.path is None or source.path.is_dir():
        return Path(f"{Path(source.name.rstrip('/')).name or 'dataset'}-{which}.jsonl")
    name = source.path.name.removesuffix(".gz").removesuffix(".zst")
    return source.path.with_name(f"{Path(name).stem}-{which}.jsonl")


def _record(written: "Written") -> dict[str, Any]:
    return {"dataset": str(written.path), "rows": written.rows, "lost": written.lost}


def _say(written: "Written") -> None:
    from mg_tui.core.text import one_line

    click.echo(one_line(f"wrote {written.rows:,} row{'s' if written.rows != 1 else ''} to {written.path}"), err=True)
    if written.lost:
        click.echo(f"{written.lost:,} rows are not there: they are damaged, or no conversations", err=True)
