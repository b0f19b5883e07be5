"""Servers as lines: the list, and the page of one."""

from collections.abc import Sequence
from typing import Any, Final

from mg_tui.cli.formatting import UNKNOWN, format_duration, format_number
from mg_tui.cli.servers.display import format_server_outcome, proof_text
from mg_tui.cli.tables import format_table
from mg_tui.core.text import one_line, printable
from mg_tui.runs.servers import ServerFolder, server_record
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunSummary

_COLUMNS: Final = ("ID", "STATE", "REQUESTS", "/S", "LATENCY", "TIME", "ADDRESS", "MODELS")
_RIGHT: Final = ("REQUESTS", "/S", "LATENCY", "TIME")


def format_servers(servers: Sequence[RunSummary], now: float, *, width: int | None) -> list[str]:
    """One line a server under a line of headings."""
    return format_table(_COLUMNS, [_row(server, now) for server in servers], width=width, right=_RIGHT)


def format_server_page(server: RunSummary, now: float) -> list[str]:
    """Everything a person wants to know of one server."""
    record = server_record(server, now)
    facts = [
        ("id", printable(server.id)),
        ("state", f"{server.state.glyph} {server.state_text}"),
        ("problem", server.problem and one_line(server.problem)),
        ("folder", printable(str(server.folder.path))),
        ("address", record["url"]),
        ("models", one_line(", ".join(record["models"]), limit=400)),
        ("engine", record["engine"]),
        ("time", format_duration(record["seconds"])),
        ("requests", _requests(record)),
        ("latency", _seconds(record["latency_seconds"])),
        ("first token", _seconds(record["first_token_seconds"])),
    ]
    lines = [f"{label:<13}{value}" for label, value in facts if value not in (None, "", UNKNOWN)]
    for name, proof in (record["proof"] or {}).items():
        lines.append(one_line(f"{'proof':<13}{proof_text({'model': name, **proof})}", limit=400))
    lines += [
        one_line(f"warning  {w.what}" + (f": {w.why}" if w.why else "")) for w in list(server.view.warnings)[-10:]
    ]
    last = format_server_outcome(ServerFolder(server.folder.path), server.view, server.state)
    return [*lines, "", *last] if last else lines


def _row(server: RunSummary, now: float) -> list[str]:
    record = server_record(server, now)
    return [
        printable(server.id),
        f"{server.state.glyph} {server.state_text}",
        format_number(record["requests"]),
        format_number(record["requests_per_second"]) if server.state is RunState.RUNNING else UNKNOWN,
        _seconds(record["latency_seconds"]),
        format_duration(record["seconds"]),
        record["url"] or UNKNOWN,
        one_line(", ".join(record["models"])),
    ]


def _requests(record: dict[str, Any]) -> str | None:
    if record["requests"] is None:
        return None
    parts = [f"{record['requests']} answered"]
    for name in ("failed", "refused", "answering", "waiting"):
        if record[name]:
            parts.append(f"{record[name]} {name}")
    if record["requests_per_second"] is not None:
        parts.append(f"{record['requests_per_second']:.2f}/s in the last minute")
    return ", ".join(parts)


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s"
