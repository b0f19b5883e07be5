"""Runs that are shown again and again: of each, only what is new of its journal is read."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import RunSummarizer, RunSummary
from mg_tui.runs.watch import RunWatch

_MAX_RUNS: Final = 16  # whose curves are kept in memory


class FollowedRuns:
    """The runs that were shown last. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, tuple[RunSummarizer, threading.Lock]] = OrderedDict()

    @contextmanager
    def summary(self, folder: RunFolder) -> Iterator[RunSummary]:
        """A run with its whole journal, as it is now; nobody else changes it within the block."""
        with self._lock:
            found = self._runs.pop(folder.id, None) or (RunSummarizer(RunWatch(folder)), threading.Lock())
            self._runs[folder.id] = found
            while len(self._runs) > _MAX_RUNS:
                self._runs.popitem(last=False)
        summarizer, lock = found
        with lock:
            yield summarizer.refresh()
