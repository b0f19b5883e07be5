"""What has to hold before a run is watched; checked at its start, when somebody is still there."""

from collections.abc import Mapping

from mg_tui.runs.watch_request import WatchRequest
from mg_tui.watching.channels import open_channel
from mg_tui.watching.targets import open_target
from mg_tui.watching.when_done import require_possible


def check_request(request: WatchRequest, environ: Mapping[str, str]) -> None:
    """Check addresses, destination and command without using them.

    Raises:
        UsageError: one of them cannot be used on this machine.
    """
    for label, url in request.notify.items():
        open_channel(url, label)
    if request.sync is not None:
        open_target(request.sync, "run")
    if request.when_done is not None:
        require_possible(request.when_done, synced=request.sync is not None, environ=environ)
