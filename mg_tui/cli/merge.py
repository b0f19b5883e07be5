"""`model-garden merge`: merge an adapter into its base model and compare logits before the result is saved."""

import json
from pathlib import Path
from typing import Any

import click

from mg_tui.config import Settings


@click.command("merge")
@click.argument("model")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Output folder; must be new or empty.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    show_default=True,
    help="dtype of the merged weights; auto: as in training.",
)
@click.option("--base-model", help="Path or name of the adapter's base model, if it has moved.")
@click.option(
    "--device", type=click.Choice(["auto", "cuda", "cpu"]), default="cpu", show_default=True, help="Device for merging."
)
@click.option("--json", "as_json", is_flag=True, help="Print path and comparison as JSON.")
@click.pass_obj
def merge(settings: Settings, /, model: str, output: Path, as_json: bool, **options: Any) -> None:
    """Merge an adapter into its base model and verify the result.

    MODEL is a result folder or a run (its id, its name, or `last`). The base model is loaded in full precision. The
    saved model is reloaded and its logits are compared with the adapter's; a merge that does not match is discarded.
    """
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.core.text import printable
    from mg_tui.runs.engine_process import EngineProcess

    with EngineProcess("mg_tui.engine.results.merge") as child:
        record = request_with_spinner(
            child,
            f"merging {model}",
            "merge",
            model=model,
            output=str(output.absolute()),
            home=str(settings.home),
            **options,
        )
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
        return
    click.echo(printable(record["output"]))
    comparison = record["comparison"]
    click.echo(
        f"logits of merged and adapter at {comparison['positions']} positions: mean difference "
        f"{comparison['mean_difference']:.3g}, max {comparison['max_difference']:.3g}, same top-1 token at "
        f"{comparison['top1_agreement']:.1%}\n"
        f"(the adapter changes logits by {comparison['adapter_effect']:.3g}; differences up to "
        f"{comparison['limit']:.3g} are rounding in {record['dtype']})",
        err=True,
    )
