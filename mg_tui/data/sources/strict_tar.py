"""Tar archives read as a stream in which nothing is lost in silence.

`tarfile` takes a damaged header, a header that is cut off, and the end of the first of several joined archives for the
end. Here the first two are errors, archives that follow are read, and the stream is read to its end, where gzip
verifies its checksum. Sizes that a header claims cost no more time or memory than the file has bytes.
"""

import tarfile
from typing import BinaryIO, Final, Self, cast

# Extended headers hold names and a few attributes.
_MAX_EXTENDED_HEADER_BYTES: Final = 2**20
_EXTENDED: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_EMPTY_READS: Final = 8


class DamagedHeader(tarfile.ReadError):
    """A header is damaged, cut off or missing; the members before it are whole."""


def open_strict_tar(file: BinaryIO) -> tarfile.TarFile:
    """An archive opened as a stream; its `next` raises what is described above.

    Raises:
        DamagedHeader: the first header is no header.
        EOFError: from `next` too, the file ends before the data of a member does.
    """
    return tarfile.open(fileobj=cast(BinaryIO, _EndingFile(file)), mode="r|", tarinfo=_StrictMember)


class _EndingFile:
    """A file whose reads after its end raise: `tarfile` would skip over data that a header claims in small reads."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._empty_reads = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if not data:
            self._empty_reads += 1
            if self._empty_reads > _MAX_EMPTY_READS:
                raise EOFError("unexpected end of data")
        return data


class _StrictMember(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """The next member; see `tarfile.TarInfo.fromtarfile`.

        Raises:
            tarfile.EOFHeaderError: the archives end, and the file with them.
            DamagedHeader: as described in the module.
        """
        stream = tarfile_.fileobj
        assert stream is not None
        block = stream.read(tarfile.BLOCKSIZE)
        ended = False
        while block == tarfile.NUL * tarfile.BLOCKSIZE:
            ended = True
            block = stream.read(tarfile.BLOCKSIZE)
        if ended and not block.strip(tarfile.NUL):
            raise tarfile.EOFHeaderError("end of file header")  # type: ignore[attr-defined]
        if not block:
            raise DamagedHeader("the end of the archive is missing")
        try:
            member = cls.frombuf(block, tarfile_.encoding or "utf-8", tarfile_.errors or "surrogateescape")
        except tarfile.HeaderError as error:
            raise DamagedHeader(str(error)) from None
        if member.size < 0 or (member.type in _EXTENDED and member.size > _MAX_EXTENDED_HEADER_BYTES):
            raise DamagedHeader(f"a header claims {member.size:,} bytes")
        member.offset = stream.tell() - tarfile.BLOCKSIZE
        return cast(Self, member._proc_member(tarfile_))  # type: ignore[attr-defined]
