"""Keep answers while they come, so that nothing is computed twice, and make the final files of them."""

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.core.text import one_line
from mg_tui.metrics.contract import Evaluation, Metric
from mg_tui.metrics.results.files import ANSWERS, SPEC, write_bytes, write_final
from mg_tui.metrics.results.records import SCHEMA, AnsweredRow, json_line, json_safe, parse_row
from mg_tui.metrics.scoring import evaluate

# Seconds between answers being forced onto the disk. A killed process loses nothing; a power cut at most these.
_SYNC: Final = 1.0


class ResultsWriter:
    """The one writer of an evaluation's folder. A context manager.

    An existing folder is resumed: rows that have an answer are in `done`. A torn last line, left by a process
    that died while writing, is cut off, and lines that are damaged are not counted: their rows are answered again.

    Args:
        folder: made when it is not there.
        spec: what decides the answers: model, dataset, split, limit, sampling; JSON values. Metrics are no part of it.

    Raises:
        UsageError: the folder has an evaluation of something else; the message says what differs.
        RunFailed: another process is writing it.
        EnvironmentProblem: it cannot be written.
    """

    def __init__(self, folder: Path, spec: Mapping[str, Any]):
        self.folder = folder
        self.spec: dict[str, Any] = json_safe(spec)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(folder / ANSWERS, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unwritable(folder, error) from None
        try:
            _lock(self._fd, folder)
            _close_in_children(self)
            self._require_same_spec()
            self._rows, size = _read(self._fd)
            if size < os.fstat(self._fd).st_size:
                os.ftruncate(self._fd, size)
        except OSError as error:
            os.close(self._fd)
            raise _unwritable(folder, error) from None
        except BaseException:
            os.close(self._fd)
            raise
        self._synced = time.monotonic()
        self._adding = threading.Lock()

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the rows that have an answer."""
        return frozenset(self._rows)

    def add(self, row: AnsweredRow) -> None:
        """Keep an answer. One to a row that has one already is ignored. May be called from several threads.

        Raises:
            EnvironmentProblem: it cannot be written; the file is left as it was.
        """
        line = row.line()
        with self._adding:
            if row.row not in self._rows:
                self._append(row.row, line)

    def _append(self, number: int, line: bytes) -> None:
        before = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced > _SYNC:
                os.fsync(self._fd)
                self._synced = time.monotonic()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)
            raise _unwritable(self.folder, error) from None
        # What is scored is what is on the disk: a resumed evaluation has nothing else.
        stored = parse_row(line)
        assert stored is not None
        self._rows[number] = stored

    def rows(self) -> list[AnsweredRow]:
        """The rows that have an answer, in the order of the dataset."""
        return [self._rows[number] for number in sorted(self._rows)]

    def finish(
        self, metrics: Sequence[Metric], *, rows: Iterable[int], reason: str = "", group_by: Sequence[str] | None = None
    ) -> Evaluation:
        """Score all rows and write `rows.jsonl`, `rows.parquet` and `summary.json`.

        May be called again with other metrics: nothing is answered again.

        Args:
            rows: numbers of the rows that were to be answered; others that have an answer are left out.
            reason: why these metrics, in a sentence, for the summary.
            group_by: columns to group by; None takes those that part the rows.

        Raises:
            RunFailed: a row has no answer.
            DataError: as `mg_tui.metrics.scoring.evaluate`.
            UsageError: no row has a column to group by.
            EnvironmentProblem: the files cannot be written.
        """
        numbers = sorted(set(rows))
        missing = [number for number in numbers if number not in self._rows]
        if missing:
            raise RunFailed(
                f"{len(missing)} of {len(numbers)} rows have no answer yet, the first of them row {missing[0]}",
                where=str(self.folder),
                hint="resume the evaluation: finished answers are stored",
            )
        answered = [self._rows[number] for number in numbers]
        evaluation = evaluate([row.prediction for row in answered], metrics)
        try:
            os.fsync(self._fd)
            write_final(self.folder, self.spec, answered, evaluation, reason=reason, group_by=group_by)
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        return evaluation

    def close(self) -> None:
        """Let go of the folder; doing so twice is fine."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.fsync(fd)
            os.close(fd)

    def close_after_fork(self) -> None:
        """In a forked child: let go of the parent's folder without freeing it for others."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_same_spec(self) -> None:
        path = self.folder / SPEC
        wanted = {"schema": SCHEMA, **self.spec}
        if not path.exists():
            write_bytes(path, json.dumps(wanted, ensure_ascii=False, indent=2).encode() + b"\n")
            return
        try:
            there = json.loads(path.read_bytes())
        except ValueError:
            there = None
        if there == wanted:
            return
        keys = sorted(
            key
            for key in wanted.keys() | (there.keys() if isinstance(there, dict) else set())
            if not isinstance(there, dict) or there.get(key) != wanted.get(key)
        )
        shown = [
            f"{one_line(str(key), limit=40)} is {_shown(there, key)} there and {_shown(wanted, key)} now"
            for key in keys[:3]
        ]
        raise UsageError(
            "the folder has the evaluation of something else",
            where=str(self.folder),
            why="; ".join(shown),
            hint="choose another folder, or resume with the options of before",
        )


def _shown(values: Any, key: str) -> str:
    value = values.get(key) if isinstance(values, dict) else "unreadable"
    return one_line(json_line(value).decode(), limit=60)


def _read(fd: int) -> tuple[dict[int, AnsweredRow], int]:
    """The answers of a file by row, the first of each, and where its last whole line ends."""
    rows: dict[int, AnsweredRow] = {}
    size = 0
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        for line in file:
            if not line.endswith(b"\n"):
                break
            size += len(line)
            row = parse_row(line)
            if row is not None:
                rows.setdefault(row.row, row)
    return rows, size


def _lock(fd: int, folder: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunFailed(
            "another process is writing this evaluation", where=str(folder), hint="wait for it, or stop it"
        ) from None


_OPEN: Final[weakref.WeakSet[ResultsWriter]] = weakref.WeakSet()


def _close_in_children(writer: ResultsWriter) -> None:
    """A forked data worker that outlives a killed parent must not keep the folder locked."""
    _OPEN.add(writer)


def _after_fork() -> None:
    for writer in list(_OPEN):
        writer.close_after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _unwritable(folder: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem("the results of the evaluation cannot be written", where=str(folder), why=error.strerror)
