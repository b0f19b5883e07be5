"""`model-garden export`: a result as a folder for other programs, published when it answers like the result."""

import json
from pathlib import Path
from typing import Any

import click

from mg_tui.cli.agreement import asking_options, print_agreement
from mg_tui.config import Settings


@click.command("export")
@click.argument("model")
@click.option(
    "--format",
    type=click.Choice(["merged", "vllm"]),
    required=True,
    help="merged: one whole model; vllm: what vLLM serves, with its command.",
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Output folder; must be new or empty.")
@click.option("--merged", is_flag=True, help="With --format vllm: merge the adapter instead of serving it as one.")
@asking_options
@click.option("--base-model", help="Path or name of the adapter's base model, if it has moved.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    show_default=True,
    help="dtype of merged weights and of the comparison; auto: as in training; float32 for an adapter on a CPU.",
)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print folder, command and agreement as JSON.")
@click.pass_obj
def export(settings: Settings, /, model: str, output: Path, merged: bool, as_json: bool, **options: Any) -> None:
    """Export a result for other programs.

    MODEL is a result folder or a run (its id, its name, or `last`). The model answers held-out rows, or those of
    --dataset; what was written is loaded again and asked the same rows. An export that answers differently is
    discarded.
    """
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.core.text import printable
    from mg_tui.runs.engine_process import EngineProcess

    if merged and options["format"] != "vllm":
        raise click.UsageError("--merged goes with --format vllm; --format merged merges anyway")
    places: dict[str, Any] = {"home": str(settings.home), "cache": str(settings.cache), "cwd": str(Path.cwd())}
    with EngineProcess("mg_tui.engine.export.export") as child:
        record = request_with_spinner(
            child,
            f"exporting {model}",
            "export",
            model=model,
            output=str(output.absolute()),
            merged=merged,
            **places,
            **options,
        )
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
        return
    click.echo(printable(record["output"]))
    print_agreement(record["agreement"], "the export")
    if record["command"]:
        click.echo("\nserve it with `sh serve.sh` in the folder, or\n" + printable(record["command"]), err=True)
