"""A server before its process: names and paths settled, the address looked at, and the process started."""

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

from mg_tui.config import Settings
from mg_tui.core.named_datasets import require_path
from mg_tui.core.serve_spec import DEFAULT_PORT, ServeSpec, split_served
from mg_tui.gate import Listener, check_listener
from mg_tui.preflight.model_names import settle_dataset, settle_model
from mg_tui.runs import launch
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.servers import ServerFolder
from mg_tui.runs.versions import package_versions


def launch_server(
    spec: ServeSpec,
    settings: Settings,
    *,
    cwd: Path,
    gpus: Sequence[str] | None = None,
    run_id: str | None = None,
    bounds: CallerBounds | None = None,
) -> ServerFolder:
    """Check what can be checked without the models, make the server's folder, and start its process, detached.

    Args:
        cwd: the folder that relative paths start from.
        gpus: devices by name; any free one by default.
        run_id, bounds: see `RunFolder.create`.

    Raises:
        GardenError: something is wrong; nothing has been made then.
    """
    settled = settle_spec(spec, settings, cwd)
    folder = ServerFolder.create(
        settings.home, settled, versions=package_versions(), cwd=cwd, run_id=run_id, bounds=bounds
    )
    launch.start_worker(folder, gpus)
    return folder


def settle_spec(spec: ServeSpec, settings: Settings, cwd: Path) -> ServeSpec:
    """The spec with every name and path as the worker needs them.

    Raises:
        UsageError: there is no such run, or the address is refused.
        EnvironmentProblem: a file of the TLS key pair is not there.
    """
    changes: dict[str, object] = {"models": tuple(_settle_served(model, settings.home, cwd) for model in spec.models)}
    if spec.base_model is not None:
        changes["base_model"] = settle_model(spec.base_model, settings.home, cwd)
    if spec.dataset is not None:
        table = settings.datasets.get(spec.dataset)
        changes["dataset"] = settle_dataset(require_path(spec.dataset, table) if table else spec.dataset, cwd)
    settled = launch.with_absolute_paths(spec.model_copy(update=changes), cwd)
    check_listener(listener_of(settled))
    return settled


def listener_of(spec: ServeSpec) -> Listener:
    """The address of a server."""
    cert, key = (None if name is None else Path(name) for name in (spec.tls_cert, spec.tls_key))
    return Listener(spec.host, spec.port, cert, key, spec.behind_proxy, spec.allow_host)


def first_free_port(host: str = "127.0.0.1", first: int = DEFAULT_PORT, tried: int = 20) -> int:
    """The first port from `first` on that nobody listens on; 0, any free one, after `tried` attempts."""
    for port in range(first, first + tried):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return port
    return 0


def _settle_served(model: str, home: Path, cwd: Path) -> str:
    """MODEL or NAME=MODEL; a model may be a .gguf file."""
    name, given = split_served(model)
    given = settle_model(given, home, cwd, files=True)
    return given if name is None else f"{name}={given}"
