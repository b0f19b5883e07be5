"""Following a run's journal from its beginning to the end of the run."""

import time
from collections.abc import Iterator

from mg_tui.core.events import Event
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.watch import RunWatch


def follow(folder: RunFolder, poll: float = 0.3) -> Iterator[list[Event]]:
    """What is written to a run's journal, from its beginning, until the run ends or its worker dies.

    Yields every `poll` seconds at most, also an empty list when nothing is new, so that the caller can draw a clock.
    """
    watch = RunWatch(folder)
    while True:
        yield watch.refresh()
        if watch.state.ended:
            return
        time.sleep(poll)
