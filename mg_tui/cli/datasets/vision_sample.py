"""`model-garden create-vision-dataset`: a sample to start from."""

import json
import shlex
from pathlib import Path

import click


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
    from mg_tui.core.text import one_line
    from mg_tui.data.synthetic.vision_dataset import create_vision_dataset as create

    made = create(output, num_examples, force=force, seed=seed)
    if as_json:
        record = {"dataset": str(made.dataset), "images": str(made.images), "examples": made.examples}
        click.echo(json.dumps(record))
    rows = f"{made.examples:,} example{'s' if made.examples != 1 else ''}"
    click.echo(one_line(f"Wrote {rows} to {output}, with images in {made.images.name}/ next to it."), err=True)
    command = (
        f"model-garden train-vision --base-model tiny --dataset {shlex.quote(str(output))} --output-dir models/sample"
    )
    click.echo(one_line(f"Next: add your own rows, or train on it directly: {command}"), err=True)
