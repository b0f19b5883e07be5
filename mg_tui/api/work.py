"""What evaluations, jobs of models and servers have in common: created once, counted, stopped, deleted, their logs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query, Request
from fastapi.responses import Response

from mg_tui.api.errors import as_conflict, spec_problem
from mg_tui.api.garden import Garden, requester
from mg_tui.api.paths import AllowedPaths
from mg_tui.api.resources import PATIENCE, json_answer, list_body, request_record
from mg_tui.core.errors import SpecError
from mg_tui.core.request_body import read_spec_body
from mg_tui.core.spec_base import SpecBase
from mg_tui.gate import Caller
from mg_tui.runs import launch, operations
from mg_tui.runs.folder import RunFolder, new_run_id
from mg_tui.runs.remove import remove_run
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run
from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

FolderT = TypeVar("FolderT", bound=RunFolder)
SpecT = TypeVar("SpecT", bound=SpecBase)

LinesQuery = Annotated[int, Query(ge=1, le=5_000)]
_ERROR_FIELDS: Final = ("error", "what", "why", "hint")


def read_spec(kind: type[SpecT], body: Mapping[str, Any]) -> SpecT:
    """The spec that a body describes.

    Raises:
        SpecError, ApiError: a value cannot be used; the problem points into the body.
    """
    given = read_spec_body(kind, body)
    try:
        return kind.parse(given.values)
    except SpecError as error:
        raise spec_problem(error, dict(given.pointers)) from error


def create_once(
    request: Request,
    garden: Garden,
    caller: Caller,
    body: Mapping[str, Any],
    key: str | None,
    name: str | None,
    kind: type[FolderT],
    create: Callable[[str], FolderT],
    gpus: Sequence[str] | None = None,
) -> FolderT:
    """Create something and start its process, once for each Idempotency-Key.

    Args:
        name: its own name, for the id.
        kind: what it is.
        create: makes its folder, with the id it is given, and starts its process.
        gpus: for a process that was never started, because the server was killed in between.

    Raises:
        ApiError: see `IdempotencyKeys.claim`.
        GardenError: from `create`; nothing was created.
    """
    with garden.keys.claim(
        key, caller=caller.name, path=request.url.path, body=body, new_id=lambda: new_run_id(name)
    ) as claim:
        folder = kind(garden.home / kind.parent / claim.resource_id)
        if not (claim.repeated and folder.journal_file.is_file()):
            return create(claim.resource_id)
        if summarize_run(folder).state is RunState.CREATED:
            launch.start_worker(folder, gpus)
        return folder


def count_running(garden: Garden, kind: type[RunFolder]) -> int:
    """How many of a kind are running."""
    return sum(one.state is RunState.RUNNING for one in garden.list(kind))


def stop(garden: Garden, caller: Caller, folder: RunFolder) -> Response:
    """Ask for the end of something that runs; the answer to the caller.

    Raises:
        ApiError: it does not run (409).
    """
    with as_conflict():
        result = operations.request_stop(folder, requester(caller), patience=PATIENCE)
    return json_answer(request_record(result), 202)


def delete(folder: RunFolder) -> Response:
    """Remove a folder for good; the answer to the caller.

    Raises:
        ApiError: it is in use (409).
    """
    with as_conflict():
        remove_run(folder, permanently=True)
    return Response(status_code=204)


def logs(paths: AllowedPaths, files: Iterable[Path], lines: int) -> Response:
    """The last lines of each file, without paths outside the roots; the answer to the caller."""
    found = [paths.redact(strip_terminal_codes(line)) for file in files for line in read_tail(file, lines)]
    return json_answer(list_body(found, has_more=False))


def error_shown(paths: AllowedPaths, error: Mapping[str, Any]) -> dict[str, str] | None:
    """What an error says, without its traceback and without paths outside the roots."""
    return {name: paths.redact(str(text)) for name, text in error.items() if name in _ERROR_FIELDS and text} or None
