"""A sweep's folder: what was asked for, and what has been decided so far."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import DataError, EnvironmentProblem, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.text import closest_matches
from mg_tui.runs.checkpoint_format import BestBy
from mg_tui.runs.folder import RUNS_FOLDER, RunFolder
from mg_tui.runs.watch_request import write_private

SWEEPS_FOLDER: Final = "sweeps"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")  # also a tag of its runs


@dataclass(frozen=True, slots=True)
class Rung:
    """A step after which runs are compared: the best `keep` continue."""

    keep: int
    after: int


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of a sweep: its number from 1, its id, and what it varies. `spec` has all of its options."""

    number: int
    id: str
    values: Mapping[str, Any]
    spec: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep was asked to do.

    Attributes:
        name: also the name of its folder.
        runs: its runs in order.
        over: the options that are varied, with their values or range.
        metric, higher_is_better: what the runs are compared by.
        rungs: after which steps how many runs continue, ascending; empty: all run to their end.
        gpus: the devices that each run requests.
        cwd: the working directory, the base of relative image paths.
        asked: a digest of what was asked for, by which a repeated command is recognized.
        created_at: Unix time in seconds.
    """

    name: str
    runs: tuple[SweepRun, ...]
    over: Mapping[str, Any]
    metric: str = "loss"
    higher_is_better: bool = False
    rungs: tuple[Rung, ...] = ()
    gpus: tuple[str, ...] = ()
    cwd: str = ""
    asked: str = ""
    created_at: float = 0.0

    @property
    def by(self) -> str:
        """How the sweep signs what it does in the journals of its runs."""
        return f"sweep {self.name}"

    @property
    def best_by(self) -> BestBy:
        """What decides which run is the best."""
        return BestBy(self.metric, self.higher_is_better)


@dataclass(frozen=True, slots=True)
class SweepState:
    """What has been decided: only the driver writes it.

    Attributes:
        created: all runs have been created; one whose folder is missing since was removed by somebody.
        kept: for each rung that was decided, the numbers of the runs that continue.
        done: nothing is left to do.
    """

    created: bool = False
    kept: tuple[tuple[int, ...], ...] = ()
    done: bool = False

    def dropped_at(self, number: int) -> int | None:
        """The place of the rung after which a run was given up, or None."""
        return next((place for place, kept in enumerate(self.kept) if number not in kept), None)


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """The folder of a sweep; its properties are paths."""

    path: Path

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.path.name

    @property
    def home(self) -> Path:
        """The home folder it is in."""
        return self.path.parent.parent

    @property
    def sweep_file(self) -> Path:
        """What was asked for."""
        return self.path / "sweep.json"

    @property
    def lock_file(self) -> Path:
        """Held by the driver."""
        return self.path / "lock"

    @property
    def log_file(self) -> Path:
        """What the driver printed."""
        return self.path / "driver.log"

    @property
    def stop_file(self) -> Path:
        """There while the sweep is stopped."""
        return self.path / "stop"

    def run_folder(self, run: SweepRun) -> RunFolder:
        """The folder of one of its runs."""
        return RunFolder(self.home / RUNS_FOLDER / run.id)

    def read(self) -> Sweep:
        """What was asked for.

        Raises:
            DataError: the file is damaged.
            UsageError: there is none.
        """
        try:
            record = json.loads(self.sweep_file.read_bytes())
            rungs = tuple(Rung(int(rung["keep"]), int(rung["after"])) for rung in record.pop("rungs"))
            runs = tuple(SweepRun(**run) for run in record.pop("runs"))
            return replace(Sweep(**{**record, "gpus": tuple(record["gpus"]), "runs": runs}), rungs=rungs)
        except FileNotFoundError:
            raise UsageError(f"There is no sweep {self.name}.", where=str(self.path)) from None
        except OSError as error:
            raise EnvironmentProblem(
                "Cannot read the sweep.", where=str(self.sweep_file), why=error.strerror
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError("The sweep's file is damaged.", where=str(self.sweep_file), why=str(error)) from error

    def write(self, sweep: Sweep) -> None:
        """Write what was asked for, for the owner only: specs may name notification services.

        Raises:
            EnvironmentProblem: it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_private(self.sweep_file, asdict(sweep))
        except OSError as error:
            raise EnvironmentProblem("Cannot save the sweep.", where=str(self.path), why=error.strerror) from error

    def read_state(self) -> SweepState:
        """What has been decided; nothing when the file is missing or damaged: decisions then are made again."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            record = json.loads((self.path / "state.json").read_bytes())
            kept = tuple(tuple(int(number) for number in rung) for rung in record["kept"])
            return SweepState(record["created"] is True, kept, record["done"] is True)
        return SweepState()

    def write_state(self, state: SweepState) -> None:
        """Save what has been decided.

        Raises:
            EnvironmentProblem: it cannot be written.
        """
        try:
            write_atomic(self.path / "state.json", (json.dumps(asdict(state)) + "\n").encode())
        except OSError as error:
            raise EnvironmentProblem("Cannot save the sweep.", where=str(self.path), why=error.strerror) from error


def sweep_folder(home: Path, name: str) -> SweepFolder:
    """The folder of a new or an existing sweep.

    Raises:
        UsageError: the name cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"name: got {name!r}; the name of a sweep is up to 32 letters, digits, dots, dashes and underscores",
        )
    return SweepFolder(home / SWEEPS_FOLDER / name)


def list_sweeps(home: Path) -> list[SweepFolder]:
    """The sweeps of a home by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(home / SWEEPS_FOLDER) if entry.is_dir())
    except OSError:
        return []
    return [folder for name in names if (folder := SweepFolder(home / SWEEPS_FOLDER / name)).sweep_file.exists()]


def find_sweep(home: Path, name: str) -> SweepFolder:
    """The sweep of a name, or the newest for `last`.

    Raises:
        UsageError: there is none; names close ones.
    """
    found = list_sweeps(home)
    if name == "last" and found:
        return max(found, key=lambda folder: folder.sweep_file.stat().st_mtime)
    for folder in found:
        if folder.name == name:
            return folder
    names = [folder.name for folder in found]
    near = closest_matches(name, names, count=3, cutoff=0.5) or names[:3]
    raise UsageError(
        f"There is no sweep {name!r}.",
        where=str(home / SWEEPS_FOLDER),
        hint="there is " + ", ".join(near)
        if near
        else "start one: model-garden sweep DATASET --over learning_rate=...",
    )


def digest_of(asked: Mapping[str, Any]) -> str:
    """A digest of what was asked for."""
    text = json.dumps(asked, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
