"""A result, a checkpoint or a merged model to a repository on the Hub.

An adapter is merged into the cache folder first if asked; the merged files stay there until they are pushed.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mg_tui.core.errors import UsageError
from mg_tui.core.text import one_line
from mg_tui.engine.inference.channel import ProgressChannel
from mg_tui.engine.inference.generate import ChannelRequest, parse_request, silence_libraries
from mg_tui.engine.inference.loading import resolve_family
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.engine.inference.pixel_limits import settle_limits
from mg_tui.engine.results.base_license import folder_license
from mg_tui.engine.results.hub_repository import HubRepository
from mg_tui.engine.results.merge import Merger
from mg_tui.engine.results.model_card import hub_name
from mg_tui.engine.results.push_files import PushFile, PushPackage, make_package, with_license
from mg_tui.engine.results.shareable import last_part, shareable_metadata
from mg_tui.families.base_models import is_hub_name
from mg_tui.families.registry import Registry, load_registry
from mg_tui.runs.result_metadata import ADAPTER_WEIGHTS, METADATA_FILE


class PushRequest(ChannelRequest):
    """What to push, and where."""

    model: Annotated[str, Field(min_length=1)]
    repository: str
    home: Path
    cache: Path
    merged: bool = False
    public: bool = False
    force: bool = False
    revision: str | None = None
    base_model: str | None = None
    card: Path | None = None
    dry_run: bool = False


class Pusher:
    """Does pushes, one at a time, without state between them."""

    def __init__(self, channel: ProgressChannel) -> None:
        self._channel = channel

    def push(self, values: dict[str, Any]) -> None:
        """Check, prepare, send, commit; replies `pushed` with the repository, its commit and the files.

        Raises:
            UsageError: MODEL or the repository's name means nothing, the repository has other content, or a file must
                not leave this machine.
            EnvironmentProblem: no network, no token, no right to write.
        """
        request = parse_request(PushRequest, values)
        if not is_hub_name(request.repository):
            raise UsageError(f"{request.repository!r} is not a name on the Hub", hint="give OWNER/NAME")
        if request.base_model and not is_hub_name(request.base_model):
            raise UsageError("--base-model is a name on the Hub here", why=f"got {request.base_model!r}")
        silence_libraries()
        registry = load_registry()
        located = self._locate(request.model, request, registry)
        repository = HubRepository(request.repository, request.revision)
        # Every file is checked before the network is used, and before a merge that takes long.
        package = self._package(located, request, registry)
        if not request.dry_run:
            repository.require_access()
            if request.merged and located.is_adapter:
                repository.require_writable(public=request.public, force=request.force)
        merged = self._merge(located, request) if request.merged and located.is_adapter else None
        if merged is not None:
            located = self._locate(str(merged), request, registry)
            package = self._package(located, request, registry)
        base_license = self._base_license(located, request, repository)
        if base_license and request.card is None:
            family = resolve_family(located, registry)
            package = with_license(package, family, repository=request.repository, base_license=base_license)
        self._finish(package, repository, request)
        if merged is not None and not request.dry_run:
            shutil.rmtree(merged, ignore_errors=True)

    def _locate(self, model: str, request: PushRequest, registry: Registry) -> LocatedModel:
        located = locate_model(model, home=request.home, registry=registry)
        if located.folder is None:
            raise UsageError(f"{model} is a base model: there is nothing of yours to push")
        return located

    def _package(self, located: LocatedModel, request: PushRequest, registry: Registry) -> PushPackage:
        family = resolve_family(located, registry)
        located, _source = settle_limits(located, family)
        return make_package(
            located,
            family,
            repository=request.repository,
            base_name=request.base_model,
            card=request.card,
            home=request.home,
        )

    def _base_license(self, located: LocatedModel, request: PushRequest, repository: HubRepository) -> dict[str, str]:
        base = located.metadata.base
        name = hub_name(shareable_metadata(located.metadata, base_name=request.base_model))
        local = base.path or (located.base.source if located.is_adapter and located.base.local else None)
        found = folder_license(local)
        if name is None:
            self._channel.send_notice(
                f"the base model {one_line(last_part(base.name), limit=60)} is not on the Hub by that name: "
                "others need to know which it is (--base-model OWNER/NAME)"
            )
        elif not found and not request.dry_run:
            found = repository.license_of(name, base.revision)
        if not found:
            self._channel.send_notice("the license of the base model is not known: the card names none")
        return found

    def _merge(self, located: LocatedModel, request: PushRequest) -> Path:
        """The merged model's folder in the cache; one that an earlier push left there is used again."""
        assert located.folder is not None
        weights = located.folder / ADAPTER_WEIGHTS
        state = weights.stat()
        key = f"{weights.resolve()}\n{state.st_size}\n{state.st_mtime_ns}\n{located.base.source}"
        target = request.cache / "merged" / hashlib.sha256(key.encode()).hexdigest()[:24]
        if (target / METADATA_FILE).is_file():
            self._channel.send_notice("using the merged model of the push that was interrupted")
            return target
        Merger(_Unfinished(self._channel)).merge(
            {"model": request.model, "output": str(target), "home": str(request.home)}
        )
        return target

    def _finish(self, package: PushPackage, repository: HubRepository, request: PushRequest) -> None:
        report: dict[str, Any] = {
            "repository": request.repository,
            "url": repository.url,
            "revision": repository.revision,
            "kind": package.metadata.kind,
            "files": [{"name": file.name, "bytes": file.size} for file in package.files],
            "bytes": sum(file.size for file in package.files),
            "left_out": list(package.left_out),
        }
        if request.dry_run:
            card = next(file.source for file in package.files if file.name == "README.md")
            assert isinstance(card, bytes)
            self._channel.send("pushed", **report, commit=None, private=not request.public, card=card.decode())
            return
        same = repository.holds(package.files)
        repository.require_writable(public=request.public, force=request.force or same)
        if same:
            self._channel.send("pushed", **report, commit=None, private=repository.is_private)
            return
        commit = repository.upload(package.files, public=request.public, sent=self._sent)
        if request.public and repository.is_private:
            self._channel.send_notice("the repository is private, and stays so: its settings on the Hub change that")
        self._channel.send("pushed", **report, commit=commit, private=repository.is_private)

    def _sent(self, file: PushFile | None, done: int, total: int) -> None:
        what = f"sending {file.name}" if file is not None else "committing"
        self._channel.send("progress", what=what, done=done, total=total)


class _Unfinished:
    """A channel for a merge inside a push: its reply is not the end of the request."""

    def __init__(self, channel: ProgressChannel) -> None:
        self._channel = channel

    def send_notice(self, text: str) -> None:
        self._channel.send_notice(text)

    def send(self, event: str, **fields: Any) -> None:
        """The parts of the merge, which are not those of the push; its reply ends nothing."""
        if event == "progress":
            self._channel.send_notice(str(fields["what"]))
