"""Through an SSH tunnel of a real sshd: no token is needed, and a tunnel that breaks is found again."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mg_tui.remote.garden import RemoteGarden
from mg_tui.runs.store import list_runs
from tests.api.conftest import free_port, wait_for
from tests.e2e.ssh_host import SSHD, SshHost

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (Path(SSHD).exists() and shutil.which("ssh")), reason="no sshd or no ssh"),
]


def test_a_tunnel_is_enough(box, laptop) -> None:
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    host, port = SshHost(laptop), free_port()
    *ssh, user, _command = host.command("", terminal=False)
    tunnel = [
        *ssh,
        "-N",
        "-o",
        "ExitOnForwardFailure=yes",
        "-L",
        f"{port}:127.0.0.1:{box.url.rpartition(':')[2]}",
        user,
    ]
    wait_for(lambda: host.log.exists() and "listening" in host.log.read_text())
    open_tunnel = subprocess.Popen(tunnel)
    try:
        garden = wait_for(lambda: _connected(f"http://127.0.0.1:{port}", laptop))
        garden.wait_until_current()
        assert [run.id for run in list_runs(garden.home)] == [run.id for run in list_runs(box.home)]
        failed = next(run.id for run in list_runs(box.home) if run.state.value == "failed")
        garden.annotate(failed, {"note": "through the tunnel"})
        open_tunnel.kill()
        open_tunnel.wait()
        wait_for(lambda: not garden.connected)
        assert "not connected since" in garden.describe(0.0)
        open_tunnel = subprocess.Popen(tunnel)
        wait_for(lambda: garden.connected)
        wait_for(
            lambda: {run.id: run.annotations.note for run in list_runs(garden.home)}[failed] == "through the tunnel"
        )
        garden.close()
    finally:
        open_tunnel.kill()
        open_tunnel.wait()
        host.close()


def _connected(url: str, laptop: Path) -> RemoteGarden | None:
    from mg_tui.core.errors import GardenError

    try:
        return RemoteGarden.open(url, laptop / "cache")
    except GardenError:  # the tunnel is not there yet
        return None
