"""A rank's notes about itself, written every second by a thread (see `mg_tui.runs.ranks`)."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mg_tui.runs.ranks import BEAT_SECONDS, NoteWriter, RankNote, RankNotes

CONCLUDING: Final = "saving after another process was lost"
WAITING: Final = "waiting for the others"
_SAMPLE_BEATS: Final = 3  # beats between two looks at memory and utilization


class RankHealth:
    """The note of this process; a context manager whose thread keeps it fresh."""

    def __init__(self, run: Path, rank: int):
        self.note = RankNote(rank, pid=os.getpid(), host=socket.gethostname(), doing="starting")
        self._writer = NoteWriter(RankNotes(run).path(rank))
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._process: Any = None
        self._thread = threading.Thread(target=self._beat, name="rank health", daemon=True)

    def __enter__(self) -> "RankHealth":
        self.write()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self.write()
        self._writer.close()

    def write(self) -> None:
        """Write the note now."""
        with self._writing:
            self._writer.write(self.note)

    def begin_step(self, step: int, rows: Sequence[int]) -> None:
        """A step begins; `rows` are those of this rank."""
        self.note.step, self.note.rows, self.note.doing = step, tuple(rows), "computing"

    def say(self, doing: str) -> None:
        """What the process is doing from now on."""
        self.note.doing = doing

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within this block it waits for the others."""
        before, self.note.doing = self.note.doing, WAITING
        try:
            yield
        finally:
            self.note.doing = before

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(BEAT_SECONDS):
            if beats % _SAMPLE_BEATS == 0:
                self._sample()
            beats += 1
            self.write()

    def _sample(self) -> None:
        import psutil

        note = self.note
        if self._process is None:
            self._process = psutil.Process()
            self._process.cpu_percent()
        note.host_memory = int(self._process.memory_info().rss)
        note.utilization = float(self._process.cpu_percent())
        torch: Any = sys.modules.get("torch")  # it may still be on its way in
        cuda = getattr(torch, "cuda", None)
        if cuda is not None and getattr(cuda, "is_initialized", bool)():
            note.device_memory, note.device_memory_peak = cuda.memory_allocated(), cuda.max_memory_allocated()
            try:
                note.utilization = float(cuda.utilization())
            except Exception:  # no NVML, or a device that it does not know
                note.utilization = None


def summarize_ranks(notes: Sequence[RankNote], now: float | None = None) -> list[dict[str, Any]]:
    """The notes as the `ranks` event has them: without rows, with the seconds since each was written."""
    now = time.time() if now is None else now
    kept = ("rank", "pid", "host", "step", "doing", "seconds", "device_memory", "device_memory_peak", "host_memory")
    return [
        {
            **{name: getattr(note, name) for name in kept},
            "utilization": None if note.utilization is None else round(note.utilization, 1),
            "silent": round(max(now - note.at, 0.0), 1),
        }
        for note in notes
    ]
