"""The Hugging Face Hub: its local cache, its reachability, and its errors as GardenErrors.

transformers retries an unreachable Hub for minutes, file by file. This module checks once, within seconds, whether it
is reachable; if not, only the cache is used, and a missing file becomes one error that explains what to do offline.
"""

import json
import os
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError, exception_chain
from mg_tui.core.files import is_disk_full
from mg_tui.core.text import closest_model, first_line

_TIMEOUT: Final = 6.0  # seconds to wait for the Hub's first response
_TRUE_VALUES: Final = frozenset({"1", "on", "yes", "true"})


def endpoint() -> str:
    """URL of the Hub, or of the mirror in HF_ENDPOINT."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Whether the environment forbids the Hub (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE)."""
    return any(os.environ.get(name, "").lower() in _TRUE_VALUES for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))


def cache_folder() -> Path:
    """Folder of Hub downloads: HF_HUB_CACHE, else HF_HOME/hub, else the user's cache folder."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def cached_snapshot(name: str, revision: str | None = None) -> Path | None:
    """The folder of a downloaded revision (default "main"), or None."""
    repository = cache_folder() / f"models--{name.replace('/', '--')}"
    reference_name = revision or "main"
    reference = repository / "refs" / reference_name
    try:
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else reference_name
    except OSError:
        return None
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None


def cached_config(name: str, revision: str | None = None) -> dict[str, Any] | None:
    """The `config.json` of a downloaded model, or None when it is not, or only partially, there."""
    folder = cached_snapshot(name, revision)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else None
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def fetch_config(name: str, revision: str | None = None, *, known: list[str] | None = None) -> dict[str, Any]:
    """Download the `config.json` of a model into the cache.

    Raises:
        EnvironmentProblem: the Hub is unreachable or requires a login.
        UsageError: there is no such model or revision.
    """
    if not is_reachable():
        raise unreachable_error(name)
    from huggingface_hub import hf_hub_download

    try:
        file = hf_hub_download(name, "config.json", revision=revision, endpoint=endpoint())
        config = json.loads(Path(file).read_text(encoding="utf-8"))
    except Exception as error:
        raise to_garden_error(error, name, known=known) from error
    if not isinstance(config, dict):
        raise UsageError("the model's config.json is not a JSON object", where=name)
    return config


def resolve_source(source: str, hub: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Source and options for `from_pretrained`, such that it never waits for an unreachable Hub.

    A folder is loaded directly, as is a cached model while the Hub is unreachable.

    Args:
        source: a folder, or a Hub name.
        hub: the call's Hub arguments (`revision`, `trust_remote_code`, ...); None values are dropped.

    Raises:
        EnvironmentProblem: the Hub is unreachable and the model is not cached.
    """
    options = {key: value for key, value in hub.items() if value is not None}
    if not Path(source).is_dir():
        if is_reachable():
            return source, options
        snapshot = cached_snapshot(source, options.get("revision"))
        if snapshot is None:
            raise unreachable_error(source)
        # Load from the folder: not all of transformers honors `local_files_only`.
        source = str(snapshot)
    options.pop("revision", None)
    return source, {**options, "local_files_only": True}


def is_reachable() -> bool:
    """Whether the Hub responds. Checked once per process and endpoint, for a few seconds at most."""
    return not is_offline() and _ping(endpoint())


@lru_cache(maxsize=8)
def _ping(address: str) -> bool:
    answered = threading.Event()

    def ask() -> None:
        import httpx

        try:
            httpx.head(address, timeout=_TIMEOUT)
        except httpx.HTTPError:
            return
        answered.set()

    # In a thread: DNS lookups have no timeout of their own.
    thread = threading.Thread(target=ask, name="hub", daemon=True)
    thread.start()
    thread.join(_TIMEOUT)
    return answered.is_set()


def unreachable_error(name: str, *, partly: bool = False) -> EnvironmentProblem:
    """The error for a model that is missing, or only `partly` available, locally and cannot be downloaded."""
    what, why = f"{name} is {'only partially' if partly else 'not'} available locally", None
    if is_offline():
        why = "HF_HUB_OFFLINE is set"
    else:
        what += f", and {endpoint()} cannot be reached"
    return EnvironmentProblem(
        what,
        where=str(cache_folder()),
        why=why,
        hint=f"offline, give a local folder or `tiny` as base model; or run `hf download {name}` where there is a "
        "network, copy that cache here and point HF_HOME at it (HF_HUB_OFFLINE=1 then saves the wait for the network)",
    )


def to_garden_error(error: BaseException, source: str, *, known: list[str] | None = None) -> GardenError:
    """An exception of transformers or the Hub client as a GardenError; a GardenError is returned unchanged."""
    if isinstance(error, GardenError):
        return error
    if not Path(source).is_dir() and not is_reachable():
        # Only the cache was available, and something in it is missing or broken.
        return unreachable_error(source, partly=True)
    for link in exception_chain(error):
        if (translated := _translate_error(link, source, known or [])) is not None:
            return translated
    return UsageError("cannot load the model files", where=source, why=f"{type(error).__name__}: {first_line(error)}")


def _translate_error(error: BaseException, source: str, known: list[str]) -> GardenError | None:
    kind = type(error).__name__
    page = f"{endpoint()}/{source}"
    if kind == "GatedRepoError":
        hint = f"accept its terms at {page}, then run `hf auth login`"
        return EnvironmentProblem(f"{source} is gated", hint=hint)
    if kind == "RepositoryNotFoundError":
        close = closest_model(source, known)
        hint = (f"did you mean {close}? " if close else "") + "for private models, run `hf auth login`"
        return UsageError(f"the Hub has no model {source}", hint=hint)
    if kind == "RevisionNotFoundError":
        return UsageError(f"revision not found: {source}", hint=f"see the branches and tags at {page}")
    if kind in ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout", "ReadTimeout"):
        return unreachable_error(source)
    if kind == "SafetensorError":
        return UsageError("the model weights are corrupted", where=source, why=str(error), hint="download them again")
    if is_disk_full(error):
        return EnvironmentProblem("no disk space left for the model", where=str(cache_folder()))
    if isinstance(error, OSError) and "safetensors" in str(error):
        hint = "other formats are pickles, which can execute arbitrary code; convert them to safetensors"
        return UsageError("the model has no safetensors weights", where=source, hint=hint)
    return None
