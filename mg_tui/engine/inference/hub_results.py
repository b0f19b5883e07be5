"""Results on the Hub by name: somebody's adapter, or a whole model with the preprocessing it was trained with.

They are downloaded into the Hub's cache and used like a folder. Base models are not: transformers loads those by name.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.text import first_line
from mg_tui.families import hub
from mg_tui.families.base_models import is_hub_name
from mg_tui.runs.result_metadata import ADAPTER_CONFIG, ADAPTER_WEIGHTS, METADATA_FILE, MODEL_CONFIG

if TYPE_CHECKING:
    from mg_tui.families.registry import Registry

# No pickles and no code: what they would run is anybody's.
_DOWNLOADED: Final = ("*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model", "README.md", "LICENSE*")
_NETWORK_ERRORS: Final = frozenset(
    {"ConnectError", "ConnectTimeout", "ReadTimeout", "ReadError", "WriteError", "RemoteProtocolError", "WriteTimeout"}
)


def split_revision(model: str) -> tuple[str, str | None]:
    """OWNER/NAME@REVISION as name and revision; the revision (branch, tag or commit) is None where there is none."""
    name, _at, revision = model.partition("@")
    return name, revision or None


def download_result(model: str, registry: "Registry") -> Path | None:
    """The folder of a result on the Hub, downloaded; None when the name is no Hub name or is that of a base model.

    Args:
        model: OWNER/NAME or OWNER/NAME@REVISION. With a revision a base model is downloaded too.

    Raises:
        UsageError: there is no such repository or revision, or its weights are pickles.
        FamilyError: no installed family handles the model.
        EnvironmentProblem: the Hub cannot be reached, requires a login, or the download was cut.
    """
    name, revision = split_revision(model)
    if not is_hub_name(name):
        return None
    if not hub.is_reachable():
        return _cached_result(name, revision)
    from huggingface_hub import HfApi, snapshot_download

    with _translated(name, registry):
        info = HfApi(endpoint=hub.endpoint()).model_info(name, revision=revision)
        names = {file.rfilename for file in info.siblings or ()}
        if revision is None and not names & {ADAPTER_CONFIG, METADATA_FILE}:
            return None
        _require_safetensors(name, names)
        if ADAPTER_CONFIG not in names and MODEL_CONFIG in names:
            registry.resolve(name, revision=revision, fetch=True)  # a family must know it before gigabytes are fetched
        folder = snapshot_download(name, revision=revision, allow_patterns=list(_DOWNLOADED), endpoint=hub.endpoint())
    return Path(folder)


def _cached_result(name: str, revision: str | None) -> Path | None:
    folder = hub.cached_snapshot(name, revision)
    if folder is not None and (revision or any((folder / file).is_file() for file in (ADAPTER_CONFIG, METADATA_FILE))):
        return folder
    if revision:
        raise hub.unreachable_error(name)
    return None


def _require_safetensors(name: str, names: set[str]) -> None:
    if ADAPTER_CONFIG in names and ADAPTER_WEIGHTS not in names:
        pickled = "adapter_model.bin" in names
        raise UsageError(
            f"the adapter {name} has no {ADAPTER_WEIGHTS}",
            where=f"{hub.endpoint()}/{name}",
            why="adapter_model.bin is a pickle, which is not loaded: it could run any code" if pickled else None,
        )


@contextlib.contextmanager
def _translated(name: str, registry: "Registry") -> Iterator[None]:
    try:
        yield
    except GardenError:
        raise
    except Exception as error:  # the client and its HTTP library raise many types
        if type(error).__name__ in _NETWORK_ERRORS:
            raise EnvironmentProblem(
                f"the download of {name} was cut",
                where=hub.endpoint(),
                why=f"{type(error).__name__}: {first_line(error)}",
                hint="run the command again: it resumes the download",
            ) from error
        raise hub.to_garden_error(error, name, known=[item.name for item in registry.checkpoints]) from error
