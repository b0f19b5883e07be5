"""`model-garden push`: a result, a checkpoint or a merged model to the Hugging Face Hub."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from mg_tui.config import Settings

_ANNOUNCED_BYTES: Final = 1 << 20  # smaller files are sent without a line of their own


@click.command("push")
@click.argument("model")
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--merged", is_flag=True, help="Merge an adapter into its base model first, and push the whole model.")
@click.option(
    "--private/--public", "private", default=True, show_default=True, help="Who sees the repository: you, or everyone."
)
@click.option("--force", is_flag=True, help="Replace the result files of a repository that has other content.")
@click.option("--revision", help="Branch to push to; made if there is none. Default: main.")
@click.option("--base-model", help="The base model's name on the Hub, where it was trained from a local folder.")
@click.option(
    "--card",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A model card of your own. Default: one made from the result's metadata.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, show files and model card, and send nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print repository, commit and files as JSON.")
@click.pass_obj
def push(
    settings: Settings, /, model: str, repository: str, private: bool, card: Path | None, as_json: bool, **options: Any
) -> None:
    """Push a model to the Hugging Face Hub, private by default.

    MODEL is a result folder, a run (its id, its name, or `last`), a checkpoint of an adapter (`RUN@500`, `RUN@best`) or
    a merged model. Weights, configuration, processor, metadata and a model card are pushed, without local paths; a file
    that holds a credential stops the push. Everything is one commit. A push that was interrupted is resumed by running
    it again. The token is that of `hf auth login`, or HF_TOKEN.
    """
    from mg_tui.cli.formatting import format_bytes
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.runs.engine_process import EngineProcess

    request = {
        "model": model,
        "repository": repository,
        "home": str(settings.home.absolute()),
        "cache": str(settings.cache.absolute()),
        "public": not private,
        "card": str(card.absolute()) if card else None,
        **options,
    }

    def announce(event: Mapping[str, Any], notify: Callable[[str], None]) -> None:
        if event["event"] == "progress" and event["bytes"] >= _ANNOUNCED_BYTES:
            at = f"{format_bytes(event['done'])} of {format_bytes(event['total'])}"
            notify(f"{event['what']} ({at} sent)")

    with EngineProcess("mg_tui.engine.results.push") as child:
        record = request_with_spinner(child, f"pushing {model}", "push", on_event=announce, **request)
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        _show(record, dry_run=options["dry_run"])


def _show(record: dict[str, Any], *, dry_run: bool) -> None:
    from mg_tui.cli.formatting import format_bytes
    from mg_tui.core.text import printable

    seen_by = "private" if record["private"] else "public"
    size = f"{len(record['files'])} files, {format_bytes(record['bytes'])}"
    if dry_run:
        click.echo(
            "\n".join(f"{format_bytes(file['bytes']):>10}  {printable(file['name'])}" for file in record["files"])
        )
        click.echo(f"\nREADME.md:\n\n{printable(record['card'])}")
    else:
        click.echo(printable(record["url"]))
    if record["left_out"]:
        click.echo(f"not part of the model, so not pushed: {printable(', '.join(record['left_out']))}", err=True)
    if dry_run:
        click.echo(f"{size}; nothing was sent ({seen_by})", err=True)
    elif record["commit"] is None:
        click.echo(f"{size}: all of it was there already ({seen_by})", err=True)
    else:
        click.echo(f"{size} in commit {printable(record['commit'][:12])} ({seen_by})", err=True)
