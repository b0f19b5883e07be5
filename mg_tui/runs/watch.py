"""Follows a run over time: its journal and its lock, read in an order without races.

Journal first and lock second would report a crash for a run that finished in between; lock first and journal second
would do so for one that started in between. So a free lock only counts if the journal has no new event afterwards.
"""

import time

from mg_tui.core.events import Event
from mg_tui.runs.elsewhere import has_process, lifetime_of, seconds_silent
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView


class RunWatch:
    """One run, updated by `refresh`, which only reads what was written since.

    `silent_seconds`: how long a running worker has not responded, or None (see `heartbeat`).

    `ends_only` reads only this many bytes of the beginning and the end of a journal larger than twice that, once; state
    and newest values are still exact, the curves have a gap. `thin=False` parses every event of a very long journal.
    `all_fields` keeps every number of the step events, see `Series`.
    """

    def __init__(self, folder: RunFolder, *, ends_only: int | None = None, thin: bool = True, all_fields: bool = False):
        self.folder = folder
        self.view = RunView(all_fields=all_fields)
        self.reader = JournalReader(folder.journal_file)
        self.lock_held = False
        self.silent_seconds: float | None = None
        self._ends_only = ends_only
        self._thin = thin

    @property
    def state(self) -> RunState:
        """The run's state as of the last `refresh`."""
        return self.view.state(self.lock_held, lifetime_of(self.folder))

    def now(self) -> float:
        """The current time, in Unix time."""
        return time.time()

    def refresh(self) -> list[Event]:
        """Read and return new events; of a very long journal, the first time, a selection.

        Raises:
            EnvironmentProblem: journal or lock cannot be read.
        """
        news = self._refresh()
        watched = self.lock_held and self.view.lifecycle == "started"
        beats = self.view.has_heartbeat
        self.silent_seconds = seconds_silent(self.folder, self.now(), has_heartbeat=beats) if watched else None
        return news

    def _refresh(self) -> list[Event]:
        news = self._read()
        while True:
            self.lock_held = has_process(self.folder)
            if self.lock_held or self.view.lifecycle != "started":
                return news
            more = self._read()
            if not more:
                return news
            news += more

    def _read(self) -> list[Event]:
        news: list[Event] = []
        for events in self.reader.chunks(thin=self._thin, ends_only=self._ends_only):
            self.view.apply(events)
            news += events
        self._ends_only = None
        return news
