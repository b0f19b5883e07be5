"""The training processes of a run that has several: how each one is, and what became of one that was lost.

They are called ranks, as everywhere, and numbered from 0; rank 0 writes the journal. Each writes one small file about
itself, `ranks/1.json`, every second: a process that is suspended or dead does not. What the process that started them
finds out about one is in `ranks/lost.json`, where rank 0 reads which of the others it was that broke a connection.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from mg_tui.core.files import write_atomic
from mg_tui.core.text import first_few
from mg_tui.runs.folder import RunFolder

RANKS_FOLDER: Final = "ranks"
BEAT_SECONDS: Final = 1.0  # seconds between two notes of a rank
LOST_FILE: Final = "lost.json"
_MAX_ROWS: Final = 64  # noted of a step


@dataclass(slots=True)
class RankNote:
    """What a rank says of itself.

    Attributes:
        rank: its number.
        pid, host: its process.
        step: the step it is in, from 1; 0 before the first.
        rows: its rows of that step.
        doing: its last word.
        seconds: what its share of the last step took, without the wait for the others.
        device_memory, device_memory_peak, host_memory: bytes; None where unknown.
        utilization: of its GPU, or of one core by its process, in percent.
        at: when it was written, in Unix time.
    """

    rank: int
    pid: int = 0
    host: str = ""
    step: int = 0
    rows: tuple[int, ...] = ()
    doing: str = ""
    seconds: float | None = None
    device_memory: int | None = None
    device_memory_peak: int | None = None
    host_memory: int | None = None
    utilization: float | None = None
    at: float = 0.0

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """A note from its values; unknown ones are ignored.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        known = {item.name for item in fields(cls)}
        values = {name: value for name, value in record.items() if name in known}
        values["rows"] = tuple(map(int, values.get("rows", ())))
        return cls(**{**values, "rank": int(record["rank"])})

    def as_record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "rows": list(self.rows[:_MAX_ROWS])}

    @property
    def place(self) -> str:
        """ "step 7, rows 3, 4" """
        rows = f", rows {first_few(list(self.rows), 12)}" if self.rows else ""
        return f"step {self.step}{rows}" if self.step else self.doing or "before the first step"


@dataclass(frozen=True, slots=True)
class LostRank:
    """A rank that ended or did not respond, and what is known of it.

    Attributes:
        rank: its number.
        how: "was killed by signal 9", "did not respond for 20 s", ...
        note: its last note.
        error: the error that it ended with, as `GardenError.as_dict`; empty without one.
    """

    rank: int
    how: str
    note: RankNote
    error: Mapping[str, Any] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"rank": self.rank, "how": self.how, "note": self.note.as_record(), "error": dict(self.error)}

    def failure(self, saved: str | None = None) -> dict[str, Any]:
        """The fields of the run's `failed` event. `saved` says what was saved after it was lost."""
        log = f"{RANKS_FOLDER}/{self.rank}.log" if self.rank else "worker.log"
        if self.error:
            what = str(self.error.get("what") or self.error.get("error"))
            record = {**self.error, "what": f"training process {self.rank}: {what}"}
        else:
            record = {
                "error": "RunFailed",
                "what": f"training process {self.rank} {self.how}",
                "where": self.note.place,
                "hint": f"its last lines are in {log} of the run's folder; then resume the run",
            }
        reasons = [str(reason) for reason in (record.get("why"), saved) if reason]
        facts: dict[str, Any] = {"rank": self.rank, "why": "; ".join(reasons) or None}
        if self.note.step and not record.get("step"):
            facts |= {"step": self.note.step, "rows": list(self.note.rows)}
        return {**record, **facts}


class RankNotes:
    """The notes in a run's folder."""

    def __init__(self, run: Path):
        self.folder = run / RANKS_FOLDER

    def clear(self) -> None:
        """Remove what an earlier attempt left; makes the folder."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.glob("*.json"):
            path.unlink(missing_ok=True)

    def path(self, rank: int) -> Path:
        """The file of a rank."""
        return self.folder / f"{rank}.json"

    def log_file(self, rank: int) -> Path:
        """What a rank other than 0 and its libraries printed."""
        return self.folder / f"{rank}.log"

    def own_folder(self, rank: int) -> RunFolder:
        """A folder for what a rank other than 0 finds out and the run's folder has already; made when missing."""
        path = self.folder / f"files-{rank}"
        path.mkdir(parents=True, exist_ok=True)
        return RunFolder(path)

    def read(self, rank: int) -> RankNote | None:
        """The note of a rank; None before it has written one, and while it writes."""
        try:
            return RankNote.from_record(json.loads(self.path(rank).read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def read_all(self) -> list[RankNote]:
        """The notes of all ranks, by number."""
        with contextlib.suppress(OSError):
            ranks = sorted(int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdecimal())
            return [note for note in map(self.read, ranks) if note is not None]
        return []

    def seconds_silent(self, rank: int, now: float) -> float | None:
        """Seconds since a rank wrote; None before it wrote at all. `now` is Unix time."""
        try:
            return max(now - self.path(rank).stat().st_mtime, 0.0)
        except OSError:
            return None

    def write_error(self, rank: int, record: Mapping[str, Any]) -> None:
        """Save the error that a rank ends with."""
        with contextlib.suppress(OSError):
            write_atomic(self._error_file(rank), json.dumps(dict(record), default=str).encode())

    def read_error(self, rank: int) -> dict[str, Any]:
        """The error that a rank ended with; empty without one."""
        return _read_object(self._error_file(rank))

    def _error_file(self, rank: int) -> Path:
        return self.folder / f"error-{rank}.json"

    def write_lost(self, lost: LostRank) -> None:
        """Save which rank was lost, for rank 0."""
        with contextlib.suppress(OSError):
            write_atomic(self.folder / LOST_FILE, json.dumps(lost.as_record(), default=str).encode())

    def read_lost(self) -> LostRank | None:
        """The rank that was lost; None while none is known of."""
        record = _read_object(self.folder / LOST_FILE)
        try:
            note = RankNote.from_record(record["note"])
            return LostRank(int(record["rank"]), str(record["how"]), note, record.get("error") or {})
        except (ValueError, TypeError, KeyError):
            return None

    def wait_for_lost(self, patience: float) -> LostRank | None:
        """The rank that was lost, waiting at most `patience` seconds for the word of it."""
        deadline = time.monotonic() + patience
        while (lost := self.read_lost()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        return lost


class NoteWriter:
    """Writes the file of one rank, over and over; a full disk must not end a run."""

    def __init__(self, path: Path):
        self._path = path
        self._fd = -1

    def write(self, note: RankNote) -> None:
        """Write it as of now."""
        note.at = round(time.time(), 3)
        with contextlib.suppress(OSError):
            if self._fd < 0:
                self._path.parent.mkdir(exist_ok=True)
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            data = json.dumps(note.as_record()).encode()
            os.ftruncate(self._fd, os.pwrite(self._fd, data, 0))

    def close(self) -> None:
        """Close the file; doing so twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
