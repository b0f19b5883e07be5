"""What the routes share: settings, roots, the list of runs, and how many engine processes may run."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

from fastapi import Depends, Request

from mg_tui.api.device_samples import DeviceSamples
from mg_tui.api.errors import ApiError, not_found
from mg_tui.api.followed import FollowedRuns
from mg_tui.api.idempotency import IdempotencyKeys
from mg_tui.api.paths import AllowedPaths
from mg_tui.config import Settings
from mg_tui.gate import CALLER_KEY, Caller
from mg_tui.gate.tokens import LOCAL_CALLER
from mg_tui.runs import control
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.model_jobs import ModelJobFolder
from mg_tui.runs.servers import ServerFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunStore, RunSummary

if TYPE_CHECKING:
    from mg_tui.api.job_changes import JobChanges
    from mg_tui.api.job_events import EventFeeds
    from mg_tui.api.listed_jobs import ListedJobs
    from mg_tui.api.pages.changes import PageChanges

FolderT = TypeVar("FolderT", bound=RunFolder)
_ENGINES_AT_ONCE: Final = 2  # processes that load a model and answer one request
_CHECKS_AT_ONCE: Final = 4  # of the framework's forty threads, which also answer everything else


class Garden:
    """One home folder as the API serves it.

    Args:
        settings: the settings.
        paths: where callers may read and write.
        own_tokens: whether runs of callers may use the owner's Hugging Face and Weights & Biases tokens.
    """

    def __init__(self, settings: Settings, paths: AllowedPaths, *, own_tokens: bool = False):
        self.settings = settings
        self.paths = paths
        self.own_tokens = own_tokens
        self.keys = IdempotencyKeys(settings.home)
        self.devices = DeviceSamples(self._run_pids)
        self.feeds: EventFeeds
        self.job_changes: JobChanges
        self.changes: PageChanges
        self.listed_jobs: ListedJobs
        self.followed = FollowedRuns()
        kinds = (RunFolder, EvaluationFolder, ModelJobFolder, ServerFolder)
        self._stores = {kind: RunStore(settings.home, kind) for kind in kinds}
        self._lock = threading.Lock()
        self._engines = threading.Semaphore(_ENGINES_AT_ONCE)
        self._checks = threading.Semaphore(_CHECKS_AT_ONCE)

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.settings.home

    @property
    def cwd(self) -> Path:
        """The folder that relative paths start from."""
        return self.paths.cwd

    @property
    def bounds(self) -> CallerBounds:
        """What a run of a caller may read and use."""
        return self.paths.bounds(own_tokens=self.own_tokens)

    def list(self, kind: type[RunFolder]) -> list[RunSummary]:
        """Every run, evaluation, job or server, newest first."""
        with self._lock:
            return self._stores[kind].refresh()

    def page(self, kind: type[RunFolder], after: str | None, limit: int) -> tuple[Sequence[RunSummary], bool]:
        """A page of folders of a kind, newest first, and whether there are more; only those of the page are read.

        `after`: the id that the page before ended with; it may be gone.
        """
        with self._lock:
            store = self._stores[kind]
            ids = [run_id for run_id in store.ids() if after is None or run_id < after]
            return [store.find(run_id) for run_id in ids[:limit]], len(ids) > limit

    def _run_pids(self) -> dict[int, str]:
        running = (run for run in self.list(RunFolder) if run.state is RunState.RUNNING)
        return {run.view.pid: run.id for run in running if run.view.pid is not None}

    def find(self, kind: type[FolderT], name: str) -> FolderT:
        """The folder of a run, an evaluation, a job or a server by its whole id.

        Raises:
            ApiError: there is none (404).
        """
        folder = kind(self.home / kind.parent / name)
        if "/" in name or name.startswith(".") or not folder.journal_file.is_file():
            raise not_found("job" if kind is RunFolder else kind.noun, name)
        return folder

    @contextmanager
    def engine_place(self) -> Iterator[None]:
        """A place for an engine process.

        Raises:
            ApiError: there is none (429).
        """
        with _place(self._engines, "too-many-engines", f"{_ENGINES_AT_ONCE} models are at work already"):
            yield

    @contextmanager
    def check_place(self) -> Iterator[None]:
        """A place for a request that reads a whole dataset, which takes a thread for as long as that takes.

        Raises:
            ApiError: there is none (429).
        """
        with _place(self._checks, "too-many-checks", f"{_CHECKS_AT_ONCE} datasets are being checked already"):
            yield


@contextmanager
def _place(places: threading.Semaphore, code: str, detail: str) -> Iterator[None]:
    if not places.acquire(blocking=False):
        raise ApiError(429, code, f"{detail}; try again later.")
    try:
        yield
    finally:
        places.release()


def requester(caller: Caller, what: str = "api") -> str:
    """Who asked, for the journal: `user@host (api, laptop)`."""
    return control.requester(what if caller.name == LOCAL_CALLER else f"{what}, {caller.name}")


def _garden(request: Request) -> Garden:
    garden: Garden = request.app.state.garden
    return garden


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope[CALLER_KEY]
    return caller


GardenOf = Annotated[Garden, Depends(_garden)]
CallerOf = Annotated[Caller, Depends(_caller)]
