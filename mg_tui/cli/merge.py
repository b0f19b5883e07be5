"""`model-garden merge`: one model from an adapter and its base, compared with the adapter before it is kept."""

import json
from pathlib import Path
from typing import Any

import click

from mg_tui.config import Settings


@click.command("merge")
@click.argument("model")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new or empty folder.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    show_default=True,
    help="Of the merged weights; auto is that of training.",
)
@click.option("--base-model", help="The adapter's base model, where it is not at the place the result names.")
@click.option(
    "--device", type=click.Choice(["auto", "cuda", "cpu"]), default="cpu", show_default=True, help="Where to compute."
)
@click.option("--json", "as_json", is_flag=True, help="Print one record: where it is, and the comparison.")
@click.pass_obj
def merge(settings: Settings, /, model: str, output: Path, as_json: bool, **asked: Any) -> None:
    """Merge an adapter into its base model, and check the result.

    MODEL is a result folder or a run (its id, its name, or `last`). The base is loaded in full precision. What was
    saved is loaded again and its logits are compared with the adapter's; a merge that lost something is not kept.
    """
    from mg_tui.cli.spinner import spinner
    from mg_tui.core.text import printable
    from mg_tui.runs.engine_process import EngineProcess

    record: dict[str, Any] = {}
    with (
        EngineProcess("mg_tui.engine.results.merge") as child,
        spinner(f"merging {model}") as say,
    ):
        for event in child.stream(
            "merge", model=model, output=str(output.absolute()), home=str(settings.home), **asked
        ):
            record = event
            if event["event"] == "notice":
                say(event["text"])
    record.pop("event")
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
        return
    click.echo(printable(record["output"]))
    found = record["comparison"]
    click.echo(
        f"logits of merged and adapter at {found['positions']} positions: mean difference "
        f"{found['mean_difference']:.3g}, max {found['max_difference']:.3g}, same best token at "
        f"{found['top1_agreement']:.1%}\n"
        f"(the adapter moves logits by {found['adapter_effect']:.3g}; up to {found['limit']:.3g} is rounding in "
        f"{record['dtype']})",
        err=True,
    )
