"""`model-garden create-vision-dataset`, `datasets create` and `datasets list`."""

import json
import shlex
from pathlib import Path
from typing import Any

import click

from mg_tui.cli.server import server_of
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.program import program, runnable


@click.command("create-vision-dataset")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("data/vision_sample.jsonl"),
    show_default=True,
    help="The dataset file to write; images go to a folder next to it.",
)
@click.option("--num-examples", type=click.IntRange(min=1), default=10, show_default=True, help="Number of rows.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed for images and questions."
)
@click.option("--force", is_flag=True, help="Overwrite an existing sample.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def create_vision_dataset(output: Path, num_examples: int, seed: int, force: bool, as_json: bool) -> None:
    """Write a sample dataset with synthetic images.

    It can be trained on directly; replace its rows with your own images, questions and answers.
    """
    from mg_tui.core.text import one_line, pluralize
    from mg_tui.data.synthetic.vision_dataset import create_vision_dataset as create

    result = create(output, num_examples, force=force, seed=seed)
    if as_json:
        record = {"dataset": str(result.dataset), "images": str(result.images), "examples": result.examples}
        click.echo(json.dumps(record))
    examples = pluralize(result.examples, "example")
    click.echo(one_line(f"Wrote {examples} to {output}, with images in {result.images.name}/ next to it."), err=True)
    command = (
        f"{program()} train-vision --base-model tiny --dataset {shlex.quote(str(output))} --output-dir models/sample"
    )
    click.echo(one_line(f"Next: add your own rows, or train on it directly: {command}"), err=True)


@click.command("create")
@click.option(
    "--output", type=click.Path(path_type=Path), help="The dataset file to write.  [default: data/vision_sample.jsonl]"
)
@click.option("--from-folder", type=click.Path(path_type=Path), help="Create one row per image in this folder.")
@click.option("--prompt", metavar="TEXT", help="With --from-folder: the question.  [default: Describe this image.]")
@click.option(
    "--num-examples", type=click.IntRange(min=1), help="Without --from-folder: number of rows.  [default: 10]"
)
@click.option("--seed", type=click.IntRange(min=0), help="Without --from-folder: random seed.  [default: 0]")
@click.option("--force", is_flag=True, help="Overwrite existing output.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def create(
    ctx: click.Context,
    output: Path | None,
    from_folder: Path | None,
    prompt: str | None,
    num_examples: int | None,
    seed: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Create a dataset.

    Without --from-folder, same as `create-vision-dataset`: synthetic images, ready to train on. With it, one row per
    image; a text file of the same name (cat.jpg, cat.txt) is the caption, and other responses are left empty for you to
    fill in.
    """
    if from_folder is None:
        if prompt is not None:
            raise UsageError("--prompt requires --from-folder", hint="add --from-folder DIR")
        options = {"output": output, "num_examples": num_examples, "seed": seed}
        values: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        ctx.invoke(create_vision_dataset, **values, force=force, as_json=as_json)
        return
    if num_examples is not None or seed is not None:
        raise UsageError(
            "--num-examples and --seed apply to synthetic images only", hint="omit them with --from-folder"
        )
    _create_from_folder(from_folder, output or Path("data/captions.jsonl"), prompt, force=force, as_json=as_json)


def _create_from_folder(folder: Path, output: Path, prompt: str | None, *, force: bool, as_json: bool) -> None:
    from mg_tui.core.text import one_line, pluralize
    from mg_tui.data.field_map import FieldMap
    from mg_tui.data.from_folder import create_from_folder

    result = create_from_folder(
        folder, output, prompt=FieldMap().caption_prompt if prompt is None else prompt, force=force
    )
    if as_json:
        record = {
            "dataset": str(result.dataset),
            "examples": result.examples,
            "captioned": result.captioned,
            "refused": result.rejected,
            "reasons": list(result.reasons),
        }
        click.echo(json.dumps(record))
    rows = pluralize(result.examples, "row")
    click.echo(one_line(f"Wrote {rows} to {output}, {result.captioned:,} of them with a caption."), err=True)
    for reason in result.reasons[:5]:
        click.echo(one_line(f"skipped: {reason}"), err=True)
    if result.rejected > 5:
        click.echo(f"skipped: {result.rejected - 5:,} more", err=True)
    if result.captioned < result.examples:
        click.echo(
            one_line(f"Next: fill in the missing responses, then run: {program()} datasets check {output}"), err=True
        )


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per dataset.")
@click.pass_obj
def list_datasets(settings: Settings, as_json: bool) -> None:
    """List datasets named in garden.toml and recently opened ones, newest first."""
    from datetime import datetime

    from mg_tui.core.text import one_line
    from mg_tui.runs import recents

    if (garden := server_of(settings)) is not None:
        from mg_tui.cli.server_datasets import listed_there

        named, opened = listed_there(garden)
    else:
        named = [
            {"dataset": name, "path": str(table.get("path", "")), "named": True}
            for name, table in settings.datasets.items()
        ]
        opened = [
            {"dataset": item.reference, "opened": item.opened_at, "here": Path(item.reference).exists()}
            for item in recents.read(settings.home, "datasets")
        ]
    if as_json:
        for record in (*named, *opened):
            click.echo(json.dumps(record))
        return
    if not opened and not named:
        click.echo(runnable("no datasets yet; open one with `model-garden datasets show FILE`"), err=True)
        return
    rows = [("garden.toml", one_line(f"{record['dataset']}: {record['path']}")) for record in named]
    for record in opened:
        when = datetime.fromtimestamp(record["opened"]).strftime("%Y-%m-%d %H:%M")
        missing = "  (missing)" if Path(record["dataset"]).is_absolute() and not record["here"] else ""
        rows.append((when, one_line(f"{record['dataset']}{missing}")))
    for line in format_table(("opened", "dataset"), rows, width=terminal_width()):
        click.echo(line)
