"""A private repository of the Hugging Face Hub as a destination: hf://OWNER/NAME[/PATH]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.watching.copying import CopyFailed, clean, sha256

_KINDS: Final = {"models": "model", "datasets": "dataset"}


class HubTarget:
    """A folder of a model repository, which is made private if there is none. One commit for each call of `put`."""

    def __init__(self, url: str, run: str):
        words = [word for word in url.removeprefix("hf://").split("/") if word]
        self._kind = _KINDS.get(words[0], "model") if words else "model"
        words = words[1:] if words and words[0] in _KINDS else words
        if len(words) < 2:
            raise UsageError(f"sync: {url} needs an owner and a name", hint="e.g. hf://me/my-runs")
        self._url, self._repo, self._root = url, "/".join(words[:2]), "/".join([*words[2:], run])
        self._made = False

    def _api(self) -> Any:
        from huggingface_hub import HfApi

        from mg_tui.families.hub import endpoint

        return HfApi(endpoint=endpoint())

    def put(self, local: Path, names: Sequence[str], folder: str) -> None:
        from huggingface_hub import CommitOperationAdd

        place = f"{self._root}/{folder}".rstrip("/")
        try:
            api = self._api()
            if not self._made:
                api.create_repo(self._repo, repo_type=self._kind, private=True, exist_ok=True)
                self._made = True
            there = self._hashes(api, place)
            new = [name for name in names if not self._same(there.get(name), local / name)]
            if new:
                operations = [CommitOperationAdd(f"{place}/{name}", str(local / name)) for name in new]
                title = f"{folder or 'files'} of {self._root.rpartition('/')[2]}"
                api.create_commit(self._repo, operations, commit_message=title, repo_type=self._kind)
                there = self._hashes(api, place)
            different = next((name for name in new if not self._same(there.get(name), local / name)), None)
        except Exception as error:  # of the Hub's client
            raise CopyFailed(clean(error, self._url)) from None
        if different is not None:
            raise CopyFailed(f"{different} differs after it was copied")

    def remove(self, folder: str) -> None:
        try:
            if self.names(folder):
                self._api().delete_folder(f"{self._root}/{folder}", self._repo, repo_type=self._kind)
        except CopyFailed:
            raise
        except Exception as error:
            raise CopyFailed(clean(error, self._url)) from None

    def names(self, folder: str) -> list[str]:
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

        try:
            return sorted(self._hashes(self._api(), f"{self._root}/{folder}".rstrip("/")))
        except (EntryNotFoundError, RepositoryNotFoundError):
            return []
        except Exception as error:
            raise CopyFailed(clean(error, self._url)) from None

    def get(self, folder: str, names: Sequence[str], local: Path) -> None:
        import shutil

        from huggingface_hub import hf_hub_download

        from mg_tui.families.hub import endpoint

        place = f"{self._root}/{folder}".rstrip("/")
        try:
            there = self._hashes(self._api(), place)
            for name in names:
                destination = local / name
                if destination.is_file() and self._same(there.get(name), destination):
                    continue
                found = hf_hub_download(
                    self._repo, f"{place}/{name}", repo_type=self._kind, endpoint=endpoint(), local_dir=local / ".hub"
                )
                destination.parent.mkdir(parents=True, exist_ok=True)
                Path(found).replace(destination)
                if not self._same(there.get(name), destination):
                    raise CopyFailed(f"{name} differs after it was copied")
        except CopyFailed:
            raise
        except Exception as error:
            raise CopyFailed(clean(error, self._url)) from None
        finally:
            shutil.rmtree(local / ".hub", ignore_errors=True)

    def _hashes(self, api: Any, place: str) -> dict[str, tuple[str, str]]:
        """The hash of every file under a folder: of large ones SHA-256, of others git's."""
        found = {}
        for path in api.list_repo_tree(self._repo, recursive=True, repo_type=self._kind):
            if getattr(path, "size", None) is None or not path.path.startswith(f"{place}/"):
                continue
            lfs = getattr(path, "lfs", None)
            fact = ("sha256", lfs.sha256) if lfs is not None else ("git", path.blob_id)
            found[path.path.removeprefix(f"{place}/")] = fact
        return found

    def _same(self, remote: tuple[str, str] | None, local: Path) -> bool:
        if remote is None:
            return False
        kind, value = remote
        return value == (sha256(local) if kind == "sha256" else _git_hash(local))


def _git_hash(path: Path) -> str:
    """The name that git has for a file's content."""
    import hashlib

    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
