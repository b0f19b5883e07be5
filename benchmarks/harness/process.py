"""A process that is timed, and what goes on around it: how busy others keep its cores, what its data workers take."""

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_POLL_SECONDS = 0.5  # seconds
PROBE = Path(__file__).parent / "probe"


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How it went. `others`: share of the cores that processes other than this command's kept busy; `workers_mib`: most
    memory that the processes the trainer had started had for themselves.
    """

    code: int
    seconds: float
    started: float
    others: float
    workers_mib: float


def run_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    out: Path,
    log: Path,
    cores: Sequence[int],
    limit: float,
) -> ProcessResult:
    """Run a command with the probe in its processes, which write `out`; end it after `limit` seconds."""
    tag = f"BENCH_TAG={uuid.uuid4().hex}"
    own = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    paths = [str(PROBE), *filter(None, [environment.get("PYTHONPATH")])]
    values = {
        **own,
        **_common_environment(len(cores)),
        **environment,
        "PATH": f"{Path(command[0]).parent}{os.pathsep}{own.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join(paths),
        "BENCH_OUT": str(out),
        "BENCH_TAG": tag.partition("=")[2],
    }
    watch = _ProcessMonitor(tag, out.with_suffix(".pid"), cores)
    with log.open("wb") as file:
        started = time.time()
        process = subprocess.Popen(
            command,
            env={**values, "BENCH_T0": str(started)},
            cwd=out.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        watch.start()
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            watch.end()
    return ProcessResult(code, time.time() - started, started, watch.others(), watch.workers_mib)


def _common_environment(cores: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(cores),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "WANDB_DISABLED": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }


@dataclass
class _ProcessMonitor:
    """Follows the processes of one command, which a word in their environment marks."""

    tag: str
    pid_file: Path
    cores: Sequence[int]
    workers_mib: float = 0.0
    _marked: dict[int, bool] = field(default_factory=dict)
    _used: dict[int, float] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._began, self._busy = time.time(), _busy_seconds(self.cores)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching, and end whatever is left of the command."""
        self._done.set()
        self._thread.join()
        self._look()
        self._seconds, self._busy = time.time() - self._began, _busy_seconds(self.cores) - self._busy
        for pid in self._alive():
            _kill(pid)

    def others(self) -> float:
        """Share of the cores' time that went to others."""
        return max(0.0, self._busy - sum(self._used.values())) / (self._seconds * len(self.cores))

    def _follow(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        trainer = int(self.pid_file.read_text() or 0) if self.pid_file.exists() else 0
        private = 0.0
        for pid in self._alive():
            parent, used = _stat(pid)
            if used:
                self._used[pid] = max(used, self._used.get(pid, 0.0))
            if trainer and parent == trainer:
                private += _private_mib(pid)
        self.workers_mib = max(self.workers_mib, private)

    def _alive(self) -> list[int]:
        result = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                pid = int(entry.name)
                if pid not in self._marked and (environment := _read(entry / "environ")):
                    self._marked[pid] = self.tag.encode() in environment.split(b"\0")
                if self._marked.get(pid) and (entry / "stat").exists():
                    result.append(pid)
        return result


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> tuple[int, float]:
    """A process's parent, and the CPU seconds it used."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(b") ")[2].split()
    if len(fields) < 13:
        return 0, 0.0
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _private_mib(pid: int) -> float:
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(b"Private_")) / 1024


def _busy_seconds(cores: Sequence[int]) -> float:
    """CPU seconds that some cores were busy, idle time and waiting for disks left out."""
    names = {f"cpu{core}" for core in cores}
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name in names:
            spent = [int(value) for value in values[:8]]
            total += sum(spent) - spent[3] - spent[4]
    return total / _CLOCK_TICKS


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
