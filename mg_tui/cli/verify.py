"""`model-garden verify`: whether another form of a model, or a server that has it, answers like the model."""

import json
from pathlib import Path
from typing import Any

import click

from mg_tui.cli.agreement import DEFAULT_AGREEMENT, GGUF_AGREEMENT, asking_options, print_agreement
from mg_tui.config import Settings


@click.command("verify")
@click.argument("model")
@click.option(
    "--against",
    required=True,
    metavar="URL|MODEL|FILE.gguf",
    help="What has to answer alike: an OpenAI-compatible server, a folder, a run, a base model, or a GGUF file.",
)
@click.option(
    "--mmproj",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The vision tower of a GGUF file. Default: the only mmproj*.gguf beside it.",
)
@click.option("--name", help="The model's name on the server. Default: its only one.")
@asking_options
@click.option("--base-model", help="Path or name of the base model of MODEL's adapter, if it has moved.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    show_default=True,
    help="Of what is loaded here; auto: as in training; float32 on a CPU.",
)
@click.option(
    "--quantization",
    type=click.Choice(["auto", "nf4", "int8", "none"]),
    default="none",
    show_default=True,
    help="Of what is loaded here; auto: as in training.",
)
@click.option("--json", "as_json", is_flag=True, help="Print figures and differing rows as JSON.")
@click.pass_context
def verify(ctx: click.Context, /, model: str, against: str, mmproj: Path | None, as_json: bool, **options: Any) -> None:
    """Ask a model and another form of it the same rows, and compare the answers.

    MODEL is a result folder, a run (id, name or `last`) or a base model. Both answer greedily. Exits with 1 when they
    do not agree. An API key of the server is read from MODEL_GARDEN_API_KEY.
    """
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.core.text import one_line
    from mg_tui.runs.engine_process import EngineProcess

    settings: Settings = ctx.obj
    places: dict[str, Any] = {"home": str(settings.home), "cache": str(settings.cache), "cwd": str(Path.cwd())}
    options["mmproj"] = str(mmproj.absolute()) if mmproj else None
    if options["min_agreement"] is None:
        options["min_agreement"] = GGUF_AGREEMENT if against.endswith(".gguf") else DEFAULT_AGREEMENT
    with EngineProcess("mg_tui.engine.export.verify") as child:
        record = request_with_spinner(
            child, f"verifying {model}", "verify", model=model, against=against, **places, **options
        )
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        answer = "agrees" if record["agrees"] else "differs"
        click.echo(f"{answer}: {one_line(against, limit=200)}")
        print_agreement(record, "the other")
    ctx.exit(0 if record["agrees"] else 1)
