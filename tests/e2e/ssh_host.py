"""A machine one logs in to: a real sshd of its own, on loopback or at the end of a virtual cable."""

import json
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
PROGRAM = Path(sys.executable).with_name("model-garden")


class SshHost:
    """A machine one logs in to: `address` is where, `through` what a client's command begins with."""

    def __init__(self, base: Path, *, address: str = "127.0.0.1", through: tuple[str, ...] = ()):
        self.base = base
        self.address = address
        self.through = through
        with socket.socket() as free:
            free.bind((address, 0))
            self.port = free.getsockname()[1]
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(base / name)], check=True)
        (base / "authorized").write_text((base / "user.pub").read_text())
        (base / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress {address}\nHostKey {base / 'host'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {base / 'authorized'}\nPermitRootLogin prohibit-password\nStrictModes no\n"
            "PasswordAuthentication no\nClientAliveInterval 1\nClientAliveCountMax 2\n"
        )
        self.log = base / "sshd.log"
        self._daemon = subprocess.Popen([SSHD, "-D", "-f", str(base / "sshd_config"), "-E", str(self.log)])

    def command(self, words: str, *, terminal: bool, rows: int = 30, columns: int = 100) -> list[str]:
        """What runs `model-garden` with these words there, in a terminal of that size."""
        environ = {
            "MODEL_GARDEN_HOME": str(self.base / "garden"),
            "MODEL_GARDEN_CONFIG": str(self.base / "none.toml"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TERM": "xterm-256color",
        }
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environ.items())
        size = f"stty rows {rows} cols {columns}; " if terminal else ""
        user = pwd.getpwuid(os.geteuid()).pw_name
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "IdentitiesOnly=yes", "LogLevel=ERROR"]
        return [
            *self.through,
            "ssh",
            *(["-tt"] if terminal else []),
            *[word for option in options for word in ("-o", option)],
            "-F",
            "none",
            "-i",
            str(self.base / "user"),
            "-p",
            str(self.port),
            f"{user}@{self.address}",
            f"{size}cd {shlex.quote(str(self.base))} && env {settings} {shlex.quote(str(PROGRAM))} {words}",
        ]

    def login(self, words: str, *, terminal: bool = True) -> "subprocess.Popen[bytes]":
        """A client that runs a command there and stays."""
        with (self.base / "client.log").open("ab") as log:
            return subprocess.Popen(
                self.command(words, terminal=terminal), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )

    def ask(self, words: str) -> Any:
        """What a new login gets as JSON."""
        done = subprocess.run(self.command(words, terminal=False), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr + self.log.read_text()
        return json.loads(done.stdout)

    def close(self) -> None:
        """End the daemon."""
        self._daemon.terminate()
        self._daemon.wait()


def cable(name: str, here: str, there: str) -> list[str]:
    """Commands that make the network namespace `name`, with a cable to it: the addresses are its ends."""
    return [
        f"ip netns add {name}",
        f"ip link add {name}a type veth peer name {name}b",
        f"ip link set {name}b netns {name}",
        f"ip addr add {here}/30 dev {name}a",
        f"ip link set {name}a up",
        f"ip netns exec {name} ip addr add {there}/30 dev {name}b",
        f"ip netns exec {name} ip link set {name}b up",
    ]


def remove_cable(name: str) -> None:
    """Remove what `cable` made."""
    for command in (f"ip link del {name}a", f"ip netns del {name}"):
        subprocess.run(command.split(), capture_output=True)
