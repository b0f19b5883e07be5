"""Standard output and error of a worker, its log: a full disk must not end the run through it.

The log is on the disk of the run. When that is full, printing a line would raise an error in the middle of a step; so
such lines are dropped. The journal waits for free space and holds everything that matters.
"""

import errno
import io
import sys
from typing import Any, Final

_DISK_FULL_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class _LossyFile(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _DISK_FULL_ERRORS:
                raise
            return len(data)


def tolerate_full_disk() -> None:
    """Make standard output and error drop lines while the disk is full. Only for a process whose output is its log."""
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            _LossyFile(fd, "w", closefd=False),  # unbuffered, as `python -u` does
            encoding="utf-8",
            errors="backslashreplace",
            write_through=True,
        )
        for fd in (1, 2)
    )
