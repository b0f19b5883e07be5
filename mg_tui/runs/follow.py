"""Following a run's journal from its beginning to the end of the run."""

import time
from collections.abc import Iterator

from mg_tui.core.errors import RunFailed
from mg_tui.core.events import Event
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.launch import start_error, worker_exit_status
from mg_tui.runs.watch import RunWatch


def follow(folder: RunFolder, poll: float = 0.3, *, watch: RunWatch | None = None) -> Iterator[list[Event]]:
    """What is written to a run's journal, from its beginning, until the run ends or its worker dies.

    Yields every `poll` seconds at most, also an empty list when nothing is new, so that the caller can draw a clock.
    With a `watch` of the caller's it goes on from where that one is, and the caller can look at its view meanwhile.

    Raises:
        RunFailed: the worker that this process started died before its first word, or the folder was removed.
    """
    watch = watch or RunWatch(folder)
    while True:
        exit_status = worker_exit_status(folder)
        yield watch.refresh()
        if watch.state.ended:
            return
        if not folder.path.exists():
            raise RunFailed("The run folder no longer exists.", where=str(folder.path), why="it was deleted")
        if exit_status is not None and watch.view.lifecycle in (None, "created", "queued"):
            raise start_error(folder, f"exit status {exit_status}")
        time.sleep(poll)
