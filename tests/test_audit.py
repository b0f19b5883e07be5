"""`scripts/audit.py`: planted secrets are found, and vulnerabilities that a stand-in for the service reports."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mg_tui.gate.tokens import TOKEN_PREFIX, TokenStore
from tests.api.conftest import free_port

ROOT = Path(__file__).resolve().parent.parent
VULNERABLE = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "Reads what it should not.",
    "affected": [
        {
            "package": {"name": "frail", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.0"}]}],
        }
    ],
}


def _audit(*arguments: str | Path) -> tuple[int, str]:
    command = [sys.executable, ROOT / "scripts" / "audit.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


def _git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit that has no secret."""
    folder = tmp_path / "repository"
    folder.mkdir()
    _git(folder, "init", "-q")
    (folder / "a.py").write_text(f'EXAMPLE = "{TOKEN_PREFIX}..."\n')
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "first")
    return folder


def _key_file() -> str:
    """A private key as ssh-keygen writes it; the bytes in it are none."""
    body = base64.encodebytes(b"openssh-key-v1\0" + bytes(range(256))).decode()
    return "".join(("-----BEGIN OPENSSH ", f"PRIVATE KEY-----\n{body}-----END OPENSSH ", "PRIVATE KEY-----\n"))


def test_secrets_of_the_newest_commit_and_of_what_is_staged(repository: Path) -> None:
    assert _audit("secrets", repository) == (0, "audit of secrets: nothing found\n")
    token = TokenStore(repository.parent / "home").create("laptop", "run")
    (repository / "b.py").write_text(f'\nTOKEN = "{token}"\n')
    (repository / "id_ed25519").write_text(_key_file())
    _git(repository, "add", "-A")
    code, staged = _audit("secrets", "--staged", repository)
    assert code == 1 and "b.py:2: Token of a garden" in staged and "id_ed25519:1: " in staged, staged
    assert str(token) not in staged
    assert _audit("secrets", repository)[0] == 0  # it is in no commit yet
    _git(repository, "commit", "-qm", "second")
    code, found = _audit("secrets", repository)
    assert code == 1 and "b.py:2: " in found and "id_ed25519:1: " in found and str(token) not in found


def test_a_marked_line_is_no_secret(repository: Path) -> None:
    token = TokenStore(repository.parent / "home").create("laptop", "run")
    (repository / "b.py").write_text(f'TOKEN = "{token}"  # kingfisher:ignore\n')
    _git(repository, "add", "-A")
    _git(repository, "commit", "-qm", "second")
    assert _audit("secrets", repository)[0] == 0


def test_a_scan_that_fails_is_no_pass(tmp_path: Path) -> None:
    code, said = _audit("secrets", tmp_path / "nowhere")
    assert code == 2 and "nowhere" in said


class _Service(BaseHTTPRequestHandler):
    """An OSV service and a package index: one package, whose state the server's attributes say."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        found = {"vulns": [{"id": VULNERABLE["id"], "modified": VULNERABLE["modified"]}]}
        bad = self.server.state == "vulnerable"  # type: ignore[attr-defined]
        self._answer({"results": [found if bad and query["package"]["name"] == "frail" else {} for query in queries]})

    def do_GET(self) -> None:
        if self.path.startswith("/v1/vulns/"):
            return self._answer(VULNERABLE)
        quarantined = self.server.state == "quarantined"  # type: ignore[attr-defined]
        status = {"status": "quarantined" if quarantined else "archived"}
        index = {"meta": {"api-version": "1.4"}, "name": "frail", "project-status": status, "files": [], "versions": []}
        return self._answer(index, "application/vnd.pypi.simple.v1+json")

    def _answer(self, value: object, kind: str = "application/json") -> None:
        broken = self.server.state == "broken"  # type: ignore[attr-defined]
        body = json.dumps(value).encode()
        self.send_response(500 if broken else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _project(folder: Path, index: str) -> Path:
    """A project whose only dependency is `frail`."""
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "project"\nversion = "0"\nrequires-python = ">=3.11"\ndependencies = ["frail"]\n'
    )
    (folder / "uv.lock").write_text(
        'version = 1\nrequires-python = ">=3.11"\n\n[[package]]\nname = "frail"\nversion = "1.0"\n'
        f'source = {{ registry = "{index}/simple" }}\n\n[[package]]\nname = "project"\nversion = "0"\n'
        'source = { virtual = "." }\ndependencies = [{ name = "frail" }]\n'
    )
    return folder


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("vulnerable", 1, "frail 1.0: GHSA-aaaa-bbbb-cccc Reads what it should not. (fixed in 2.0)\n"),
        ("quarantined", 1, "frail: in quarantine\n"),
        ("sound", 0, "audit of dependencies: nothing found\n"),
        ("broken", 0, "warning: dependencies were not audited: the vulnerability service cannot be reached: "),
    ],
)
def test_what_the_service_says(tmp_path: Path, service: ThreadingHTTPServer, state: str, code: int, said: str) -> None:
    service.state = state  # type: ignore[attr-defined]
    address = f"http://127.0.0.1:{service.server_address[1]}"
    result = _audit("dependencies", _project(tmp_path, address), "--service", f"{address}/")
    assert result[0] == code and result[1].startswith(said), result


def test_no_service_is_a_warning_and_no_lock_is_a_failure(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    code, said = _audit("dependencies", _project(tmp_path, nobody), "--service", f"{nobody}/")
    assert code == 0 and said.startswith("warning: dependencies were not audited") and nobody in said
    (tmp_path / "uv.lock").unlink()
    code, said = _audit("dependencies", tmp_path, "--service", f"{nobody}/")
    assert code == 2 and "uv.lock" in said, said
