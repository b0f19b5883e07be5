"""`model-garden generate-vision`: run inference on images and stream the answer."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from mg_tui.cli.model_options import LOADING_NAMES, loading_options, sampling_options
from mg_tui.config import Settings


@click.command("generate-vision")
@click.argument("model")
@click.option("--image", "images", multiple=True, metavar="PATH", help="An image: a path or URL; repeatable.")
@click.option("--prompt", help="The question or instruction; - or nothing reads it from stdin.")
@click.option(
    "--batch",
    type=click.Path(exists=True, path_type=Path),
    help="Answer every row of this file (JSONL with prompt and image, or any dataset) into --output.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Answers of --batch, one per line; an existing file is completed.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), help="Rows at once in --batch. Default: as many as memory allows."
)
@sampling_options
@loading_options
@click.option("--json", "as_json", is_flag=True, help="Print answer, token counts, timings and image sizes as JSON.")
@click.pass_obj
def generate_vision(
    settings: Settings,
    /,
    model: str,
    images: tuple[str, ...],
    prompt: str | None,
    batch: Path | None,
    output: Path | None,
    batch_size: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run inference on images.

    MODEL is a result folder (a run's --output-dir), a run (id, name or `last`), or a base model. The answer is streamed
    to stdout.
    """
    from mg_tui.cli.images import resolve_image
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.core.text import printable
    from mg_tui.runs.engine_process import EngineProcess

    load_options = {name: options.pop(name) for name in LOADING_NAMES}
    if batch is not None:
        sampling = {**options, "batch_size": batch_size}
        _generate_batch(settings, model, images, batch, output, load_options, sampling, prompt, as_json=as_json)
        return
    if output is not None:
        raise click.UsageError("--output requires --batch")
    if not images:
        raise click.UsageError("Missing option '--image'.")
    # Before the model is loaded, so that a mistyped path fails at once.
    paths = [resolve_image(image, settings) for image in images]
    options["prompt"] = _read_prompt(prompt)
    with EngineProcess("mg_tui.engine.inference.generate") as child:
        began = time.monotonic()
        ready = request_with_spinner(
            child, f"loading {printable(model)}", "load", model=model, home=str(settings.home), **load_options
        )
        load_seconds = round(time.monotonic() - began, 2)
        record: dict[str, Any] = {}
        for event in child.stream("generate", images=paths, **options):
            if event["event"] == "text" and not as_json:
                click.echo(printable(event["text"]), nl=False)
            record = event
    record.pop("event")
    if as_json:
        loaded = {
            name: ready[name]
            for name in (
                *("model", "kind", "base_model", "family", "device", "dtype", "quantization"),
                *("min_pixels", "max_pixels", "limits_from"),
            )
        }
        click.echo(json.dumps({**record, **loaded, "load_seconds": load_seconds}, ensure_ascii=False))
        return
    click.echo()
    _print_stats(record, options["max_new_tokens"])


def _read_prompt(prompt: str | None) -> str:
    """The prompt: the option's value, or standard input."""
    if prompt is not None and prompt != "-":
        return prompt
    if sys.stdin.isatty():
        raise click.UsageError("Missing option '--prompt'; stdin is a terminal, so there is nothing to read it from.")
    text = sys.stdin.read().strip()
    if not text:
        raise click.UsageError("Missing option '--prompt': stdin is empty.")
    return text


def _generate_batch(
    settings: Settings,
    model: str,
    images: tuple[str, ...],
    rows: Path,
    output: Path | None,
    load_options: dict[str, Any],
    sampling: dict[str, Any],
    prompt: str | None,
    *,
    as_json: bool,
) -> None:
    from mg_tui.cli.batch import generate_batch

    if output is None:
        raise click.UsageError("--batch requires --output")
    if images:
        raise click.UsageError("--image cannot be combined with --batch: rows name their images")
    counts = generate_batch(settings, model, rows, output, load=load_options, sampling=sampling, default_prompt=prompt)
    if as_json:
        click.echo(json.dumps({**counts, "output": str(output.absolute())}))
    before = f", {counts['before']} were there" if counts["before"] else ""
    click.echo(f"{counts['answered']} answered, {counts['failed']} could not be{before}: {output}", err=True)


def _print_stats(record: dict[str, Any], limit: int) -> None:
    sizes = ", ".join(_format_size(image) for image in record["images"])
    click.echo(
        f"{record['tokens']} tokens in {record['seconds']:.1f} s ({record['tokens_per_second']:.1f} tokens/s)"
        + (f"; image {sizes}" if sizes else "")
        + (f"; seed {record['seed']}" if record["seed"] is not None else ""),
        err=True,
    )
    if record["ended"] == "length":
        click.echo(f"the answer was truncated at {limit} tokens; raise --max-new-tokens", err=True)


def _format_size(image: dict[str, Any]) -> str:
    size, resized = image["size"], image["seen_at"]
    text = f"{size[0]}x{size[1]}"
    return text if resized is None or resized == size else f"{text} resized to {resized[0]}x{resized[1]}"
