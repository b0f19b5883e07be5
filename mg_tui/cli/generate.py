"""`model-garden generate-vision`: run inference on images and stream the answer."""

import json
import time
from pathlib import Path
from typing import Any

import click

from mg_tui.config import Settings


@click.command("generate-vision")
@click.argument("model")
@click.option("--image", "images", multiple=True, required=True, metavar="PATH", help="An image; repeatable.")
@click.option("--prompt", required=True, help="The question or instruction.")
@click.option("--system-prompt", help="Overrides the system prompt used in training.")
@click.option(
    "--max-new-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Maximum length of the answer."
)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0, max=100),
    default=0.0,
    show_default=True,
    help="Sampling temperature; 0 is greedy decoding.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=1.0,
    show_default=True,
    help="Nucleus sampling; requires a temperature above 0.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Random seed for sampling.")
@click.option("--base-model", help="Path or name of the adapter's base model, if it has moved.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    show_default=True,
    help="auto: as in training; float32 on a CPU.",
)
@click.option(
    "--quantization",
    type=click.Choice(["auto", "nf4", "int8", "none"]),
    default="auto",
    show_default=True,
    help="auto: as in training; none on a CPU.",
)
@click.option("--json", "as_json", is_flag=True, help="Print answer, token counts, timings and image sizes as JSON.")
@click.pass_obj
def generate_vision(settings: Settings, /, model: str, images: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Run inference on images.

    MODEL is a result folder (a run's --output-dir), a run (id, name or `last`), or a base model. The answer is streamed
    to stdout.
    """
    from mg_tui.cli.progress import spinner
    from mg_tui.core.text import printable
    from mg_tui.data.images import probe_image
    from mg_tui.runs.engine_process import EngineProcess

    # Before the model is loaded, so that a mistyped path fails at once.
    for image in images:
        probe_image(image)
    load_options = {name: options.pop(name) for name in ("base_model", "device", "dtype", "quantization")}
    with EngineProcess("mg_tui.engine.inference.generate") as child:
        began = time.monotonic()
        with spinner(f"loading {printable(model)}") as notify:
            for event in child.stream("load", model=model, home=str(settings.home), **load_options):
                ready = event
                if event["event"] == "notice":
                    notify(event["text"])
        load_seconds = round(time.monotonic() - began, 2)
        record: dict[str, Any] = {}
        for event in child.stream("generate", images=[str(Path(path).absolute()) for path in images], **options):
            if event["event"] == "text" and not as_json:
                click.echo(printable(event["text"]), nl=False)
            record = event
    record.pop("event")
    if as_json:
        loaded = {
            name: ready[name] for name in ("model", "kind", "base_model", "family", "device", "dtype", "quantization")
        }
        click.echo(json.dumps({**record, **loaded, "load_seconds": load_seconds}, ensure_ascii=False))
        return
    click.echo()
    _print_stats(record, options["max_new_tokens"])


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
