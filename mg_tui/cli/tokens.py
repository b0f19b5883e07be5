"""`model-garden tokens`: who may call the API and served models."""

import re
import time
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.runs.common import JSON_OPTION, print_json
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.program import runnable
from mg_tui.core.text import printable

if TYPE_CHECKING:
    from mg_tui.gate import AccessToken

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d{1,6})([mhdw])")
_SCOPE_NAMES = ("read", "run", "admin")


@click.group("tokens", invoke_without_command=True)
@JSON_OPTION
@click.pass_context
def tokens(ctx: click.Context, as_json: bool) -> None:
    """List, create and revoke tokens of the API and of served models.

    `read` may look, `run` may also start and stop work, `admin` may do everything. Without a command, lists all.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@tokens.command("list")
@JSON_OPTION
@click.pass_obj
def list_(settings: Settings, as_json: bool) -> None:
    """List all tokens. Tokens themselves are not kept and cannot be shown."""
    from mg_tui.gate import TokenStore

    found, now = TokenStore(settings.home).tokens(), time.time()
    if as_json:
        print_json([_record(token, now) for token in found])
        return
    if not found:
        click.echo(runnable("No tokens yet; create one with `model-garden tokens create NAME`."), err=True)
        return
    rows = [(printable(t.name), t.scope, _format_time(t.created_at), _format_expiry(t, now)) for t in found]
    for line in format_table(("name", "scope", "created", "expires"), rows, width=terminal_width()):
        click.echo(line)


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(_SCOPE_NAMES),
    default="run",
    show_default=True,
    help="What it allows; each scope includes those before it.",
)
@click.option("--expires", metavar="30d", help="When it expires: minutes, hours, days or weeks, as 30m, 12h, 30d, 4w.")
@JSON_OPTION
@click.pass_obj
def create(settings: Settings, name: str, scope: Any, expires: str | None, as_json: bool) -> None:
    """Create a token and print it, once, on standard output."""
    from mg_tui.gate import TokenStore

    seconds = None if expires is None else _parse_duration(expires)
    secret = TokenStore(settings.home).create(name, scope, expires_in=seconds)
    if as_json:
        print_json({"name": name, "scope": scope, "token": secret})
        return
    click.echo(secret)
    click.echo(f"This is the only time that it is shown. Send it as `Authorization: Bearer {secret[:6]}...`.", err=True)


@tokens.command()
@click.argument("name")
@click.pass_obj
def revoke(settings: Settings, name: str) -> None:
    """Revoke a token. Running servers refuse it at once."""
    from mg_tui.gate import TokenStore

    TokenStore(settings.home).revoke(name)
    click.echo(f"revoked {printable(name)}", err=True)


def _parse_duration(text: str) -> float:
    match = _DURATION.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--expires: got {text!r}; give a number and m, h, d or w (e.g. 30d)")
    return float(int(match[1]) * _UNITS[match[2]])


def _record(token: "AccessToken", now: float) -> dict[str, Any]:
    return {
        "name": token.name,
        "scope": token.scope,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "expired": token.is_expired(now),
    }


def _format_time(t: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(t))


def _format_expiry(token: "AccessToken", now: float) -> str:
    if token.expires_at is None:
        return "never"
    return "expired" if token.is_expired(now) else _format_time(token.expires_at)
