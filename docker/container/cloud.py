#!/opt/garden/bin/python -IS
"""Process 1 of the `cloud` image: what templates of rented GPUs expect, then the command or a wait for the end.

- `PUBLIC_KEY` or `SSH_KEY`: keys that may log in, one a line. With one, sshd listens on port 22 (`SSH_PORT`), for keys
  only; its host keys are generated now. Without one nothing listens.
- Sessions get this process's environment, which sshd does not hand on by itself.
- `WORKSPACE` names the persistent folder, /workspace if it is not set. Everything is kept in `garden` in it.
- /pre_start.sh runs before sshd starts, /post_start.sh after.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))  # -I leaves it out

import init

DEFAULT_WORKSPACE = "/workspace"
KEY_VARIABLES = ("PUBLIC_KEY", "SSH_KEY")
STATE = Path("/run/garden")  # host keys, the keys of users, sshd's configuration
KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519@", "sk-ecdsa-sha2-")
# Variables that a session has of its own, and those that only this process needs.
NOT_HANDED_ON = {"HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "SHLVL", "TERM", "MAIL", "_", "HOSTNAME", "TMUX"}
IDLE = ["sleep", "infinity"]


def move_to_workspace(environment: dict[str, str]) -> None:
    """Give every variable below /workspace the folder that WORKSPACE names."""
    workspace = environment.setdefault("WORKSPACE", DEFAULT_WORKSPACE).rstrip("/") or DEFAULT_WORKSPACE
    for name, value in environment.items():
        if value.startswith(f"{DEFAULT_WORKSPACE}/") and name != "WORKSPACE":
            environment[name] = workspace + value.removeprefix(DEFAULT_WORKSPACE)


def list_keys(environment: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Lines for authorized_keys, and what is wrong with the others; never a part of a key that may be secret."""
    keys, problems = [], []
    for variable in KEY_VARIABLES:
        text = environment.get(variable, "").replace("\\n", "\n")
        if "PRIVATE KEY" in text:
            problems.append(f"{variable} has a private key and is not used: give the public one (the file *.pub).")
            continue
        for line in filter(None, (line.strip() for line in text.splitlines())):
            words = line.split()
            if len(words) > 1 and words[0].startswith(KEY_TYPES):
                keys.append(line)
            elif not line.startswith("#"):
                problems.append(
                    f"A line of {variable} is not a public key (`ssh-ed25519 AAAA... name`) and is not used."
                )
    return list(dict.fromkeys(keys)), problems


def quote(text: str) -> str:
    """A value for sshd_config, where a backslash escapes quotes and itself."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def session_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What sessions get: everything but a session's own variables, the login keys, and values of several lines."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name not in NOT_HANDED_ON
        and name not in KEY_VARIABLES
        and not name.startswith(("SSH_", "BASH_FUNC_"))
        and name.isidentifier()
        and "\n" not in value
    }


def sshd_config(environment: Mapping[str, str], port: int, state: Path = STATE) -> str:
    """The configuration of sshd: keys only, nothing from the base image's own configuration."""
    variables = " ".join(quote(f"{name}={value}") for name, value in session_variables(environment).items())
    return f"""Port {port}
HostKey {state}/ssh_host_ed25519_key
HostKey {state}/ssh_host_rsa_key
PidFile none
AuthorizedKeysFile {state}/authorized_keys .ssh/authorized_keys
PermitRootLogin prohibit-password
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitEmptyPasswords no
UsePAM no
PrintMotd no
X11Forwarding no
ClientAliveInterval 30
ClientAliveCountMax 4
AcceptEnv LANG LC_* COLORTERM NO_COLOR
Subsystem sftp internal-sftp
SetEnv {variables}
"""


def _private_file(path: Path, text: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _start(command: list[str]) -> int:
    """Run a program to its end with no signal blocked; its exit status, 127 if it cannot be started."""
    try:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),
        ).returncode
    except OSError as error:
        init.log(f"{command[0]}: {error.strerror}")
        return 127


def start_sshd(environment: Mapping[str, str], state: Path = STATE) -> None:
    """Start sshd if there is a key to log in with; say why not otherwise."""
    keys, problems = list_keys(environment)
    for problem in problems:
        init.log(problem)
    own = Path(environment.get("HOME", "/root"), ".ssh/authorized_keys")
    if not keys and not own.exists():
        init.log("There is no key to log in with, so sshd is not started: set PUBLIC_KEY, or use `docker exec`.")
        return
    port = environment.get("SSH_PORT", "22")
    if not port.isdigit() or not 0 < int(port) < 65536:
        init.log(f"SSH_PORT is {port!r} and not a port from 1 to 65535; 22 is used.")
        port = "22"
    try:
        state.mkdir(mode=0o755, parents=True, exist_ok=True)
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for kind in ("ed25519", "rsa"):
            if not (state / f"ssh_host_{kind}_key").exists():
                _start(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(state / f"ssh_host_{kind}_key")])
        _private_file(state / "authorized_keys", "".join(f"{key}\n" for key in keys))
        _private_file(state / "sshd_config", sshd_config(environment, int(port), state))
    except OSError as error:
        init.log(f"sshd is not started: {state} cannot be written ({error.strerror}); give it `--tmpfs /run`.")
        return
    if _start(["/usr/sbin/sshd", "-e", "-f", str(state / "sshd_config")]) == 0:
        init.log(f"sshd listens on port {port} for {len(keys)} key{'' if len(keys) == 1 else 's'}.")
    else:
        init.log("sshd could not be started; its message is above.")


def run_hook(path: Path) -> None:
    """Run a hook of the template if it is there; a failure is reported and stops nothing."""
    if path.exists() and (status := _start(["bash", str(path)])):
        init.log(f"{path} ended with status {status}; the container starts all the same.")


def main() -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, init.HANDLED_SIGNALS)
    if os.getpid() != 1:
        init.become_subreaper()
    environment = dict(os.environ)
    move_to_workspace(environment)
    os.environ.update(environment)
    with contextlib.suppress(OSError):
        Path(environment["MODEL_GARDEN_HOME"]).mkdir(parents=True, exist_ok=True)
    run_hook(Path("/pre_start.sh"))
    start_sshd(os.environ)
    run_hook(Path("/post_start.sh"))
    sys.exit(init.run(sys.argv[1:] or IDLE))


if __name__ == "__main__":
    main()
