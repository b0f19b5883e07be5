"""A garden on another machine: its runs as copies, what is done to them, and its devices."""

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from mg_tui.core.errors import GardenError
from mg_tui.remote.address import ServerAddress, find_token, parse_server_url, require_private
from mg_tui.remote.connection import ApiConnection
from mg_tui.remote.follower import GardenFollower
from mg_tui.remote.problems import ServerProblem
from mg_tui.runs import elsewhere

if TYPE_CHECKING:
    from mg_tui.hardware.types import DeviceSnapshot

_JOBS: Final = "/training/jobs"
_TRASH: Final = "/training/trash"
_CREATE_TRIES: Final = 3
_CREATE_SECONDS: Final = 600.0


class RemoteGarden(GardenFollower):
    """What `mg_tui.runs.elsewhere.Elsewhere` says, over the REST API."""

    def __init__(self, address: ServerAddress, token: str | None, cache: Path):
        super().__init__(address, token, cache)
        self._devices = ApiConnection(address, token, timeout=10.0)

    @classmethod
    def open(cls, url: str, cache: Path, *, token_file: str | Path | None = None, setting: str | None = None) -> Self:
        """Connect to a server and register its runs; `home` then has copies of them.

        Args:
            url: where it is.
            cache: the cache folder.
            token_file: a file with the token.
            setting: the file that the settings name.

        Raises:
            GardenError: the URL or the token is none, or the server cannot be reached, is something else, or refuses.
        """
        address = parse_server_url(url)
        token = find_token(token_file, setting)
        require_private(address, token)
        garden = cls(address, token, cache)
        garden.start()
        elsewhere.register(garden.home, garden)
        return garden

    def close(self) -> None:
        elsewhere.forget(self.home)
        self._devices.close()
        super().close()

    # --- changes

    def stop(self, run_id: str, *, now: bool) -> tuple[str, bool, bool]:
        answer = self._post(f"{_JOBS}/{run_id}/stop", {"now": now})
        return str(answer["request"]), bool(answer["seen"]), bool(answer.get("queued"))

    def checkpoint(self, run_id: str) -> bool:
        return bool(self._post(f"{_JOBS}/{run_id}/checkpoint")["seen"])

    def resume(
        self,
        run_id: str,
        *,
        at: str | None,
        from_start: bool,
        gpus: Sequence[str] | None,
        queue: bool,
        processes: int | None,
        max_cost: float | None,
    ) -> None:
        devices = ",".join(gpus) if gpus else None
        body = {"at": at, "from_start": from_start, "gpus": devices, "queue": queue, "processes": processes}
        # An older server knows no limit of the cost, and would refuse the field.
        more = {} if max_cost is None else {"max_cost": max_cost}
        self._post(f"{_JOBS}/{run_id}/resume", {**body, **more})

    def set_held(self, run_id: str, held: bool) -> None:
        self._post(f"{_JOBS}/{run_id}/{'hold' if held else 'release'}")

    def move(self, run_id: str, position: int) -> int:
        answer = self._post(f"{_JOBS}/{run_id}/move", {"position": position})
        return int((answer.get("queue") or {}).get("position", position))

    def annotate(self, run_id: str, values: dict[str, Any]) -> None:
        self._post(f"{_JOBS}/{run_id}/annotate", values)

    def remove(self, run_id: str, *, permanently: bool) -> None:
        with self.connect() as connection:
            connection.delete(f"{_JOBS}/{run_id}", {"permanently": "true"} if permanently else None)

    def remove_checkpoint(self, run_id: str, step: int) -> None:
        with self.connect() as connection:
            connection.delete(f"{_JOBS}/{run_id}/checkpoints/{step}")

    def list_trash(self) -> list[tuple[str, str, float]]:
        with self.connect() as connection:
            data = connection.get(_TRASH)["data"]
        return [(str(item["id"]), str(item["path"]), float(item["removed_at"])) for item in data]

    def restore(self, run_id: str) -> None:
        self._post(f"{_TRASH}/{run_id}/restore")

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a job, once, however often the connection is lost while it is made; returns it."""
        return self._create(_JOBS, body)

    def rerun(self, run_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a job from the options of another; returns it."""
        return self._create(f"{_JOBS}/{run_id}/rerun", body)

    def _create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        for left in reversed(range(_CREATE_TRIES)):
            try:
                # Rows and images are checked before the answer.
                with self.connect(timeout=_CREATE_SECONDS) as connection:
                    created: dict[str, Any] = connection.post(path, body, headers=headers)
                    return created
            except ServerProblem as error:
                if not left or not error.passing:
                    raise
                time.sleep(1.0)
        raise AssertionError("the last try returns or raises")

    def _post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with self.connect() as connection:
            return connection.post(path, body)

    # --- devices

    def sample_devices(self) -> "DeviceSnapshot | None":
        from mg_tui.remote.devices import snapshot_of

        if not self.status.connected:
            return None
        try:
            return snapshot_of(self._devices.get("/devices/sample"))
        except GardenError:
            return None
