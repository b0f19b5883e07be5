"""`model-garden datasets convert`: a dataset in another format or layout, and what of it was lost."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.datasets.common import dataset_spec, is_reader_option, progress_bar
from mg_tui.cli.spec_flags import SpecCommand, spec_flags
from mg_tui.config import Settings
from mg_tui.core.spec import TrainingSpec

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
    from mg_tui.data.convert import converter as converting
    from mg_tui.data.from_spec import image_resolver_from_spec, open_source_from_spec

    cwd = Path.cwd()
    spec = dataset_spec(settings, source, None, values)
    opened, recognised = open_source_from_spec(spec, cwd=cwd, cache=settings.cache)
    click.echo(one_line(f"{opened.name}: {recognised}"), err=True)
    asked = converting.ConvertRequest(out, to, layout, images, on_bad_row == "skip", force)
    count = opened.count()
    resolver = image_resolver_from_spec(spec, opened, cwd=cwd, cache=settings.cache)
    with progress_bar("converting rows") as tell:
        made = converting.convert(
            opened,
            recognised,
            asked,
            cache=settings.cache,
            resolver=resolver,
            # Every row is read twice.
            progress=lambda done: tell(done, 2 * count if count else 0),
        )
    if as_json:
        click.echo(json.dumps(_result_record(made)))
    for line in _result_lines(made):
        click.echo(one_line(line), err=True)


def _result_record(made: "ConvertResult") -> dict[str, Any]:
    return {
        "out": str(made.out),
        "images": str(made.images) if made.images else None,
        "format": made.format,
        "layout": made.layout,
        "rows": made.rows,
        "left_out": made.skipped_rows,
        "rejects": str(made.rejects) if made.rejects else None,
        "lost": dict(made.losses),
    }


def _result_lines(made: "ConvertResult") -> list[str]:
    from mg_tui.data.sources.base import FORMATS

    rows = f"{made.rows:,} row{'s' if made.rows != 1 else ''}"
    beside = f", with images in {made.images.name}/ next to it" if made.images else ""
    lines = [f"Wrote {rows} to {made.out} ({FORMATS[made.format]}, {made.layout}){beside}."]
    lines += [f"lost in {count:,} rows: {what}" for what, count in made.losses.items()]
    if made.rejects:
        lines.append(f"skipped {made.skipped_rows:,} rows that could not be written; see {made.rejects.name}")
    return lines
