"""Options of commands that serve HTTP: where they listen, under which names, and with which certificate."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mg_tui.cli.model_options import option_group

if TYPE_CHECKING:
    from mg_tui.gate import Listener, TokenStore

listen_options = option_group(
    click.option(
        "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token and TLS."
    ),
    click.option(
        "--port",
        type=click.IntRange(min=0, max=65535),
        default=8000,
        show_default=True,
        help="Port; 0 takes a free one.",
    ),
    click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate for HTTPS, as PEM."),
    click.option("--tls-key", type=click.Path(path_type=Path), help="Its key, as PEM."),
    click.option("--behind-proxy", is_flag=True, help="A proxy in front ends TLS; then every request needs a token."),
    click.option(
        "--allow-host", "allowed_hosts", multiple=True, metavar="NAME", help="Accept requests under this name, too."
    ),
)


def make_listener(
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: bool,
    allowed_hosts: tuple[str, ...],
) -> "Listener":
    """The address that `listen_options` name.

    Raises:
        UsageError, EnvironmentProblem: it is refused; see `mg_tui.gate.check_listener`.
    """
    from mg_tui.gate import Listener, check_listener

    listener = Listener(host, port, tls_cert, tls_key, behind_proxy, allowed_hosts)
    check_listener(listener)
    return listener


def print_access(tokens: "TokenStore", listener: "Listener") -> None:
    """Say who may call, and make the first token where one is needed and there is none.

    Raises:
        EnvironmentProblem: the tokens cannot be read or written.
    """
    if not listener.needs_token:
        tokens.tokens()
        click.echo("access   processes of this user need no token; others: `model-garden tokens create NAME`", err=True)
    elif (file := tokens.make_first()) is not None:
        click.echo(f"access   with a token; the first one, for everything, is in {file}", err=True)
    else:
        click.echo("access   with a token; `model-garden tokens` lists them", err=True)
