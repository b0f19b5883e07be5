"""The process around the ranks of a run: starts them, watches them, ends them. It imports no torch and stays small.

It holds the run's lock, and rank 0 does too; rank 0 writes the journal. If a rank ends or does not respond, it writes
which one it was, ends it for good, and lets rank 0 save and end the run. Only if rank 0 itself is lost does it write
the run's last event. The ranks die with it: the kernel sees to that.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError
from mg_tui.engine.layout.partition import World
from mg_tui.engine.monitoring.final_event import write_failure
from mg_tui.engine.monitoring.rank_health import CONCLUDING
from mg_tui.hardware.host import cgroup_cpu_limit
from mg_tui.runs import device_request, devices
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.ranks import LostRank, RankNote, RankNotes
from mg_tui.runs.watch import RunWatch

STORE_ENV: Final = "MODEL_GARDEN_STORE"  # host:port of the store at which the ranks meet
STORE_FD_ENV: Final = "MODEL_GARDEN_STORE_FD"  # of rank 0: the listening socket of the store
PARENT_ENV: Final = "MODEL_GARDEN_PARENT"  # process id of the supervisor
BROKEN_EXIT: Final = 75  # of a rank that lost its connection to the others
_POLL_SECONDS: Final = 0.2
_BROKEN_SECONDS: Final = 3.0  # until a broken connection counts as the cause, and not another rank's end
_ANSWER_SECONDS: Final = 15.0  # in which rank 0 has to begin to end the run
_START_FACTOR: Final = 6.0  # times the time-out, before the first step: libraries and weights are loaded
_JOURNAL_BYTES: Final = 1 << 16  # read of each end of the journal
_LATE_SECONDS: Final = 3.0  # a poll that late: this machine was suspended, or has more to do than it can
# Variables of other launchers (torchrun, MPI, Slurm), at which accelerate would set up a process group of its own.
_FOREIGN: Final = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PMI_SIZE", "PMI_RANK"),
    *("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"),
)


@dataclass(frozen=True, slots=True)
class RankPlan:
    """How many processes a run has: `here` on this machine, `machine` of `machines`."""

    here: int = 1
    machine: int = 0
    machines: int = 1

    @property
    def size(self) -> int:
        """Of all machines together."""
        return self.here * self.machines

    def world(self, local_rank: int) -> World:
        """One of the processes of this machine."""
        return World(self.machine * self.here + local_rank, self.size, local_rank, self.here)


def plan_ranks(folder: RunFolder, environ: Mapping[str, str]) -> RankPlan:
    """The processes of a run: as many as it is to have, else one for each GPU that was made visible."""
    try:
        spec = folder.spec_values()
    except GardenError:  # the worker says so
        return RankPlan()
    wanted = device_request.read_process_count(folder)
    visible = visible_gpus(environ)
    here = wanted or (len(visible) if visible and spec.get("device") != "cpu" else 1)
    return RankPlan(here, int(spec.get("node_rank") or 0), int(spec.get("nodes") or 1))


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names."""
    words = [word.strip() for word in environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return [word for word in words if word and word != "-1"]


def supervise(path: Path, plan: RankPlan) -> int:
    """Start the ranks of a run and wait for its end; returns the exit code."""
    folder = RunFolder(path.absolute())
    try:
        with RunLock(folder.lock_file) as lock:
            return _Supervisor(folder, plan, lock).run()
    except GardenError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


@dataclass(slots=True)
class _Beat:
    """When a rank last wrote: the modification time of its note, and when that was seen on the monotonic clock."""

    written: float = 0.0
    seen: float = field(default_factory=time.monotonic)


class _Supervisor:
    def __init__(self, folder: RunFolder, plan: RankPlan, lock: RunLock):
        self.folder, self.plan, self._lock = folder, plan, lock
        self.notes = RankNotes(folder.path)
        self._first = plan.world(0).rank  # the first rank of this machine
        self._ranks: dict[int, subprocess.Popen[bytes]] = {}
        self._beats: dict[int, _Beat] = {}
        self._broken_since: float | None = None
        self._timeout = float(folder.spec_values().get("rank_timeout") or 20.0)
        self._patient_until = 0.0
        self._attempts = self._watch().view.attempt

    def run(self) -> int:
        self.notes.clear()
        try:
            with self._listen() as listener:
                self._start_all(listener)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._pass_on)
            return self._wait()
        except EnvironmentProblem as error:
            self._end_all()
            with JournalWriter(self.folder.journal_file) as journal:
                return write_failure(journal, error.as_dict(), error.exit_code)
        finally:
            self._end_all()

    # --- start ------------------------------------------------------------------------------------------------------
    def _listen(self) -> socket.socket:
        """The socket of the store: on one machine on the loopback address only."""
        listener = socket.socket()
        if self.plan.machines == 1:
            listener.bind(("127.0.0.1", 0))
            listener.listen(self.plan.size)
        elif self.plan.machine == 0:
            host, port = self._rendezvous()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError as error:
                listener.close()
                raise EnvironmentProblem(
                    f"rendezvous: machine 0 cannot listen on {host}:{port}",
                    why=error.strerror,
                    hint="give an address of this machine and a free port; only machine 0 has --node-rank 0",
                ) from error
            listener.listen(self.plan.size)
        return listener

    def _rendezvous(self) -> tuple[str, int]:
        host, _, port = str(self.folder.spec_values().get("rendezvous") or "").rpartition(":")
        return host.strip("[]"), int(port)

    def _start_all(self, listener: socket.socket) -> None:
        store = (
            "127.0.0.1:{1}".format(*listener.getsockname())
            if self.plan.machines == 1
            else "{}:{}".format(*self._rendezvous())
        )
        handed, lock_descriptors = self._lock.for_child()
        descriptors = [*lock_descriptors, *_device_descriptors(os.environ)]
        for local in range(self.plan.here):
            world = self.plan.world(local)
            environ = {**rank_environment(os.environ, self.plan, local), STORE_ENV: store}
            passed: list[int] = []
            if world.leads:
                environ |= handed
                passed += descriptors
            else:
                for name in (devices.SHARED_DEVICES_ENV, devices.INHERITED_FDS_ENV):
                    environ.pop(name, None)
            if world.rank == 0:
                environ[STORE_FD_ENV] = str(listener.fileno())
                passed.append(listener.fileno())
            self._ranks[world.rank] = self._start(world, environ, passed)
            self._beats[world.rank] = _Beat()

    def _start(self, world: World, environ: Mapping[str, str], descriptors: list[int]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", self.folder.worker, str(self.folder.path)]
        log: IO[bytes] | None = None if world.leads else self.notes.log_file(world.rank).open("ab")
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log is not None else None,
                env=environ,
                pass_fds=descriptors,
                process_group=0,  # a signal to the group of this process does not stop them twice
            )
        except OSError as error:
            raise EnvironmentProblem(f"Cannot start training process {world.rank}.", why=error.strerror) from error
        finally:
            if log is not None:
                log.close()

    def _pass_on(self, number: int, _frame: object) -> None:
        leader = self._ranks[self._first]
        if leader.poll() is None:
            leader.send_signal(number)

    # --- wait -------------------------------------------------------------------------------------------------------
    def _wait(self) -> int:
        leader = self._ranks[self._first]
        lost: LostRank | None = None
        answer_by = before = time.monotonic()
        while (code := leader.poll()) is None:
            now = time.monotonic()
            if now - before > _LATE_SECONDS:
                self._patient_until = now + self._timeout
            before = now
            if lost is None and (lost := self._find_lost(now)) is not None:
                if lost.rank == self._first:
                    break
                self.notes.write_lost(lost)
                self._kill(lost.rank)
                answer_by = now + _ANSWER_SECONDS
            elif lost is not None and now > answer_by and not self._is_concluding(now):
                break
            time.sleep(_POLL_SECONDS)
        if code is None:
            self._kill(self._first)
        if not self._has_ended():
            return self._write_end(lost or self._describe_end(self._first, code if code is not None else -9))
        return 0 if code == 0 else (code if code is not None and code > 0 else 1)

    def _find_lost(self, now: float) -> LostRank | None:
        """A rank that ended before its time or does not respond."""
        ended = {rank: code for rank, process in self._ranks.items() if (code := process.poll()) is not None}
        failed = [rank for rank, code in ended.items() if code not in (0, BROKEN_EXIT) and rank != self._first]
        if failed:
            return self._describe_end(failed[0], ended[failed[0]])
        if silent := [rank for rank in self._ranks if rank not in ended and self._is_silent(rank, now)]:
            if len(silent) == len(self._ranks) or now < self._patient_until:
                return None  # none writes: it is the disk, or the machine
            return self._describe_silence(silent[0], now)
        broken = [rank for rank, code in ended.items() if code == BROKEN_EXIT]
        if not broken:
            self._broken_since = None
            return None
        self._broken_since = self._broken_since or now
        if now - self._broken_since < _BROKEN_SECONDS:
            return None
        return LostRank(broken[0], "lost its connection to the others", self._note(broken[0]))

    def _is_silent(self, rank: int, now: float) -> bool:
        beat = self._beats[rank]
        try:
            written = self.notes.path(rank).stat().st_mtime
        except OSError:
            written = 0.0
        if written != beat.written:
            beat.written, beat.seen = written, now
        training = self._note(rank).step > 0
        limit = self._timeout if training or is_suspended(self._ranks[rank].pid) else _START_FACTOR * self._timeout
        return now - beat.seen > limit

    def _describe_silence(self, rank: int, now: float) -> LostRank:
        seconds = now - self._beats[rank].seen
        why = ": it is suspended" if is_suspended(self._ranks[rank].pid) else ""
        return LostRank(rank, f"did not respond for {seconds:.0f} s{why}", self._note(rank))

    def _describe_end(self, rank: int, code: int) -> LostRank:
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            how = f"was killed ({name})" + ("; possibly out of memory" if code == -signal.SIGKILL else "")
        else:
            how = f"ended with exit status {code}"
        return LostRank(rank, how, self._note(rank), self.notes.read_error(rank))

    def _note(self, rank: int) -> RankNote:
        return self.notes.read(rank) or RankNote(rank)

    def _is_concluding(self, now: float) -> bool:
        return self._note(self._first).doing == CONCLUDING and not self._is_silent(self._first, now)

    # --- end --------------------------------------------------------------------------------------------------------
    def _has_ended(self) -> bool:
        """Whether the journal has the run's last event."""
        view = self._watch().view
        return view.attempt > self._attempts and view.lifecycle in ("finished", "stopped", "failed")

    def _watch(self) -> RunWatch:
        watch = RunWatch(self.folder, ends_only=_JOURNAL_BYTES)
        watch.refresh()
        return watch

    def _write_end(self, lost: LostRank) -> int:
        self._end_all()
        sys.stderr.write(f"training process {lost.rank} {lost.how}\n")
        with JournalWriter(self.folder.journal_file) as journal:
            return write_failure(journal, lost.failure(), 1)

    def _kill(self, rank: int) -> None:
        process = self._ranks[rank]
        if process.poll() is None:
            process.kill()
            process.wait()

    def _end_all(self) -> None:
        for rank in self._ranks:
            self._kill(rank)


def rank_environment(environ: Mapping[str, str], plan: RankPlan, local: int) -> dict[str, str]:
    """The environment of one of this machine's ranks: it sees one GPU, and on one machine speaks over loopback only."""
    own = {name: value for name, value in environ.items() if name not in _FOREIGN}
    own |= {**plan.world(local).as_environment(), PARENT_ENV: str(os.getpid())}
    own["OMP_NUM_THREADS"] = str(threads_per_rank(environ.get("OMP_NUM_THREADS"), plan.here))
    if gpus := visible_gpus(environ):
        own["CUDA_VISIBLE_DEVICES"] = gpus[local] if local < len(gpus) else ""
    if plan.machines == 1:
        own |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    return own


def threads_per_rank(given: str | None, ranks: int) -> int:
    """Threads of each rank, so that all together have as many as cores; fewer cores than ranks give one each."""
    limit = cgroup_cpu_limit()
    if given and given.isdecimal() and int(given) != limit:  # the user's own
        return int(given)
    return max(1, (limit or len(os.sched_getaffinity(0))) // ranks)


def is_suspended(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def die_with_parent(environ: Mapping[str, str] = os.environ) -> None:
    """In a rank: have the kernel kill this process when its supervisor ends."""
    import contextlib
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    parent: Any = environ.get(PARENT_ENV)
    if parent and int(parent) != os.getppid():  # it ended before the call
        os._exit(1)


def _device_descriptors(environ: Mapping[str, str]) -> list[int]:
    pairs = (pair.split(":") for pair in environ.get(devices.INHERITED_FDS_ENV, "").split(",") if pair)
    return [int(pair[1]) for pair in pairs]
