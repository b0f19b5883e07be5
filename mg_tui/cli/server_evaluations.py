"""`--server URL evaluations list`, `show`, `logs` and `stop`: evaluations of the server."""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.cli.evaluations.summary import format_rows_of, format_scores
from mg_tui.cli.formatting import UNKNOWN, format_duration
from mg_tui.core.errors import UsageError
from mg_tui.core.text import one_line, printable
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.state import RunState

if TYPE_CHECKING:
    from mg_tui.remote.garden import RemoteGarden

_PATH: Final = "/evaluations"
_PAGE: Final = 200
_OF_THE_API: Final = ("object", "links")  # beside what the command prints on the server's machine


def list_there(garden: "RemoteGarden") -> list[dict[str, Any]]:
    """The evaluations of the server, newest first, as `evaluations list --json` prints them there.

    Raises:
        GardenError: the server cannot be reached, or refuses.
    """
    found: list[dict[str, Any]] = []
    with garden.connect() as connection:
        more = True
        while more:
            after = {"after": found[-1]["id"]} if found else {}
            page = connection.get(_PATH, {"limit": _PAGE, **after})
            found += page["data"]
            more = bool(page["has_more"]) and bool(page["data"])
    return [_without_links(record) for record in found]


def show_there(garden: "RemoteGarden", ref: str) -> dict[str, Any]:
    """One evaluation, as `evaluations show --json` prints it there. Raises as `list_there`; UsageError for none."""
    with garden.connect() as connection:
        return _without_links(connection.get(f"{_PATH}/{_find(garden, ref)}"))


def logs_there(garden: "RemoteGarden", ref: str, lines: int) -> Sequence[str]:
    """The last lines of its worker's log. Raises as `show_there`."""
    with garden.connect() as connection:
        found: Sequence[str] = connection.get(f"{_PATH}/{_find(garden, ref)}/logs", {"lines": max(lines, 1)})["data"]
        return found if lines else []


def stop_there(garden: "RemoteGarden", ref: str) -> dict[str, Any]:
    """Ask it to stop; the id, the request, and whether it was seen. Raises as `show_there`."""
    with garden.connect() as connection:
        answer = connection.post(f"{_PATH}/{_find(garden, ref)}/stop")
        return {name: answer[name] for name in ("id", "request", "seen")}


def format_list(garden: "RemoteGarden", records: Sequence[Mapping[str, Any]], *, width: int | None) -> list[str]:
    """The table of `evaluations list`. Raises GardenError for a record that is none."""
    with _read_of(garden):
        rows = [_row(record) for record in records]
        return format_rows_of(rows, [record["problem"] for record in records], width=width)


def format_shown(garden: "RemoteGarden", record: Mapping[str, Any]) -> list[str]:
    """An evaluation with its scores, changes, groups and speed. Raises GardenError for a record that is none."""
    with _read_of(garden):
        return _shown_lines(record)


@contextlib.contextmanager
def _read_of(garden: "RemoteGarden") -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError):
        raise garden.unreadable("its evaluation") from None


def _shown_lines(record: Mapping[str, Any]) -> list[str]:
    state = RunState(record["state"])
    error = record.get("error") or {}
    facts = [
        ("id", record["id"]),
        ("state", f"{state.glyph} {state.label}"),
        ("problem", record.get("problem")),
        ("folder", record["path"]),
        *((name, record.get(name)) for name in ("model", "endpoint", "compare", "dataset")),
        ("rows", _progress(record)),
        ("time", format_duration(record.get("elapsed_seconds"))),
        ("failed", error.get("what") or error.get("error")),
    ]
    known = [(label, str(value)) for label, value in facts if value not in (None, "", UNKNOWN)]
    lines = [f"{label:<9}{one_line(value, limit=400)}" for label, value in known]
    lines += [one_line(f"warning  {item['what']}") for item in record.get("warnings") or ()][-10:]
    with tempfile.TemporaryDirectory() as place:  # the page reads files
        folder = EvaluationFolder(Path(place))
        for file, name in (
            (folder.results_dir / "summary.json", "summary"),
            (folder.comparison_file, "comparison"),
            (folder.speed_file, "speed"),
        ):
            if record.get(name) is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(record[name]))
        return lines + format_scores(folder)


def _find(garden: "RemoteGarden", ref: str) -> str:
    """The whole id of an evaluation of the server: of its id, a beginning or an end of it, or `last`."""
    ids = [str(record["id"]) for record in list_there(garden)]
    if ref == "last" and ids:
        return ids[0]
    matches = [id for id in ids if id == ref] or [id for id in ids if ref and (id.startswith(ref) or id.endswith(ref))]
    if len(matches) == 1:
        return matches[0]
    what = f"{ref!r} matches {len(matches)} evaluations." if matches else f"Evaluation {ref!r} not found."
    known = ", ".join((matches or ids)[:4])
    raise UsageError(what, where=garden.address, hint=f"there is {printable(known)}" if known else None)


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    state = RunState(record["state"])
    metrics = record.get("metrics")
    scores: Mapping[str, Any] = metrics if isinstance(metrics, dict) else {}
    name = next(iter(scores), None)
    score = scores[name] if name is not None else None
    dataset = str(record.get("dataset") or UNKNOWN)
    return (
        printable(str(record["id"])),
        f"{state.glyph} {state.label}",
        _progress(record),
        f"{printable(str(name))} {score:.3f}" if isinstance(score, float) else UNKNOWN,
        format_duration(record.get("elapsed_seconds")),
        format_duration(record.get("eta_seconds")),
        one_line(str(record.get("model") or UNKNOWN), limit=40),
        one_line(dataset.rpartition("/")[2] or dataset, limit=40),
    )


def _progress(record: Mapping[str, Any]) -> str:
    answered, total = record.get("answered") or 0, record.get("total")
    return f"{answered}/{total}" if total is not None else str(answered)


def _without_links(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _OF_THE_API}
