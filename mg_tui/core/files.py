"""Files written so that a reader or a crash sees the old content or the new, never a part of either."""

import contextlib
import errno
import os
import resource
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

NEARLY_FULL_BYTES: Final = 64 * 2**20  # left free on a disk for the journal, the log and everybody else

# EFBIG: the limit of the process (`ulimit -f`), which ends a write as a full disk does.
DISK_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that there is no space left: on the disk, in the quota or in the process's file limit."""
    return isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS


def explain_failed_write(error: BaseException, folder: Path) -> tuple[str, str] | None:
    """Why a write into `folder` failed for lack of space, and what to try; None when it failed for another reason.

    safetensors and torch have exceptions of their own, without an errno: their texts are read, and where the text says
    no more than that writing failed, what limits there are.

    Args:
        error: what the write raised.
        folder: an existing folder on the disk.
    """
    if not folder.is_dir():
        return None
    number = error.errno if isinstance(error, OSError) else _errno_in_text(str(error))
    if number is None and any(mark in str(error) for mark in _FAILED_WRITE_TEXTS):
        number = _likely_errno(folder)
    if number == errno.EFBIG:
        limit, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        allowed = f" of {limit / 2**20:,.1f} MiB" if limit != resource.RLIM_INFINITY else ""
        return f"a file would exceed the file-size limit{allowed} (ulimit -f)", "raise the limit: ulimit -f unlimited"
    if number == errno.EDQUOT:
        return "the disk quota is used up", "free space in your quota"
    if number == errno.ENOSPC and not has_free_inodes(folder):
        return "the file system has no free inodes: no file can be created, whatever its size", (
            "remove files that are no longer needed (`df -i` shows inodes)"
        )
    if number == errno.ENOSPC:
        return os.strerror(errno.ENOSPC), "free space on this disk"
    return None


_FAILED_WRITE_TEXTS: Final = ("inline_container.cc", "PytorchStreamWriter", "iostream error")  # of torch.save


def has_free_inodes(folder: Path) -> bool:
    """Whether another file can be created on the file system of `folder`; true where inodes are not counted."""
    found = os.statvfs(folder)
    return not found.f_files or found.f_favail > 0


def _errno_in_text(text: str) -> int | None:
    return next((number for number in DISK_FULL_ERRNOS if os.strerror(number) in text), None)


def _likely_errno(folder: Path) -> int | None:
    if shutil.disk_usage(folder).free < NEARLY_FULL_BYTES or not has_free_inodes(folder):
        return errno.ENOSPC
    return errno.EFBIG if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY else None


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
        # Until it has its mode, a file that is given one is for its owner only.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else 0o600)
        with os.fdopen(fd, "wb") as file:
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


@contextlib.contextmanager
def require_in_place(folder: Path) -> Iterator[None]:
    """A block that writes into `folder`, which must be the same folder at the end.

    Libraries create folders that are missing: where one was moved or removed, together with those that contain it,
    they write into new ones. These are removed again.

    Raises:
        FileNotFoundError: it is not.
    """
    folder = folder.absolute()
    before = {path: path.stat() for path in (folder, *folder.parents)}
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # so that its number is not used again
    try:
        yield
    finally:
        os.close(fd)
        if not _is_same(folder, before[folder]):
            _remove_created_again(before)
            raise FileNotFoundError(errno.ENOENT, "it was moved or removed while it was written", str(folder))


def _is_same(path: Path, before: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), before)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove_created_again(before: Mapping[Path, os.stat_result]) -> None:
    innermost, *parents = before
    shutil.rmtree(innermost, ignore_errors=True)
    for path in parents:
        if _is_same(path, before[path]):
            return
        with contextlib.suppress(OSError):  # something else is in it
            path.rmdir()


def fsync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system supports it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)
