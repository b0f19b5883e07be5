"""The set-up of the `cloud` image: keys, what sessions get, and a real sshd that hands it on."""

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6zZxk1 me@laptop"


@pytest.fixture
def cloud(container):
    return container["cloud"]


def test_keys_of_both_variables_are_used_once(cloud) -> None:
    other = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= them"
    environment = {"PUBLIC_KEY": f"{KEY}\n\n# a comment\n{other}\n", "SSH_KEY": KEY}
    assert cloud.list_keys(environment) == ([KEY, other], [])
    assert cloud.list_keys({"PUBLIC_KEY": f"{KEY}\\n{other}"}) == ([KEY, other], [])  # as some forms send it
    assert cloud.list_keys({}) == ([], [])


def test_what_is_no_public_key_is_reported_and_never_shown(cloud) -> None:
    secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"
    keys, problems = cloud.list_keys({"PUBLIC_KEY": secret, "SSH_KEY": f"password123\n{KEY}"})
    assert keys == [KEY] and len(problems) == 2
    assert "PUBLIC_KEY has a private key" in problems[0] and "SSH_KEY is not a public key" in problems[1]
    assert "c2VjcmV0" not in str(problems) and "password123" not in str(problems)


def test_everything_moves_to_the_workspace(cloud) -> None:
    environment = {"MODEL_GARDEN_HOME": "/workspace/garden", "HF_HOME": "/models", "WORKSPACE": "/mnt/disk/"}
    cloud.move_to_workspace(environment)
    assert environment["MODEL_GARDEN_HOME"] == "/mnt/disk/garden" and environment["HF_HOME"] == "/models"
    plain = {"MODEL_GARDEN_HOME": "/workspace/garden"}
    cloud.move_to_workspace(plain)
    assert plain == {"MODEL_GARDEN_HOME": "/workspace/garden", "WORKSPACE": "/workspace"}


def test_sessions_get_the_environment_without_what_is_their_own(cloud) -> None:
    environment = {
        "HF_TOKEN": "hf_x",
        "HOME": "/root",
        "PUBLIC_KEY": KEY,
        "SSH_CONNECTION": "1",
        "A": "two\nlines",
        "B": "",
    }
    assert cloud.session_variables(environment) == {"B": "", "HF_TOKEN": "hf_x"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(
    not (shutil.which("sshd") or Path("/usr/sbin/sshd").exists()) or os.geteuid() != 0, reason="needs sshd and root"
)
def test_a_real_sshd_lets_the_key_in_and_hands_on_the_environment(cloud, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    state, port = Path(tempfile.mkdtemp(dir="/run")), _free_port()  # sshd wants no folder above it that all may write
    tricky = """it's "quoted" \\ and $HOME #1 %u"""
    environment = {
        "PUBLIC_KEY": (tmp_path / "key.pub").read_text(),
        "SSH_PORT": str(port),
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "HF_TOKEN": tricky,
        "WORKSPACE": "/workspace",
    }
    cloud.start_sshd(environment, state)
    try:
        command = ["ssh", "-p", str(port), "-i", str(tmp_path / "key"), "-F", "none", "-o", "BatchMode=yes"]
        command += ["-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={tmp_path / 'known'}"]
        command += [f"{getpass.getuser()}@127.0.0.1", 'printf "%s|%s|%s" "$HF_TOKEN" "$WORKSPACE" "$PUBLIC_KEY"']
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert done.stdout == f"{tricky}|/workspace|", done.stderr
        nobody = [*command[:4], "/dev/null", *command[5:]]
        assert subprocess.run(nobody, capture_output=True, timeout=20).returncode == 255
        assert (state / "sshd_config").stat().st_mode & 0o077 == 0  # it has secrets
    finally:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if str(state / "sshd_config").encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), 15)
            except OSError:
                continue
        shutil.rmtree(state)


def test_without_a_key_no_sshd_is_started(cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.start_sshd({"HOME": str(tmp_path)}, tmp_path / "state")
    assert "no key to log in with" in capsys.readouterr().err and not (tmp_path / "state").exists()


def test_a_hook_that_fails_is_reported(cloud, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hook = tmp_path / "pre_start.sh"
    cloud.run_hook(hook)
    hook.write_text(f"echo ran > {tmp_path}/ran; exit 3\n")
    cloud.run_hook(hook)
    assert (tmp_path / "ran").read_text() == "ran\n"
    assert capsys.readouterr().err == f"{hook} ended with status 3; the container starts all the same.\n"
