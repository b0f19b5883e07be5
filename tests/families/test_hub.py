"""A hub that is not there, one that never answers, one that is; and its errors in our words."""

import errno
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.families import hub


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    hub._ping.cache_clear()
    yield
    hub._ping.cache_clear()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def test_any_answer_is_a_sign_of_life(server: ThreadingHTTPServer) -> None:
    assert hub.is_reachable()


def test_the_environment_can_forbid_it(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub.is_reachable()


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(EnvironmentProblem, match=r"http://127.0.0.1:9 cannot be reached") as caught:
        hub.fetch_config("Owner/Model")
    assert time.monotonic() - start < 5
    assert caught.value.exit_code == 3
    assert "local folder or `tiny`" in (caught.value.hint or "")


def test_one_that_takes_the_call_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        assert not hub.is_reachable()
        assert time.monotonic() - start < 3
        start = time.monotonic()
        assert not hub.is_reachable()  # asked once only
        assert time.monotonic() - start < 0.1


def test_a_folder_never_asks_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: pytest.fail("asked"))
    options = {"local_files_only": True, "trust_remote_code": False}
    assert hub.resolve_source(str(tmp_path), {"revision": "v2", "trust_remote_code": False}) == (str(tmp_path), options)


def test_a_reachable_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    assert hub.resolve_source("Owner/Model", {"revision": "v2", "token": None}) == ("Owner/Model", {"revision": "v2"})


def test_without_a_hub_the_cache_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    snapshot = tmp_path / "hub" / "models--Owner--Model" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "hub" / "models--Owner--Model" / "refs").mkdir()
    (tmp_path / "hub" / "models--Owner--Model" / "refs" / "main").write_text("0123abc")
    assert hub.resolve_source("Owner/Model", {}) == (str(snapshot), {"local_files_only": True})
    with pytest.raises(EnvironmentProblem, match="cannot be reached"):
        hub.resolve_source("Owner/Model", {"revision": "v2"})


def make_error(kind: str, text: str = "") -> Exception:
    return type(kind, (OSError,), {})(text)


def test_errors_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    gated = hub.to_garden_error(make_error("GatedRepoError"), "Owner/Model")
    assert isinstance(gated, EnvironmentProblem)
    assert "hf auth login" in (gated.hint or "")

    absent = hub.to_garden_error(
        make_error("RepositoryNotFoundError"), "Qwen/Qwen2.5-VL-3B", known=["Qwen/Qwen2.5-VL-3B-Instruct"]
    )
    assert isinstance(absent, UsageError)
    assert "did you mean Qwen/Qwen2.5-VL-3B-Instruct?" in (absent.hint or "")

    assert "revision not found" in hub.to_garden_error(make_error("RevisionNotFoundError"), "Owner/Model").what
    assert isinstance(hub.to_garden_error(make_error("LocalEntryNotFoundError"), "Owner/Model"), EnvironmentProblem)
    assert isinstance(hub.to_garden_error(OSError(errno.ENOSPC, "full"), "Owner/Model"), EnvironmentProblem)
    assert hub.to_garden_error(ValueError("first\nsecond"), "x").why == "ValueError: first"
    ours = UsageError("ours")
    assert hub.to_garden_error(ours, "x") is ours


def test_what_is_missing_from_the_cache_without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    error = hub.to_garden_error(OSError("Error no file named model.safetensors found"), "Owner/Model")
    assert isinstance(error, EnvironmentProblem)
    assert "only partially available locally" in error.what


def test_the_cause_counts_not_what_it_was_wrapped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    try:
        try:
            raise make_error("GatedRepoError")
        except OSError as error:
            raise OSError("You are trying to access a gated repo.") from error
    except OSError as error:
        assert "is gated" in hub.to_garden_error(error, "Owner/Model").what


def test_a_config_is_fetched_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "m"}))
    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_args, **_options: str(file))
    assert hub.fetch_config("Owner/Model") == {"model_type": "m"}
    file.write_text("[]")
    with pytest.raises(UsageError, match="not a JSON object"):
        hub.fetch_config("Owner/Model")
