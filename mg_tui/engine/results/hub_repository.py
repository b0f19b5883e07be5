"""A model repository on the Hub that a push writes to, with the Hub's answers as GardenErrors.

A push is one commit: others see all of it or none. Files are sent before, one after another; what was sent stays in the
Hub's store, so that a push that was cut sends only the rest when it is repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.core.text import first_line, one_line
from mg_tui.engine.results.base_license import pick_license
from mg_tui.engine.results.push_files import PushFile, is_result_file
from mg_tui.families.hub import endpoint, is_offline, is_reachable

# What the Hub makes by itself in a new repository.
_MADE_BY_HUB: Final = frozenset({".gitattributes"})
_DEFAULT_BRANCH: Final = "main"
_SHOWN_NAMES: Final = 4


class HubRepository:
    """One model repository, at one branch."""

    def __init__(self, name: str, revision: str | None) -> None:
        from huggingface_hub import HfApi, get_token

        self.name = name
        self.revision = revision or _DEFAULT_BRANCH
        self._token = get_token()
        self._api = HfApi(endpoint=endpoint(), token=self._token)
        self._exists = False
        self._branch_exists = False
        self._commit: str | None = None
        self._private: bool | None = None
        self._files: dict[str, Any] = {}

    @property
    def url(self) -> str:
        """The page of the repository."""
        tree = "" if self.revision == _DEFAULT_BRANCH else f"/tree/{self.revision}"
        return f"{endpoint()}/{self.name}{tree}"

    @property
    def is_private(self) -> bool | None:
        """Whether only its owner sees it; None before it exists."""
        return self._private

    def require_access(self) -> None:
        """Check the token, and read what the repository holds.

        Raises:
            EnvironmentProblem: no network, no token, one that the Hub does not know, or one without the right to write.
        """
        if is_offline():
            raise EnvironmentProblem("a push needs the Hub", why="HF_HUB_OFFLINE is set", hint="unset it")
        if self._token is None:
            raise EnvironmentProblem(
                "there is no token for the Hub",
                where=endpoint(),
                hint="run `hf auth login` with a token that may write, or set HF_TOKEN",
            )
        if not is_reachable():
            raise EnvironmentProblem(f"{endpoint()} cannot be reached", hint="check the network or HF_ENDPOINT")
        with self._errors():
            account = self._api.whoami()
        role = account.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise self._not_allowed("its role is read")
        self._read_state()

    def _read_state(self) -> None:
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        with self._errors():
            try:
                info = self._api.model_info(self.name)
            except RepositoryNotFoundError:
                return
            self._exists, self._private, self._commit = True, bool(info.private), info.sha
            try:
                if self.revision != _DEFAULT_BRANCH:
                    self._commit = self._api.model_info(self.name, revision=self.revision).sha
                tree = self._api.list_repo_tree(self.name, recursive=True, revision=self.revision)
                self._files = {item.path: item for item in tree if hasattr(item, "blob_id")}
                self._branch_exists = True
            except RevisionNotFoundError:
                return

    def require_writable(self, *, public: bool, force: bool) -> None:
        """Refuse a repository that would show what should be private, or whose content would be replaced.

        Raises:
            UsageError: it is public and the push is private, or it has content and `force` is not set.
        """
        if self._private is False and not public:
            raise UsageError(
                f"{self.name} is public, and this push is private",
                where=self.url,
                hint="push with --public, choose another name, or make the repository private in its settings",
            )
        others = sorted(self._files.keys() - _MADE_BY_HUB)
        if others and not force:
            shown = ", ".join(one_line(name, limit=60) for name in others[:_SHOWN_NAMES])
            if len(others) > _SHOWN_NAMES:
                shown += f" and {len(others) - _SHOWN_NAMES} more"
            raise UsageError(
                f"{self.name} has other content",
                where=self.url,
                why=f"it holds {shown}",
                hint="choose another name, a branch with --revision NAME, or replace its result files with --force "
                "(the old ones stay in the history)",
            )

    def holds(self, files: Sequence[PushFile]) -> bool:
        """Whether the repository's result files are these already."""
        names = {file.name for file in files}
        return bool(files) and not self._stale(names) and all(self._is_there(file) for file in files)

    def _is_there(self, file: PushFile) -> bool:
        there = self._files.get(file.name)
        if there is None or there.size != file.size:
            return False
        from huggingface_hub.utils import sha

        if there.lfs is not None:
            if isinstance(file.source, bytes):
                import hashlib

                return bool(hashlib.sha256(file.source).hexdigest() == there.lfs.sha256)
            with file.source.open("rb") as stream:
                return bool(sha.sha_fileobj(stream).hex() == there.lfs.sha256)
        data = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
        return bool(sha.git_hash(data) == there.blob_id)

    def _stale(self, names: set[str]) -> list[str]:
        """Result files of the repository that this push does not replace: left there, they would be loaded with it."""
        return sorted(name for name in self._files if "/" not in name and is_result_file(name) and name not in names)

    def upload(
        self, files: Sequence[PushFile], *, public: bool, sent: Callable[[PushFile | None, int, int], None]
    ) -> str:
        """Create what is missing, send the files, and commit them; returns the commit.

        Args:
            sent: called before each file is sent with it, the bytes done and the bytes in all; with None at the end.

        Raises:
            EnvironmentProblem: no right to write, no network, or the Hub has no room for it.
            RunFailed: the Hub does not accept the files.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._errors():
            if not self._exists:
                self._create(public=public)
            if self.revision != _DEFAULT_BRANCH and not self._branch_exists:
                self._api.create_branch(self.name, branch=self.revision, exist_ok=True)
                self._read_state()
            additions = [CommitOperationAdd(file.name, _content(file)) for file in files]
            done, total = 0, sum(file.size for file in files)
            for file, addition in zip(files, additions, strict=True):
                sent(file, done, total)
                self._api.preupload_lfs_files(
                    self.name, [addition], revision=self.revision, free_memory=False, gitignore_content=""
                )
                done += file.size
            sent(None, total, total)
            removals = [CommitOperationDelete(name, is_folder=False) for name in self._stale({f.name for f in files})]
            commit = self._api.create_commit(
                self.name,
                [*additions, *removals],
                commit_message="Push with Model Garden",
                revision=self.revision,
                parent_commit=self._commit,
            )
        return str(commit.oid)

    def _create(self, *, public: bool) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            self._api.create_repo(self.name, private=not public)
        except HfHubHTTPError as error:
            if error.response.status_code == 409:
                raise self._not_allowed("a repository of this name exists, and the token does not see it") from error
            raise
        self._private, self._exists = not public, True

    def license_of(self, base: str, revision: str | None) -> dict[str, str]:
        """The license keys of another model's card; empty where the Hub does not tell."""
        try:
            card = self._api.model_info(base, revision=revision).card_data
        except Exception:  # the card only lacks a line then
            return {}
        return pick_license(vars(card) if card is not None else None)

    def _not_allowed(self, why: str | None) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"the token may not write to {self.name}",
            where=endpoint(),
            why=why,
            hint=f"make one that may write at {endpoint()}/settings/tokens and run `hf auth login`; OWNER is your user "
            "or an organization of yours",
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (GardenError, KeyboardInterrupt):
            raise
        except Exception as error:  # the client, its HTTP library and its native uploader raise many types
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> GardenError:
        status = getattr(getattr(error, "response", None), "status_code", None)
        said = one_line(str(getattr(error, "server_message", None) or first_line(error)), limit=300)
        if status == 401:
            return EnvironmentProblem(
                "the Hub does not accept the token", where=endpoint(), why=said, hint="run `hf auth login` again"
            )
        if status == 403:
            return self._not_allowed(said)
        if status in (409, 412):
            return EnvironmentProblem(
                f"{self.name} was changed during the push, and nothing was committed", why=said, hint="run it again"
            )
        if status in (402, 413, 507):
            return EnvironmentProblem(f"the Hub has no room for {self.name}", where=endpoint(), why=said)
        if status is None and isinstance(error, ValueError):
            return RunFailed("the Hub does not accept the files", where=self.url, why=said)
        if status is not None and status < 500 and status != 429:
            return RunFailed("the Hub refused the push", where=self.url, why=f"HTTP {status}: {said}")
        # hf-xet, which the client sends files by wherever it is installed, has no type of its own for this.
        if status is None and "(404" in str(error) and "/xet-write-token/" in str(error):
            return EnvironmentProblem(
                "the server does not offer xet, which files are sent by",
                where=endpoint(),
                why=said,
                hint="set HF_HUB_DISABLE_XET=1 and run the command again: they are sent by LFS then",
            )
        return EnvironmentProblem(
            "the connection to the Hub was lost, and nothing was committed",
            where=endpoint(),
            why=f"{type(error).__name__}: {said}",
            hint="run the same command again: files that have arrived are not sent again",
        )


def _content(file: PushFile) -> str | bytes:
    return str(file.source) if isinstance(file.source, Path) else file.source
