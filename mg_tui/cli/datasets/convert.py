"""`model-garden datasets convert`: write a dataset in another format or layout and report losses."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.datasets.common import dataset_spec, is_reader_option
from mg_tui.cli.progress import progress_bar
from mg_tui.cli.spec_flags import SpecCommand, spec_flags
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import pluralize

if TYPE_CHECKING:
    from mg_tui.data.convert.converter import ConvertResult

_IMAGE_MODES = ("auto", "link", "copy", "embed")


@spec_flags(TrainingSpec, only=is_reader_option)
@click.command("convert", cls=SpecCommand)
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--to", "to", metavar="FORMAT", help="Output format. [default: inferred from OUT]")
@click.option("--layout", metavar="LAYOUT", help="Row layout. [default: unchanged]")
@click.option(
    "--images",
    type=click.Choice(_IMAGE_MODES),
    default="auto",
    show_default=True,
    help="Reference image files, copy them next to OUT, or embed them; auto follows the format's convention.",
)
@click.option(
    "--on-bad-row",
    type=click.Choice(("stop", "skip")),
    default="stop",
    show_default=True,
    help="stop: write nothing. skip: skip such rows and save them to OUT.rejects.jsonl.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_obj
def convert(
    settings: Settings,
    /,
    source: str,
    out: Path,
    to: str | None,
    layout: str | None,
    images: Any,
    on_bad_row: str,
    force: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Write SOURCE as OUT in another format or layout.

    SOURCE is never modified. Losses are reported.
    """
    from mg_tui.core.text import one_line
    from mg_tui.data.convert.converter import ConvertRequest
    from mg_tui.data.convert.converter import convert as convert_dataset
    from mg_tui.data.from_spec import image_resolver_from_spec, open_source_from_spec

    cwd = Path.cwd()
    spec = dataset_spec(settings, source, None, values)
    opened, detected_format = open_source_from_spec(spec, cwd=cwd, cache=settings.cache)
    click.echo(one_line(f"{opened.name}: {detected_format}"), err=True)
    request = ConvertRequest(out, to, layout, images, on_bad_row == "skip", force)
    count = opened.count()
    resolver = image_resolver_from_spec(spec, opened, cwd=cwd, cache=settings.cache)
    with progress_bar("converting rows") as progress:
        result = convert_dataset(
            opened,
            detected_format,
            request,
            cache=settings.cache,
            resolver=resolver,
            # Every row is read twice.
            progress=lambda done: progress(done, 2 * count if count else 0),
        )
    if as_json:
        click.echo(json.dumps(_result_record(result)))
    for line in _result_lines(result):
        click.echo(one_line(line), err=True)


def _result_record(result: "ConvertResult") -> dict[str, Any]:
    return {
        "out": str(result.out),
        "images": str(result.images) if result.images else None,
        "format": result.format,
        "layout": result.layout,
        "rows": result.rows,
        "left_out": result.skipped_rows,
        "rejects": str(result.rejects) if result.rejects else None,
        "lost": dict(result.losses),
    }


def _result_lines(result: "ConvertResult") -> list[str]:
    from mg_tui.data.sources.base import FORMATS

    rows = pluralize(result.rows, "row")
    images = f", with images in {result.images.name}/ next to it" if result.images else ""
    lines = [f"Wrote {rows} to {result.out} ({FORMATS[result.format]}, {result.layout}){images}."]
    lines += [f"lost in {count:,} rows: {what}" for what, count in result.losses.items()]
    if result.rejects:
        lines.append(f"skipped {result.skipped_rows:,} rows that could not be written; see {result.rejects.name}")
    return lines
