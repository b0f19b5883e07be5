"""Where files are copied to and fetched from: a folder of this machine, or one reached by ssh, fsspec or the Hub.

A file is there when its content was compared with the local one by hash; what was cut is resumed or sent again.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.redaction import redact_target
from mg_tui.core.text import one_line
from mg_tui.runs.watch_request import is_folder
from mg_tui.watching.copying import CopyFailed, CopyTarget, sha256

_SSH: Final = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
_STALL_SECONDS: Final = 120  # rsync gives up when nothing moves for so long
_LISTED_FIELDS: Final = 5  # of `rsync --list-only`: mode, size, date, time, name


class FolderTarget:
    """A folder of this machine: another disk, or one that is mounted."""

    def __init__(self, root: Path):
        self._root = root

    def put(self, local: Path, names: Sequence[str], folder: str) -> None:
        self._require_parent()
        for name in names:
            _copy_file(local / name, self._root / folder / name)

    def remove(self, folder: str) -> None:
        try:
            shutil.rmtree(self._root / folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CopyFailed(_os_text(error)) from None

    def names(self, folder: str) -> list[str]:
        place = self._root / folder
        return sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())

    def get(self, folder: str, names: Sequence[str], local: Path) -> None:
        for name in names:
            _copy_file(self._root / folder / name, local / name)

    def _require_parent(self) -> None:
        """A disk that is not mounted must not be written into the folder that it is mounted on."""
        destination = self._root.parent
        if not destination.is_dir() and not destination.parent.is_dir():
            raise CopyFailed(f"{destination.parent} is not there")


def _copy_file(source: Path, destination: Path) -> None:
    """Copy, compare by reading the copy, and rename; a copy with the same content is kept."""
    try:
        wanted = sha256(source)
        alike = destination.is_file() and destination.stat().st_size == source.stat().st_size
        if alike and sha256(destination) == wanted:
            return
        destination.parent.mkdir(parents=True, exist_ok=True)
        part = destination.with_name(f".{destination.name}.part")
        shutil.copyfile(source, part)
        if sha256(part) != wanted:
            part.unlink()
            raise CopyFailed(f"{destination.name} differs after it was copied")
        part.replace(destination)
    except OSError as error:
        raise CopyFailed(_os_text(error)) from None


def _os_text(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)


class RsyncTarget:
    """A folder of another machine, by rsync over ssh. `place`: `[user@]host:path`."""

    def __init__(self, place: str, port: int | None = None):
        self._place = place.rstrip("/")
        import os

        self._shell = os.environ.get("RSYNC_RSH") or _SSH
        if port is not None:
            self._shell += f" -p {port}"

    def put(self, local: Path, names: Sequence[str], folder: str) -> None:
        # In the order given: the last file, a manifest, is sent when the others are there.
        for part in (names[:-1], names[-1:]):
            if part:
                self._send(local, part, folder)
        if different := [line for line in self._send(local, names, folder, "-c", "-n", "-i") if line.startswith("<f")]:
            raise CopyFailed(f"{different[0].split(maxsplit=1)[-1]} differs after it was copied")

    def _send(self, local: Path, names: Sequence[str], folder: str, *flags: str) -> list[str]:
        arguments = ("--files-from=-", "--partial-dir=.rsync-partial", "--mkpath", *flags)
        return self._run("-t", *arguments, f"{local}/", f"{self._place}/{folder}/", stdin="\n".join(names) + "\n")

    def remove(self, folder: str) -> None:
        parent, _, name = folder.rpartition("/")
        with tempfile.TemporaryDirectory() as empty:
            rules = (f"--include=/{name}/***", "--exclude=*")
            self._run("-r", "--delete", *rules, f"{empty}/", f"{self._place}/{parent}/")

    def names(self, folder: str) -> list[str]:
        try:
            lines = self._run("-r", "--list-only", f"{self._place}/{folder}/")
        except CopyFailed as error:
            if "No such file" in str(error):
                return []
            raise
        fields = (line.split(maxsplit=_LISTED_FIELDS - 1) for line in lines if line.startswith("-"))
        return sorted(
            entry[-1] for entry in fields if len(entry) == _LISTED_FIELDS and ".rsync-partial" not in entry[-1]
        )

    def get(self, folder: str, names: Sequence[str], local: Path) -> None:
        arguments = ("-t", "--files-from=-", "--partial-dir=.rsync-partial")
        for flags in ((), ("-c",)):  # once more by hash, which also sends again what differs
            listed = "\n".join(names) + "\n"
            self._run(*arguments, *flags, f"{self._place}/{folder}/", f"{local}/", stdin=listed)
        shutil.rmtree(local / ".rsync-partial", ignore_errors=True)

    def _run(self, *arguments: str, stdin: str = "") -> list[str]:
        command = ["rsync", f"--timeout={_STALL_SECONDS}", "-e", self._shell, *arguments]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        except OSError as error:
            raise CopyFailed(f"rsync cannot be run: {error.strerror}") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            why = next((line for line in lines if "rsync error" not in line), f"exit code {done.returncode}")
            raise CopyFailed(one_line(why, limit=300))
        return done.stdout.splitlines()


def open_target(text: str, run: str) -> CopyTarget:
    """The place of the run with the id `run` under a destination.

    Raises:
        UsageError: it cannot be used on this machine.
    """
    if text.startswith("file://"):
        text = urlsplit(text).path
    if is_folder(text):
        return FolderTarget(expand_user(text) / run)
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in ("", "ssh", "rsync+ssh"):
        return _open_rsync(text, run)
    if scheme == "hf":
        from mg_tui.watching.hub_target import HubTarget

        return HubTarget(text, run)
    from mg_tui.watching.fsspec_target import FsspecTarget

    return FsspecTarget(text, run)


def _open_rsync(text: str, run: str) -> RsyncTarget:
    if shutil.which("rsync") is None:
        raise UsageError(
            f"sync: {redact_target(text)} needs rsync, which is not installed", hint="sudo apt-get install rsync"
        )
    if "://" not in text:
        return RsyncTarget(f"{text.rstrip('/')}/{run}")
    parts = urlsplit(text)
    if not parts.hostname or not parts.path.strip("/"):
        raise UsageError(f"sync: {redact_target(text)} needs a host and a path", hint="e.g. ssh://user@host:22/path")
    user = f"{parts.username}@" if parts.username else ""
    return RsyncTarget(f"{user}{parts.hostname}:{parts.path.rstrip('/')}/{run}", parts.port)
