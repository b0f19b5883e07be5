"""Files written so that a reader or a crash sees the old content or the new, never a part of either."""

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import Final

# EFBIG: the limit of the process (`ulimit -f`), which ends a write as a full disk does.
DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that there is no space left: on the disk, in the quota or in the process's file limit."""
    return isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS


def write_atomic(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write `data` to a temporary file in the same folder, sync it and rename it to `path`.

    Args:
        path: the file; its folder exists.
        data: the whole content.
        mode: permission bits of the file; by default those of a new file.

    Raises:
        OSError: it could not be written; the old content, if any, is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def fsync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system supports it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)
