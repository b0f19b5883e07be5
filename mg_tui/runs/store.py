"""All runs of a home folder, and finding one from user input."""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, overload

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.text import closest_matches
from mg_tui.runs.annotations import NO_ANNOTATIONS, AnnotationReader, Annotations, read_annotations
from mg_tui.runs.cost import Cost, compute_cost, cost_to_end
from mg_tui.runs.elsewhere import elsewhere_at, has_process, path_of
from mg_tui.runs.filtering import matches_filter
from mg_tui.runs.folder import LOCK_FILE, RunFolder
from mg_tui.runs.heartbeat import describe_silence
from mg_tui.runs.lock import is_held
from mg_tui.runs.state import RunState
from mg_tui.runs.view import RunView
from mg_tui.runs.watch import RunWatch

FolderT = TypeVar("FolderT", bound=RunFolder)

# Commands that make the first one.
_STARTERS: Final = {"evaluations": "evaluate-vision", "servers": "serve MODEL", "jobs": "merge MODEL"}
_SETTLED_NANOSECONDS: Final = 3 * 10**9  # more than the resolution of times in any file system, and than its caches
LIST_READ_BYTES: Final = 256 << 10  # bytes of a long journal's beginning and end that a list reads


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in a list.

    `problem`: why its folder cannot be read; then state and view are from what could be read. `silent_seconds`: how
    long its worker has not responded, or None.
    """

    folder: RunFolder
    view: RunView
    state: RunState
    problem: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    annotations: Annotations = NO_ANNOTATIONS
    silent_seconds: float | None = None

    @property
    def state_text(self) -> str:
        """The state in words: "running, not responding for 42 s"."""
        silence = f", {describe_silence(self.silent_seconds)}" if self.silent_seconds is not None else ""
        return f"{self.state.label}{silence}"

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    @property
    def name(self) -> str | None:
        """The name it was given later, or at its start, when it has one."""
        return self.annotations.name or self.view.name

    def matches(self, query: str) -> bool:
        """Whether a filter matches its name, id, state, model, note and tags; see `matches_filter`."""
        notes = self.annotations
        texts = (self.name, self.id, self.state.label, self.spec.get("base_model"), notes.note, *notes.tags)
        return matches_filter(query, " ".join(str(text) for text in texts if text), notes.tags)

    def elapsed_seconds(self, now: float) -> float | None:
        """Seconds from the first start to the end; of a run that died, to its last event; None before the start."""
        if self.state in (RunState.CRASHED, RunState.INTERRUPTED) and self.view.last_time is not None:
            now = self.view.last_time
        return self.view.elapsed_seconds(now)

    def as_dict(self, now: float, prices: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The run in a list, as plain values; times in seconds, `now` and moments as Unix time. NaN becomes "nan".

        `prices`: the settings' [cost] table.
        """
        view, latest = self.view, self.view.latest_step
        return {
            "id": self.id,
            "name": self.name,
            "tags": list(self.annotations.tags),
            "note": self.annotations.note or None,
            "state": self.state.value,
            "not_responding_seconds": None if self.silent_seconds is None else round(self.silent_seconds, 1),
            "problem": self.problem,
            "path": path_of(self.folder),
            "base_model": self.spec.get("base_model"),
            "dataset": self.spec.get("dataset"),
            "output_dir": self.spec.get("output_dir"),
            "phase": view.phase if self.state in (RunState.RUNNING, RunState.QUEUED) else None,
            "phase_detail": view.phase_detail if self.state in (RunState.RUNNING, RunState.QUEUED) else None,
            "step": view.step,
            "total_steps": view.total_steps,
            "epoch": latest.get("epoch"),
            "loss": latest.get("loss"),
            "eta_seconds": view.eta_seconds(now) if self.state is RunState.RUNNING else None,
            "elapsed_seconds": self.elapsed_seconds(now),
            "created_at": view.created_at,
            "started_at": view.started_at,
            "ended_at": view.ended_at,
            "attempt": view.attempt,
            "pid": view.pid if self.state is RunState.RUNNING else None,
            "host": view.host,
            "warnings": view.warning_count,
            "checkpoints": len(view.checkpoints),
            "best_step": view.best.step if view.best is not None else None,
            **self._cost_values(now, prices or {}),
        }

    def cost(self, now: float, prices: Mapping[str, Any]) -> Cost:
        """What it has used and cost so far, all attempts together."""
        return compute_cost(self.view.energy_j, self.view.gpu_seconds, prices, self.elapsed_seconds(now))

    def cost_to_end(self, now: float, prices: Mapping[str, Any]) -> float | None:
        """What it will still cost; None while it is not running, or not known."""
        eta = self.view.eta_seconds(now) if self.state is RunState.RUNNING else None
        return cost_to_end(self.cost(now, prices), self.elapsed_seconds(now), eta)

    def _cost_values(self, now: float, prices: Mapping[str, Any]) -> dict[str, Any]:
        left = self.cost_to_end(now, prices)
        return {**self.cost(now, prices).as_dict(), "cost_to_end": None if left is None else round(left, 4)}


class RunStore:
    """The runs under `home`; `refresh` reads only what is new, for long-lived front ends."""

    def __init__(self, home: Path, kind: type[RunFolder] = RunFolder):
        self.home = home
        self._kind = kind
        self._known: dict[str, _KnownRun] = {}
        self._names: tuple[int, list[str]] | None = None  # the ids, and when the folder that has them was changed

    def refresh(self) -> list[RunSummary]:
        """Every run, newest first; an unreadable folder is an entry with a `problem`."""
        return [self.find(run_id) for run_id in self.ids()]

    def ids(self) -> list[str]:
        """The id of every run, newest first; nothing of them is read."""
        changed = _when_changed(self.home / self._kind.parent)
        if self._names is not None and self._names[0] == changed:
            return self._names[1]
        names = _folder_names(self.home, self._kind)
        for gone in self._known.keys() - set(names):
            del self._known[gone]
        # A folder that was changed just now may change again without its time showing that.
        settled = changed is not None and time.time_ns() - changed > _SETTLED_NANOSECONDS
        self._names = (changed, names) if changed is not None and settled else None
        return names

    def find(self, run_id: str) -> RunSummary:
        """One of `ids`, as it is now."""
        known = self._known.get(run_id)
        if known is None:
            known = self._known[run_id] = _KnownRun(self._kind(self.home / self._kind.parent / run_id))
        return known.refresh()


class _KnownRun:
    """One run of a list. Most runs of a long list have ended: as long as nobody wrote into one, it is what it was."""

    __slots__ = ("_journal", "_notes", "_summarizer", "_summary", "_written")

    def __init__(self, folder: RunFolder):
        # As texts: a list looks at two files of each of a thousand runs, again and again.
        self._journal, self._notes = str(folder.journal_file), str(folder.annotations_file)
        self._summarizer = RunSummarizer(RunWatch(folder, ends_only=LIST_READ_BYTES))
        self._summary: RunSummary | None = None
        self._written: tuple[int, ...] | None = None

    def refresh(self) -> RunSummary:
        """The run as it is now."""
        written = self._when_written()
        if self._summary is not None and written == self._written:
            return self._summary
        summary = self._summarizer.refresh()
        ended = summary.view.lifecycle in ("finished", "stopped", "failed") and written is not None
        self._summary, self._written = (summary, written) if ended else (None, None)
        return summary

    def _when_written(self) -> tuple[int, ...] | None:
        """Sizes and times of journal and annotations; None when the journal cannot be looked at."""
        try:
            journal = os.stat(self._journal)  # noqa: PTH116
        except OSError:
            return None
        try:
            notes = os.stat(self._notes).st_mtime_ns  # noqa: PTH116
        except OSError:
            notes = 0
        return journal.st_size, journal.st_mtime_ns, journal.st_ino, notes


class RunSummarizer:
    """Follows one run and summarizes it; the spec, once it was readable, is not read again."""

    def __init__(self, watch: RunWatch) -> None:
        self._watch = watch
        self._spec: Mapping[str, Any] | None = None
        self._digest: str | None = None  # of the spec, by the journal
        self._annotations = AnnotationReader(watch.folder)

    def refresh(self) -> RunSummary:
        """The run with what is new of it; a read error becomes its `problem`."""
        summary = _summarize(self._watch, self._spec, self._annotations.read())
        digest = summary.view.spec_digest
        if digest != self._digest:  # the spec was changed and accepted, or is known now
            self._digest, self._spec = digest, None
        else:
            self._spec = summary.spec or None
        return summary


def describe_damage(watch: RunWatch) -> str | None:
    """The damage of the journal that `watch` has read, in a sentence, or None."""
    corrupt, missing = watch.reader.corrupt_lines, watch.reader.missing
    damage = [f"{corrupt} broken lines" if corrupt != 1 else "1 broken line"] if corrupt else []
    damage += [f"{missing} missing events" if missing != 1 else "1 missing event"] if missing else []
    return f"The journal has {' and '.join(damage)}; showing the rest." if damage else None


@overload
def run_folders(home: Path) -> list[RunFolder]: ...
@overload
def run_folders(home: Path, kind: type[FolderT]) -> list[FolderT]: ...
def run_folders(home: Path, kind: type[RunFolder] = RunFolder) -> Sequence[RunFolder]:
    """The folders of the runs under `home`, newest first; empty when there is none, or it cannot be read."""
    return [kind(home / kind.parent / name) for name in _folder_names(home, kind)]


def folders_with(home: Path, file: str) -> list[RunFolder]:
    """The folders of the runs under `home` that have a file of this name, newest first."""
    runs = home / RunFolder.parent
    names = _folder_names(home, RunFolder)
    # As texts: of very many runs hardly any has one.
    return [RunFolder(runs / name) for name in names if os.path.exists(f"{runs}/{name}/{file}")]  # noqa: PTH110


def _folder_names(home: Path, kind: type[RunFolder]) -> list[str]:
    try:
        names = [entry.name for entry in os.scandir(home / kind.parent) if entry.is_dir()]
    except OSError:
        return []
    return sorted((name for name in names if not name.startswith(".")), reverse=True)


def _when_changed(folder: Path) -> int | None:
    """When an entry of a folder was made, renamed or deleted last, in ns; None when that cannot be known."""
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116
    except OSError:
        return None


def list_runs(home: Path, kind: type[RunFolder] = RunFolder) -> list[RunSummary]:
    """Every run under `home`, newest first; an unreadable folder is an entry with a `problem`."""
    if (elsewhere := elsewhere_at(home)) is not None:
        elsewhere.wait_until_current()
    return RunStore(home, kind).refresh()


def list_running(home: Path, kind: type[RunFolder] = RunFolder) -> list[RunSummary]:
    """Every run under `home` that is running, newest first. Journals are read only where there is a process."""
    found: list[RunSummary] = []
    here = elsewhere_at(home) is None
    for name in _folder_names(home, kind):
        with contextlib.suppress(GardenError):
            # Of a thousand runs hardly any has a process: a path as text is a third of the price of looking.
            if here and not is_held(f"{home}/{kind.parent}/{name}/{LOCK_FILE}"):
                continue
            folder = kind(home / kind.parent / name)
            if has_process(folder):
                found.append(summarize_run(folder))
    return [run for run in found if run.state is RunState.RUNNING]


def list_active(home: Path) -> list[RunSummary]:
    """Every run under `home` that is running or queued, newest first."""
    return [run for run in list_runs(home) if run.state in (RunState.RUNNING, RunState.QUEUED)]


def summarize_run(folder: RunFolder) -> RunSummary:
    """One run, from its whole journal; a read error becomes its `problem`."""
    return _summarize(RunWatch(folder), None, read_annotations(folder))


def _summarize(watch: RunWatch, spec: Mapping[str, Any] | None, annotations: Annotations) -> RunSummary:
    problem: str | None = None
    try:
        watch.refresh()
        spec = spec or watch.folder.spec_values()
    except GardenError as error:
        problem = f"{error.what.rstrip('.')}: {error.why}" if error.why else error.what
    if watch.view.lifecycle is None:
        problem = problem or "The journal is missing, empty or invalid."
    damage = problem or describe_damage(watch)
    silent = watch.silent_seconds
    return RunSummary(watch.folder, watch.view, watch.state, damage, spec or {}, annotations, silent)


@overload
def find_run(home: Path, ref: str) -> RunFolder: ...
@overload
def find_run(home: Path, ref: str, kind: type[FolderT]) -> FolderT: ...
def find_run(home: Path, ref: str, kind: type[RunFolder] = RunFolder) -> RunFolder:
    """Find a run by its id, a prefix or suffix of it, its name, a path to its folder, or "last".

    Raises:
        UsageError: there is none, or more than one; names close ids.
    """
    if (elsewhere := elsewhere_at(home)) is not None:
        elsewhere.wait_until_current()
        ref = ref.rstrip("/").rpartition("/")[2]  # a path is one of that machine
    if "/" in ref:
        return _run_at_path(ref, kind)
    folders = run_folders(home, kind)
    if not folders:
        starter = _STARTERS.get(kind.command, "train-vision")
        raise UsageError(
            f"No {kind.command} yet.", where=_where(home, kind), hint=f"start one with `model-garden {starter}`"
        )
    if ref == "last":
        return folders[0]
    exact = [folder for folder in folders if folder.id == ref]
    matches = exact or [folder for folder in folders if ref and _matches_id(folder.id, ref)]
    matches = matches or [folder for folder in folders if ref in _run_names(folder)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(
            f"{ref!r} matches {len(matches)} {kind.command}.",
            hint="use a longer id: " + ", ".join(folder.id for folder in matches[:6]),
        )
    near = closest_matches(ref, [folder.id for folder in folders], count=3, cutoff=0.5) or [f.id for f in folders[:3]]
    raise UsageError(
        f"{kind.noun.capitalize()} {ref!r} not found.",
        where=_where(home, kind),
        hint="there is " + ", ".join(near),
    )


def _where(home: Path, kind: type[RunFolder]) -> str:
    elsewhere = elsewhere_at(home)
    return str(home / kind.parent) if elsewhere is None else elsewhere.address


def _matches_id(run_id: str, ref: str) -> bool:
    return run_id.startswith(ref) or run_id.endswith(ref) or f"-{ref}-" in f"{run_id}-"


def _run_names(folder: RunFolder) -> tuple[str | None, ...]:
    """The name it was given later, and the one at its start."""
    renamed = read_annotations(folder).name
    try:
        return renamed, folder.spec_values().get("name")
    except UsageError:
        return (renamed,)


def _run_at_path(ref: str, kind: type[FolderT]) -> FolderT:
    folder = kind(expand_user(ref).absolute())
    if not folder.journal_file.is_file():
        raise UsageError(
            f"Not {'an' if kind.noun[0] in 'aeiou' else 'a'} {kind.noun} folder.",
            where=str(folder.path),
            why="it has no journal (events.jsonl)",
        )
    return folder
