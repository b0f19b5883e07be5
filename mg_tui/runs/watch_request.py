"""What is to be done around a run while nobody looks: `watch.json` in its folder, readable by its owner only.

The URLs of notification services and the command for the end are secrets: the spec and the journal have labels for
them, and only this file has them in full.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.paths import expand_user
from mg_tui.core.redaction import redact_target, redact_url
from mg_tui.core.text import did_you_mean

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec

WATCH_FILE: Final = "watch.json"
STATE_FILE: Final = "watch-state.json"
LOCK_FILE: Final = "watch.lock"
LOG_FILE: Final = "watch.log"
CANCEL_FILE: Final = "watch.cancel"  # made to cancel what happens at the end
STOP_FILE: Final = "watch.stop"  # made to end the watching process
OWN_FILES: Final = frozenset({WATCH_FILE, STATE_FILE, LOCK_FILE, LOG_FILE, CANCEL_FILE, STOP_FILE})
PRIVATE_MODE: Final = 0o600
DEFAULT_GRACE: Final = 300.0  # seconds
ACTIONS: Final = ("stop", "terminate")  # of the rented machine; anything else is a command


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """What to do around a run.

    Attributes:
        notify: URLs, by the labels that may be shown.
        sync: destination of checkpoints and result.
        when_done: "stop", "terminate" or a command.
        grace: seconds in which `when_done` can be cancelled.
        since: number of the journal's last event that no message is sent for any more.
    """

    notify: Mapping[str, str] = field(default_factory=dict, repr=False)
    sync: str | None = field(default=None, repr=False)
    when_done: str | None = field(default=None, repr=False)
    grace: float = DEFAULT_GRACE
    since: int = 0

    def __bool__(self) -> bool:
        return bool(self.notify or self.sync or self.when_done)

    @property
    def when_done_label(self) -> str | None:
        """What happens at the end, without the command."""
        return self.when_done if self.when_done in (None, *ACTIONS) else "command"

    @property
    def sync_label(self) -> str | None:
        """The destination without secrets."""
        return None if self.sync is None else redact_target(self.sync)


def make_watch_request(
    notify: tuple[str, ...],
    sync: str | None,
    when_done: str | None,
    *,
    named: Mapping[str, str],
    cwd: Path,
    grace: float = DEFAULT_GRACE,
) -> WatchRequest:
    """The request for some values of the options; names are looked up, a relative folder is made absolute.

    Raises:
        UsageError: there is no such name in [notify].
    """
    urls: dict[str, str] = {}
    for entry in notify:
        if "://" in entry:
            label = redact_url(entry)
            while urls.get(label, entry) != entry:  # two topics of one server
                label += "'"
            urls[label] = entry
        elif (url := named.get(entry)) is not None:
            urls[entry] = url
        else:
            raise UsageError(
                f"notify: {entry!r} is neither a URL nor a name of [notify]{did_you_mean(entry, named)}",
                hint='give a URL (ntfy://TOPIC), or set one in garden.toml: [notify] phone = "ntfy://TOPIC"',
            )
    if sync is not None and is_folder(sync):
        sync = str((cwd / expand_user(sync)).absolute())
    return WatchRequest(urls, sync, when_done, grace)


def is_folder(target: str) -> bool:
    """Whether a destination is a folder of this machine: neither a URL nor `host:path`."""
    return "://" not in target and ("/" in target.partition(":")[0] or ":" not in target)


def separate_secrets(
    spec: "TrainingSpec", named: Mapping[str, str], cwd: Path
) -> "tuple[TrainingSpec, WatchRequest | None]":
    """The spec with labels for what must not be seen, and the request; None when nothing is to be done.

    Raises:
        UsageError: there is no such name in [notify].
    """
    request = make_watch_request(
        spec.notify, spec.sync, spec.when_done, named=named, cwd=cwd, grace=spec.when_done_grace
    )
    if not request:
        return spec, None
    labels = {"notify": tuple(request.notify), "sync": request.sync_label, "when_done": request.when_done_label}
    return spec.model_copy(update=labels), request


def with_secrets(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a run's spec with what its labels stand for, for another run with the same options."""
    request = read_watch_request(folder)
    if request is None:
        return dict(values)
    restored = dict(values)
    listed = values.get("notify")
    if isinstance(listed, list | tuple):
        restored["notify"] = tuple(request.notify.get(label, label) if "://" in label else label for label in listed)
    if values.get("sync") is not None:
        restored["sync"] = request.sync
    if values.get("when_done") is not None:
        restored["when_done"] = request.when_done
    return restored


def write_watch_request(folder: Path, request: WatchRequest) -> None:
    """Write the request into a folder, for its owner only.

    Raises:
        EnvironmentProblem: it cannot be written.
    """
    path = folder / WATCH_FILE
    try:
        write_private(path, {**asdict(request), "notify": dict(request.notify)})
    except OSError as error:
        raise EnvironmentProblem("Cannot save what to watch for.", where=str(path), why=error.strerror) from error


def read_watch_request(folder: Path) -> WatchRequest | None:
    """The request in a folder; None when there is none, or it cannot be read."""
    try:
        record = json.loads((folder / WATCH_FILE).read_bytes())
        return WatchRequest(
            {str(label): str(url) for label, url in record["notify"].items()},
            record["sync"],
            record["when_done"],
            float(record["grace"]),
            int(record["since"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_private(path: Path, record: Mapping[str, Any]) -> None:
    """Write JSON that only the owner can read, from the first moment on.

    Raises:
        OSError: it cannot be written.
    """
    with contextlib.suppress(FileNotFoundError):
        path.chmod(PRIVATE_MODE)
    write_atomic(path, (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode(), mode=PRIVATE_MODE)
