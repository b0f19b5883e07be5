"""Temporary files of a worker and its data workers, in one folder that does not outlive it.

Libraries put sockets and compiled code into folders of their own below the system's temporary folder, and remove them
when a process ends in order: of killed ones they stay. Here they all get one folder per worker. It is removed at the
end, and that of a worker that was killed by the next worker: its lock is free then.
"""

import contextlib
import getpass
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mg_tui.core.errors import GardenError
from mg_tui.runs.lock import RunLock, is_held

_PREFIX: Final = "model-garden-"
# The address of a socket has at most 107 bytes, of which the names below it take 54: data workers would wait forever.
_LONGEST_BASE: Final = 50
_STARTING_SECONDS: Final = 60.0  # seconds in which a folder may not have its lock yet


@contextlib.contextmanager
def scratch_folder() -> Iterator[None]:
    """Let temporary files of this process and those it starts be created in a folder that is removed at the end.

    Where none can be created they stay where they would be.
    """
    system, variable = tempfile.tempdir, os.environ.get("TMPDIR")
    base = Path(tempfile.gettempdir())
    if len(os.fsencode(base)) > _LONGEST_BASE and os.access("/tmp", os.W_OK | os.X_OK):
        base = Path("/tmp")
    remove_abandoned(base)
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        lock = RunLock(folder / "lock").acquire()
    except (OSError, GardenError):
        yield
        return
    # Compiled kernels are for later runs too: torch would look for them below the temporary folder.
    with contextlib.suppress(OSError, KeyError):  # a user without a name
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(base / f"torchinductor_{getpass.getuser()}"))
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = system
        if variable is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = variable
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(base: Path) -> list[Path]:
    """Remove the folders in `base` of this user's workers that were killed, and return them."""
    removed = []
    for folder in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, GardenError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < _STARTING_SECONDS:
                continue
            if folder.is_dir() and not folder.is_symlink() and (folder / "lock").is_file():
                if is_held(folder / "lock"):
                    continue
                shutil.rmtree(folder)
                removed.append(folder)
    return removed
