"""`model-garden datasets split`, `sample` and `concat`: write subsets and mixtures of datasets."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.datasets.common import dataset_spec, is_reader_option, open_and_remember
from mg_tui.cli.progress import progress_bar
from mg_tui.cli.spec_flags import SpecCommand, spec_flags
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import pluralize

if TYPE_CHECKING:
    from mg_tui.data.row_loader import ReadOptions
    from mg_tui.data.sources.base import Source
    from mg_tui.data.subset import WrittenDataset

_SEED_OPTION = click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Random seed.")
_FORCE_OPTION = click.option("--force", is_flag=True, help="Overwrite existing files.")
_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_PATH = click.Path(path_type=Path)


@spec_flags(TrainingSpec, only=is_reader_option)
@click.command("split", cls=SpecCommand)
@click.argument("file")
@click.option("--share", type=float, default=0.1, show_default=True, help="Fraction of rows for evaluation.")
@click.option("--train", "train", type=_PATH, help="Training file. [default: FILE-train]")
@click.option("--eval", "evaluation", type=_PATH, help="Evaluation file. [default: FILE-eval]")
@_SEED_OPTION
@_FORCE_OPTION
@_JSON_OPTION
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
    """Split FILE into a training and an evaluation set without shared images.

    Rows that share an image, directly or transitively, stay together. FILE is never modified.
    """
    from mg_tui.data.subset import split_dataset

    if not 0 < share < 1:
        raise UsageError(f"--share {share:g} is not between 0 and 1", hint="e.g. --share 0.1")
    source, options = _open_dataset(settings, file, values)
    train = train or _default_output(source, "train")
    evaluation = evaluation or _default_output(source, "eval")
    with progress_bar("splitting") as progress:
        subsets = split_dataset(
            source, options, train, evaluation, share=share, seed=seed, force=force, progress=progress
        )
    if as_json:
        click.echo(json.dumps(dict(zip(("train", "eval"), map(_subset_record, subsets), strict=True))))
    for subset in subsets:
        _print_subset(subset)


@spec_flags(TrainingSpec, only=is_reader_option)
@click.command("sample", cls=SpecCommand)
@click.argument("file")
@click.argument("out", type=_PATH)
@click.option("--count", type=click.IntRange(min=1), help="Number of rows.")
@click.option("--share", type=float, help="Fraction of the rows.")
@_SEED_OPTION
@_FORCE_OPTION
@_JSON_OPTION
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
    """Sample rows of FILE at random and write them to OUT, in their original order."""
    from mg_tui.data.subset import sample_dataset

    if (count is None) == (share is None):
        raise UsageError("missing number of rows", hint="give either --count 1000 or --share 0.1")
    source, options = _open_dataset(settings, file, values)
    with progress_bar("sampling") as progress:
        written = sample_dataset(
            source, options, out, count=count, share=share, seed=seed, force=force, progress=progress
        )
    if as_json:
        click.echo(json.dumps(_subset_record(written)))
    _print_subset(written)


@spec_flags(TrainingSpec, only=is_reader_option)
@click.command("concat", cls=SpecCommand)
@click.argument("out", type=_PATH)
@click.argument("datasets", nargs=-1, required=True)
@_SEED_OPTION
@_FORCE_OPTION
@_JSON_OPTION
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
    """Concatenate DATASETS into OUT, each with a weight: `concat mix.jsonl photos.jsonl:2 charts.jsonl:0.5`.

    A weight of 2 repeats every row twice, 0.5 takes a random half; the default is 1.
    """
    from mg_tui.core.dataset_parts import parse_weighted_path
    from mg_tui.data.subset import WeightedSource, concat_datasets

    sources = []
    for text in datasets:
        name, weight = parse_weighted_path(text) if not Path(text).exists() else (text, 1.0)
        sources.append(WeightedSource(*_open_dataset(settings, name, values), weight))
    with progress_bar("writing") as progress:
        written = concat_datasets(sources, out, seed=seed, force=force, progress=progress)
    if as_json:
        click.echo(json.dumps(_subset_record(written)))
    _print_subset(written)


def _open_dataset(settings: Settings, file: str, values: dict[str, Any]) -> "tuple[Source, ReadOptions]":
    return open_and_remember(settings, dataset_spec(settings, file, None, values))


def _default_output(source: "Source", suffix: str) -> Path:
    """FILE-suffix.jsonl next to the dataset, or in the working directory for a folder or a Hub dataset."""
    if source.path is None or source.path.is_dir():
        return Path(f"{Path(source.name.rstrip('/')).name or 'dataset'}-{suffix}.jsonl")
    name = source.path.name.removesuffix(".gz").removesuffix(".zst")
    return source.path.with_name(f"{Path(name).stem}-{suffix}.jsonl")


def _subset_record(written: "WrittenDataset") -> dict[str, Any]:
    return {"dataset": str(written.path), "rows": written.rows, "lost": written.unwritable_rows}


def _print_subset(written: "WrittenDataset") -> None:
    from mg_tui.core.text import one_line

    click.echo(one_line(f"wrote {pluralize(written.rows, 'row')} to {written.path}"), err=True)
    if written.unwritable_rows:
        click.echo(f"skipped {pluralize(written.unwritable_rows, 'row')}: damaged, or not a conversation", err=True)
