"""Checks of disk, memory, limits, terminal and what a login leaves running."""

import getpass
import locale
import os
import re
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mg_tui.core.files import NEARLY_FULL_BYTES, has_free_inodes
from mg_tui.core.text import format_gib, one_line
from mg_tui.doctor.findings import MachineFinding
from mg_tui.hardware.host import has_free_shared_memory, host_memory, usable_cores

_LOW_DISK_BYTES: Final = 20 << 30  # a checkpoint of a 7B model's adapter and a base model's download need as much
_LOW_MEMORY_BYTES: Final = 8 << 30
_MIN_OPEN_FILES: Final = 4096  # data workers and shards of a model; 1024 is a common default
_MIN_PROCESSES: Final = 1024
_SMALL_TERMINAL: Final = (80, 24)
_OLDEST_DATE: Final = 1_764_547_200  # 2025-12-01: this program is younger


def check_disk(home: Path, cache: Path) -> Iterator[MachineFinding]:
    """Room and permission where runs and downloads go."""
    places = {"home folder": home, "cache folder": cache}
    for title, folder in places.items():
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            hint = (
                "choose another with --home or MODEL_GARDEN_HOME" if title.startswith("home") else "MODEL_GARDEN_CACHE"
            )
            text = f"{existing} cannot be written"
            yield MachineFinding("disk", title, "problem", text, hint, for_runs=True)
            continue
        free = shutil.disk_usage(existing).free
        text = f"{format_gib(free)} free at {existing}"
        if not has_free_inodes(existing):
            text, hint = f"no free inodes at {existing}", "remove files that are no longer needed (`df -i`)"
            yield MachineFinding("disk", title, "problem", text, hint, for_runs=True)
        elif free < 16 * NEARLY_FULL_BYTES:
            hint = "free some: `model-garden cache`, `model-garden runs trash --empty`"
            yield MachineFinding("disk", title, "problem", text, hint, for_runs=True)
        elif free < _LOW_DISK_BYTES:
            hint = "enough for an adapter of a small model; a base model's download may not fit"
            yield MachineFinding("disk", title, "warning", text, hint, for_runs=True)
        elif not folder.exists():
            fix = "home" if title.startswith("home") else "cache"
            yield MachineFinding("disk", title, "ok", f"{text}; {folder} is made at the first use", fix=fix)
        else:
            yield MachineFinding("disk", title, "ok", text)


def check_memory(shared: Path = Path("/dev/shm")) -> Iterator[MachineFinding]:
    """Memory, cores and shared memory."""
    used, total = host_memory()
    text = f"{format_gib(total - used)} of {format_gib(total)} free, {usable_cores()} cores"
    low = total < _LOW_MEMORY_BYTES
    hint = "loading a model of several billion parameters needs more" if low else None
    yield MachineFinding("memory", "memory", "warning" if low else "ok", text, hint)
    if not shared.is_dir():
        return
    free = shutil.disk_usage(shared).free
    if has_free_shared_memory(folder=shared):
        yield MachineFinding("shm", "shared memory", "ok", f"{format_gib(free)} free at {shared}")
    else:
        text = f"{format_gib(free)} free at {shared}: data workers hand batches over by copying, and NCCL may fail"
        hint = "start the container with --shm-size 8g or --ipc host"
        yield MachineFinding("shm", "shared memory", "warning", text, hint, for_runs=True)


def check_limits() -> Iterator[MachineFinding]:
    """Limits of this shell, which runs started from it inherit."""
    found = []
    files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < _MIN_OPEN_FILES:
        found.append((f"{files} open files", "ulimit -n 65536", "warning"))
    size, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size != resource.RLIM_INFINITY:
        found.append((f"files of {format_gib(size)}", "ulimit -f unlimited", "problem"))
    memory, _hard = resource.getrlimit(resource.RLIMIT_AS)
    if memory != resource.RLIM_INFINITY:
        found.append(
            (f"{format_gib(memory)} of address space, of which CUDA reserves much", "ulimit -v unlimited", "problem")
        )
    processes, _hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if processes not in (-1, resource.RLIM_INFINITY) and processes < _MIN_PROCESSES:
        found.append((f"{processes} processes and threads", "ulimit -u 4096", "warning"))
    for text, hint, level in found:
        yield MachineFinding(
            "limits", "limits", "problem" if level == "problem" else "warning", f"at most {text}", hint, for_runs=True
        )
    if not found:
        yield MachineFinding("limits", "limits", "ok", "none that matters")


def check_terminal(environ: Mapping[str, str]) -> Iterator[MachineFinding]:
    """What the dashboard can show here."""
    subject, term = "terminal", environ.get("TERM", "")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield MachineFinding("terminal", subject, "ok", "none here; the dashboard needs one, commands do not")
        return
    columns, rows = shutil.get_terminal_size()
    encoding = locale.getpreferredencoding(False)
    inside = " in tmux" if environ.get("TMUX") else " in screen" if term.startswith("screen") else ""
    text = f"{one_line(term) or 'TERM is not set'}{inside}, {columns}x{rows}, {encoding}"
    if term in ("", "dumb"):
        hint = "set TERM, e.g. TERM=xterm-256color"
        yield MachineFinding("terminal", subject, "warning", f"{text}: the dashboard cannot be drawn", hint)
    elif encoding.replace("-", "").lower() != "utf8":
        hint = "set a UTF-8 locale, e.g. LANG=C.UTF-8"
        yield MachineFinding("terminal", subject, "warning", f"{text}: curves and bars need UTF-8", hint)
    elif columns < _SMALL_TERMINAL[0] or rows < _SMALL_TERMINAL[1]:
        yield MachineFinding(
            "terminal", subject, "warning", f"{text}: parts are left out", "enlarge it to 80x24 or more"
        )
    elif environ.get("COLORTERM") not in ("truecolor", "24bit") and "256" not in term:
        hint = "set COLORTERM=truecolor if the terminal can"
        yield MachineFinding("terminal", subject, "warning", f"{text}: few colors", hint)
    else:
        yield MachineFinding("terminal", subject, "ok", text)


def check_login(environ: Mapping[str, str], root: Path = Path("/")) -> Iterator[MachineFinding]:
    """Whether runs outlive the login they were started from."""
    subject = "login"
    if not kills_user_processes(root):
        where = "over SSH" if environ.get("SSH_CONNECTION") else "local"
        yield MachineFinding("login", subject, "ok", f"{where}; runs outlive it")
        return
    if lingers(root):
        yield MachineFinding("login", subject, "ok", "systemd ends a user's processes at logout, but this user lingers")
        return
    text = "systemd ends all processes of this user at the last logout, runs too (KillUserProcesses=yes)"
    hint = "loginctl enable-linger, which `model-garden doctor --fix` does; and start runs in `systemd-run --user`"
    yield MachineFinding("login", subject, "problem", text, hint, fix="linger", for_runs=True)


def kills_user_processes(root: Path) -> bool:
    """Whether logind ends the processes of a user who logs out: the last word of its configuration files."""
    found = False
    folders = ("usr/lib/systemd/logind.conf.d", "run/systemd/logind.conf.d", "etc/systemd/logind.conf.d")
    files = [root / "usr/lib/systemd/logind.conf", root / "etc/systemd/logind.conf"]
    for name in folders:
        files += sorted((root / name).glob("*.conf"))
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for value in re.findall(r"(?mi)^\s*KillUserProcesses\s*=\s*(\S+)", text):
            found = value.lower() in ("yes", "true", "1", "on")
    return found


def lingers(root: Path) -> bool:
    """Whether the processes of this user are kept running after a logout."""
    try:
        return (root / "var/lib/systemd/linger" / getpass.getuser()).exists()
    except (OSError, KeyError):
        return False


def check_clock(now: float, server_time: float | None) -> Iterator[MachineFinding]:
    """The clock, compared with the Hub's where it answered. `now` and `server_time` are Unix times in seconds."""
    subject, shown = "clock", time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now))
    hint = "synchronize it: sudo timedatectl set-ntp true; in a container, on the host"
    if now < _OLDEST_DATE:
        text = f"{shown} is in the past: certificates are not valid, and runs sort wrongly"
        yield MachineFinding("clock", subject, "problem", text, hint, for_runs=True)
    elif server_time is None:
        yield MachineFinding("clock", subject, "ok", f"{shown}; not compared with another one")
    elif abs(now - server_time) > 60:
        text = f"{shown} is off by {abs(now - server_time):,.0f} s: signed requests (S3) are refused"
        yield MachineFinding("clock", subject, "warning", text, hint)
    else:
        yield MachineFinding("clock", subject, "ok", shown)
