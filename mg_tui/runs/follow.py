"""Follow a run's journal from its beginning to the end of the run."""

import time
from collections.abc import Iterator

from mg_tui.core.errors import RunFailed
from mg_tui.core.events import Event
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.launch import start_error, worker_exit_status
from mg_tui.runs.watch import RunWatch


def follow(folder: RunFolder, poll: float = 0.3, *, watch: RunWatch | None = None) -> Iterator[list[Event]]:
    """The events of a run's journal, from its beginning, until the run ends or its worker dies.

    Yields at least every `poll` seconds, also an empty list, so that the caller can update a clock. With a `watch` of
    the caller it continues from that position, and the caller can use the watch's view.

    Raises:
        RunFailed: the worker that this process started died before its first event, or the folder was removed.
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
