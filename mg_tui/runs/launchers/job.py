"""A run as a job for machines elsewhere: what every launcher needs to know of it."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.options import format_flags, options_of
from mg_tui.core.paths import expand_user, is_remote

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec

PORT: Final = 29500  # of the rendezvous, as torchrun's
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")  # what all three accept
# Given by the launcher at the start of the job.
_SET_BY_THE_JOB: Final = frozenset({"name", "nodes", "node_rank", "rendezvous", "sync"})


@dataclass(frozen=True, slots=True)
class ClusterJob:
    """A run to be started elsewhere.

    Attributes:
        name: of the job and of the run, by which a later start finds it.
        flags: of `train-vision`, quoted for a shell, without those that the job sets.
        nodes: machines.
        gpus: GPUs of each machine; 0 for a run on CPUs.
        cpus: processes of each machine, for a run on CPUs.
        gpu: the kind of GPU, or None for any.
        hours: time limit, or None.
        setup: shell lines that make `model-garden` available.
        extra: lines for the job's file as they are.
        cwd: the working directory, the base of relative paths.
        home: the home folder in the job, or None for the launcher's own.
        sync: where checkpoints and the result are copied, or None.
        paths: absolute paths of data outside of `cwd`, which the job needs as well.
    """

    name: str
    flags: tuple[str, ...]
    nodes: int = 1
    gpus: int = 1
    cpus: int = 1
    gpu: str | None = None
    hours: float | None = None
    setup: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    cwd: str = "."
    home: str | None = None
    sync: str | None = None
    paths: tuple[str, ...] = ()

    @property
    def accelerators(self) -> str:
        """`H100:4`, as SkyPilot and dstack write it."""
        return f"{self.gpu}:{self.gpus}" if self.gpu else str(self.gpus)


def make_job(spec: "TrainingSpec", name: str, *, cwd: Path, **fields: Any) -> ClusterJob:
    """The job of a run.

    Args:
        spec: the run's options.
        name: of job and run.
        cwd: the working directory.
        fields: those of `ClusterJob` that the options do not say.

    Raises:
        UsageError: the name cannot be one, an option would be a secret in the file, or would not work in a job.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"name: got {name!r}; the name of a job is up to 40 lower-case letters, digits and dashes")
    secret = next((entry for entry in spec.notify if "://" in entry), None)
    if secret is not None:
        raise UsageError(
            "notify: the address would be readable in the job's file", hint="name it in [notify] of garden.toml there"
        )
    if spec.when_done is not None:
        raise UsageError("when_done: the launcher ends the machine by itself", hint="launch without --when-done")
    if spec.sync is not None and spec.nodes > 1:
        raise UsageError("sync: not with several machines yet", hint="use a file system that all machines share")
    if spec.output_dir is not None and spec.nodes > 1:
        raise UsageError("output_dir: not with several machines", hint="the result is in the run's folder")
    changed = {key: value for key, value in spec.changed().items() if key not in _SET_BY_THE_JOB}
    on_cpu = spec.device == "cpu"
    return ClusterJob(
        name=name,
        flags=tuple(format_flags(spec, changed)),
        nodes=spec.nodes,
        gpus=0 if on_cpu else spec.processes or 1,
        cpus=spec.processes or 1,
        cwd=str(cwd),
        sync=None if spec.sync is None else spec.sync.rstrip("/"),
        paths=_paths_outside(spec, changed, cwd),
        **fields,
    )


def _paths_outside(spec: "TrainingSpec", changed: Mapping[str, Any], cwd: Path) -> tuple[str, ...]:
    """Absolute paths among the options that are not below the working directory, and exist."""
    found = []
    for option in options_of(type(spec)):
        if option.name not in changed or not (option.kind == "path" or option.name == "base_model"):
            continue
        text = str(changed[option.name])
        path = expand_user(text)
        known = option.name != "output_dir" and not is_remote(text) and path.is_absolute() and path.exists()
        if known and not path.is_relative_to(cwd):
            found.append(str(path))
    return tuple(dict.fromkeys(found))


def quote_lines(flags: Sequence[str], indent: str) -> str:
    """Flags, one a line, continued by backslashes."""
    return f" \\\n{indent}".join(flags)


def quote(text: str) -> str:
    """A text for a shell."""
    return shlex.quote(text)
