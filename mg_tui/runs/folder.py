"""A run's folder: its file names, and its atomic creation."""

import contextlib
import hashlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, Self

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.files import fsync_folder, write_atomic
from mg_tui.runs.caller_bounds import CallerBounds, write_caller_bounds
from mg_tui.runs.journal import JournalWriter

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec  # pydantic is slow to import, and lists of runs do not need it

RUNS_FOLDER: Final = "runs"
LOCK_FILE: Final = "lock"  # of a run's folder
_UNFINISHED_PREFIX: Final = ".new-"
_ID_ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
_ABANDONED_SECONDS: Final = 3600.0  # seconds
_CREATION_SECONDS: Final = 60.0  # far more than a creation takes


class DetachedSpec(Protocol):
    """The part of a spec that is used; TrainingSpec has it."""

    @property
    def name(self) -> str | None:
        """Becomes part of the folder's name."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Its values."""

    def model_dump_json(self, *, indent: int) -> str:
        """Its values as JSON."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder. Its properties are paths, not all of which exist at all times.

    Other detached work has the same kind of folder (`mg_tui.runs.evaluations`): subclasses set the parent folder, the
    noun for messages, the command group, the worker's module, and what its process is called.
    """

    path: Path

    parent: ClassVar[str] = RUNS_FOLDER
    noun: ClassVar[str] = "run"
    command: ClassVar[str] = "runs"
    worker: ClassVar[str] = "mg_tui.engine"
    process: ClassVar[str] = "training process"

    @property
    def id(self) -> str:
        """`YYYYMMDD-HHMMSS-xxxx` (UTC) with the run's name after it when it has one: sorts by time."""
        return self.path.name

    @property
    def home(self) -> Path:
        """The home folder the run is in."""
        return self.path.parent.parent

    @property
    def spec_file(self) -> Path:
        """The spec; never changes."""
        return self.path / "spec.json"

    @property
    def annotations_file(self) -> Path:
        """Name, note and tags that people gave it; see `mg_tui.runs.annotations`. Often absent."""
        return self.path / "annotations.json"

    @property
    def journal_file(self) -> Path:
        """The journal."""
        return self.path / "events.jsonl"

    @property
    def log_file(self) -> Path:
        """Stdout and stderr of the worker."""
        return self.path / "worker.log"

    @property
    def lock_file(self) -> Path:
        """Locked while a worker runs."""
        return self.path / LOCK_FILE

    @property
    def control_dir(self) -> Path:
        """Requests that the worker has not read yet."""
        return self.path / "control"

    @property
    def checkpoints_dir(self) -> Path:
        """One folder per complete checkpoint."""
        return self.path / "checkpoints"

    @property
    def evaluations_dir(self) -> Path:
        """The answered rows of evaluations with metrics, one folder per step; made when there are any."""
        return self.path / "evaluations"

    @property
    def samples_dir(self) -> Path:
        """Generations made while training."""
        return self.path / "samples"

    @property
    def model_dir(self) -> Path:
        """The result, unless the spec names an output folder."""
        return self.path / "model"

    @property
    def result_dir(self) -> Path:
        """The output folder that the spec names, else `model_dir`.

        Raises:
            UsageError: there is no readable spec.
        """
        output = self.spec_values().get("output_dir")
        return Path(output) if isinstance(output, str) and output else self.model_dir

    @property
    def skipped_rows_file(self) -> Path:
        """The skipped rows, one JSON object per line."""
        return self.path / "skipped_rows.jsonl"

    def spec_values(self) -> dict[str, Any]:
        """The fields of the spec as plain values, not validated: fast, for lists.

        Raises:
            UsageError: there is no readable spec.
        """
        try:
            values = json.loads(self.spec_file.read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable_spec(self, error) from error
        if not isinstance(values, dict):
            raise _unreadable_spec(self, ValueError("not a JSON object"))
        return values

    def read_spec(self) -> "TrainingSpec":
        """The spec.

        Raises:
            UsageError: there is no readable spec; a SpecError when a field is invalid in this version.
        """
        from mg_tui.core.spec import TrainingSpec

        return TrainingSpec.parse(self.spec_values(), where=str(self.spec_file))

    @classmethod
    def create(
        cls,
        home: Path,
        spec: DetachedSpec,
        *,
        versions: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        run_id: str | None = None,
        bounds: CallerBounds | None = None,
    ) -> Self:
        """Create the folder of a new run under `home`, with its spec and the first event of its journal.

        It is created under a hidden name, synced and renamed, so visible folders are complete. `cwd` (default: the
        working directory) is the base of relative image paths. `run_id`: one of `new_run_id`, chosen before. `bounds`:
        what the run may read, when it is not this user's own.

        Raises:
            EnvironmentProblem: it cannot be created; nothing visible is left behind.
        """
        runs = home / cls.parent
        try:
            runs.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(runs, _ABANDONED_SECONDS)
            run_id = run_id or _free_run_id(runs, spec.name)
            unfinished = runs / f"{_UNFINISHED_PREFIX}{run_id}"
            shutil.rmtree(unfinished, ignore_errors=True)  # of an interrupted creation under the same id
            unfinished.mkdir()
            try:
                if bounds is not None:
                    write_caller_bounds(unfinished, bounds)
                _write_new_run(cls(unfinished), spec, versions or {}, cwd or Path.cwd())
                unfinished.rename(runs / run_id)
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise
            fsync_folder(runs)
        except OSError as error:
            raise EnvironmentProblem(
                f"Cannot create the {cls.noun} folder.",
                where=str(error.filename or runs),
                why=error.strerror or str(error),
                hint="free disk space, or set another home folder with --home or MODEL_GARDEN_HOME",
            ) from error
        return cls(runs / run_id)


def spec_digest(spec: DetachedSpec) -> str:
    """SHA-256 of the spec's values in canonical JSON, as hexadecimal: equal specs have equal digests."""
    return values_digest(spec.model_dump(mode="json"))


def values_digest(values: Mapping[str, Any]) -> str:
    """The same of the values in a spec file, whatever fields this version knows."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _write_new_run(folder: RunFolder, spec: DetachedSpec, versions: Mapping[str, str], cwd: Path) -> None:
    for part in (folder.control_dir, folder.checkpoints_dir, folder.samples_dir):
        part.mkdir()
    folder.lock_file.touch()
    folder.log_file.touch()
    write_atomic(folder.spec_file, (spec.model_dump_json(indent=2) + "\n").encode())
    with JournalWriter(folder.journal_file) as journal:
        journal.write(
            "created",
            name=spec.name,
            spec_digest=spec_digest(spec),
            spec=spec.model_dump(mode="json"),
            cwd=str(cwd.absolute()),
            versions=dict(versions),
        )
    fsync_folder(folder.path)


def new_run_id(name: str | None) -> str:
    """An id for a run with this name that no other run has."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    tail = "".join(secrets.choice(_ID_ALPHABET) for _ in range(4))
    slug = re.sub(r"[^a-z0-9]+", "-", (name or "").lower()).strip("-")[:40].strip("-")
    return "-".join(part for part in (stamp, tail, slug) if part)


def _free_run_id(runs: Path, name: str | None) -> str:
    while (runs / (run_id := new_run_id(name))).exists():
        pass
    return run_id


def remove_unfinished(home: Path, kinds: Iterable[type[RunFolder]]) -> None:
    """Remove what killed processes left of creations under `home`; nothing that is being created now."""
    for kind in kinds:
        _remove_abandoned(home / kind.parent, _CREATION_SECONDS)


def _remove_abandoned(runs: Path, seconds: float) -> None:
    """Remove leftovers of interrupted creations; they contain only a spec."""
    for left in runs.glob(f"{_UNFINISHED_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > seconds:
                shutil.rmtree(left, ignore_errors=True)


def _unreadable_spec(folder: RunFolder, error: Exception) -> UsageError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return UsageError(f"Cannot read the {folder.noun}'s spec.", where=str(folder.spec_file), why=why)
