"""`model-garden api`: serve the REST API until it is stopped."""

from pathlib import Path
from typing import Any

import click

from mg_tui.cli.listening import listen_options, make_listener, print_access
from mg_tui.config import Settings


@click.command("api")
@listen_options
@click.option(
    "--root",
    "roots",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder that callers may read data from and write results to; repeatable. Default: the working directory.",
)
@click.option("--own-tokens", is_flag=True, help="Let callers' runs use your Hugging Face and Weights & Biases tokens.")
@click.pass_obj
def api(settings: Settings, /, roots: tuple[Path, ...], own_tokens: bool, **where: Any) -> None:
    """Serve the REST API.

    On 127.0.0.1 your own processes need no token; everybody else, and every request on another address, needs one of
    `model-garden tokens`. Runs outlive the server. See docs/api.md.
    """
    from mg_tui.gate import TokenStore, serve

    listener = make_listener(**where)
    print_access(TokenStore(settings.home), listener)
    from mg_tui.api.start import make_server
    from mg_tui.runs.detached import give_way

    gate = make_server(settings, listener, roots=roots, own_tokens=own_tokens)
    give_way()
    serve(gate, listener, on_ready=_announce)


def _announce(url: str) -> None:
    click.echo(f"page     {url}/   runs in a browser, with a token", err=True)
    click.echo(f"API      {url}/api/v1", err=True)
