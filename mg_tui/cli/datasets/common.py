"""What the dataset commands share: which options they take, and opening a dataset."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.progress import progress_bar
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.named_datasets import resolve_named_datasets
from mg_tui.core.options import Option
from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.image_probe import ProbeDepth
    from mg_tui.data.row_loader import ReadOptions
    from mg_tui.data.sources.base import Source

# Data options of a run that affect neither how rows are read nor how they are checked.
_NON_READER_OPTIONS: Final = frozenset({"dataset", "additional_dataset", "eval_split", "on_bad_row", "workers"})
_CHECK_ONLY_OPTIONS: Final = frozenset({"max_seq_length", "eval_dataset", "eval_dataset_split"})
# Findings that need token counts, and so the tokenizer of the base model.
_TOKEN_FINDINGS: Final = frozenset({"too-long", "template", "nothing-learned", "image-shape"})


def is_reader_option(option: Option) -> bool:
    """Whether an option of a run decides how its rows are read, or what the model sees of them."""
    return option.group == "Data" and option.name not in _NON_READER_OPTIONS | _CHECK_ONLY_OPTIONS


def is_check_option(option: Option) -> bool:
    """Whether an option of a run decides how its rows are read or checked."""
    return option.group == "Data" and option.name not in _NON_READER_OPTIONS


BASE_MODEL_OPTION = click.option(
    "--base-model", metavar="TEXT", help="Base model whose tokenizer is used: a Hub name, a local folder, or `tiny`."
)


def dataset_spec(settings: Settings, dataset: str, base_model: str | None, values: dict[str, Any]) -> TrainingSpec:
    """The spec of a run on this dataset: flags over [train] of garden.toml.

    Raises:
        SpecError: a flag or a default has a bad value.
    """
    from mg_tui.cli.spec_flags import explicit_values, value_origins

    flags = {**values, "dataset": dataset, "base_model": base_model}
    spec = TrainingSpec.parse(
        {"base_model": "tiny", **settings.train, **explicit_values(flags)}, where=value_origins(settings, None, flags)
    )
    return resolve_named_datasets(spec, settings.datasets, settings.train)


def open_and_remember(
    settings: Settings, spec: TrainingSpec, *, depth: "ProbeDepth" = "header"
) -> "tuple[Source, ReadOptions]":
    """Open the spec's dataset and add it to the recently opened ones.

    Raises:
        DataError, EnvironmentProblem: as `mg_tui.preflight.dataset_check.open_dataset`.
    """
    from mg_tui.preflight.dataset_check import open_dataset
    from mg_tui.runs import recents

    source, options = open_dataset(spec, settings, cwd=Path.cwd(), depth=depth)
    recents.remember(settings.home, "datasets", os.path.abspath(source.path) if source.path else spec.dataset)  # noqa: PTH100
    return source, options


def print_detected_format(source: "Source", options: "ReadOptions") -> None:
    """Print the detected format of a dataset, with the reason, on standard error."""
    from mg_tui.core.text import one_line

    click.echo(one_line(f"{source.name}: {options.detected_format}"), err=True)
    if options.detected_format is not None and (columns := options.detected_format.describe_columns()):
        click.echo(one_line(f"columns: {columns}"), err=True)


def find_rows_with_finding(
    settings: Settings, spec: TrainingSpec, source: "Source", options: "ReadOptions", kind: str
) -> list[int]:
    """Run the checks and return the numbers of the rows with a finding of this kind, ascending.

    Raises:
        UsageError: there is no such kind of finding.
    """
    from mg_tui.data.checks.kinds import KINDS
    from mg_tui.data.checks.runner import run_checks
    from mg_tui.preflight.dataset_check import open_check

    if kind not in KINDS:
        raise UsageError(f"unknown finding kind {kind!r}", hint="choose one of " + ", ".join(KINDS))
    checking = open_check(spec, settings, source, cwd=Path.cwd(), count=kind in _TOKEN_FINDINGS)
    with checking as check, progress_bar("checking") as progress:
        report = run_checks(source, options, check.limits, evaluation=check.evaluation, progress=progress)
    return [number for number in report.rows_by_kind.get(kind, ()) if number]
