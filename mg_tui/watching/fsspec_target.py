"""A destination of fsspec: s3://, gs://, az:// and others, each with its package."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.redaction import redact_target
from mg_tui.watching.copying import CopyFailed, clean, sha256

_PART_BYTES: Final = 50 << 20  # of an upload in parts
_CHUNK: Final = 4 << 20


class FsspecTarget:
    """A folder of a file system that fsspec knows; options of the URL's query are not supported."""

    def __init__(self, url: str, run: str):
        import fsspec

        self._url = url
        try:
            self._fs, root = fsspec.core.url_to_fs(url.rstrip("/"))
        except ImportError:
            name = url.partition("://")[0]
            package = "'model-garden-tui[s3]'" if name in ("s3", "s3a") else f"fsspec's package for {name}"
            raise UsageError(
                f"sync: {name}:// needs a package that is not installed", hint=f"uv pip install {package}"
            ) from None
        except ValueError:
            raise UsageError(
                f"sync: {redact_target(url)} is of no known kind",
                hint="give a folder, user@host:path, s3://bucket/path or hf://owner/name",
            ) from None
        self._root = f"{root.rstrip('/')}/{run}"

    def put(self, local: Path, names: Sequence[str], folder: str) -> None:
        for name in names:
            source, destination = local / name, f"{self._root}/{folder}/{name}".replace("//", "/")
            try:
                if self._is_there(source, destination):
                    continue
                self._fs.makedirs(destination.rpartition("/")[0], exist_ok=True)
                self._fs.put_file(str(source), destination, **self._upload_options())
                self._fs.invalidate_cache(destination.rpartition("/")[0])
                same = self._is_there(source, destination)
            except FileNotFoundError as error:
                if not source.exists():  # retention removed it meanwhile
                    raise CopyFailed(f"{name} was removed while it was copied") from None
                raise CopyFailed(clean(error, self._url)) from None
            except Exception as error:  # of whatever library is behind the URL
                raise CopyFailed(clean(error, self._url)) from None
            if not same:
                raise CopyFailed(f"{name} differs after it was copied")

    def remove(self, folder: str) -> None:
        try:
            self._fs.rm(f"{self._root}/{folder}", recursive=True)
        except FileNotFoundError:
            return
        except Exception as error:
            raise CopyFailed(clean(error, self._url)) from None

    def names(self, folder: str) -> list[str]:
        place = f"{self._root}/{folder}".rstrip("/")
        try:
            self._fs.invalidate_cache()
            found = self._fs.find(place)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise CopyFailed(clean(error, self._url)) from None
        return sorted(str(path).removeprefix(place).lstrip("/") for path in found)

    def get(self, folder: str, names: Sequence[str], local: Path) -> None:
        for name in names:
            source, destination = f"{self._root}/{folder}/{name}".replace("//", "/"), local / name
            try:
                if destination.is_file() and self._is_there(destination, source):
                    continue
                destination.parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(source, str(destination))
                same = self._is_there(destination, source)
            except Exception as error:
                raise CopyFailed(clean(error, self._url)) from None
            if not same:
                raise CopyFailed(f"{name} differs after it was copied")

    def _upload_options(self) -> dict[str, Any]:
        return {"chunksize": _PART_BYTES} if self._is_s3 else {}

    @property
    def _is_s3(self) -> bool:
        protocol = self._fs.protocol
        return "s3" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _is_there(self, local: Path, remote: str) -> bool:
        """Whether the remote file has the content of a local one, by hash: that of S3 where it has one."""
        try:
            facts = self._fs.info(remote)
        except FileNotFoundError:
            return False
        if int(facts.get("size") or 0) != local.stat().st_size:
            return False
        tag = str(facts.get("ETag", "")).strip('"') if self._is_s3 else ""
        if tag and tag in (_md5(local), _multipart_tag(local)):
            return True
        digest = hashlib.sha256()
        with self._fs.open(remote, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == sha256(local)


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _multipart_tag(path: Path) -> str:
    """The ETag of an upload in parts of `_PART_BYTES`: the MD5 of the parts' MD5s, and their number."""
    digests = []
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            digests.append(hashlib.md5(part, usedforsecurity=False).digest())
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"
