"""Uploads: how much room they have, and what killed servers leave of them."""

import fcntl
import io
import os
import shutil
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from mg_tui.api.app import create_gate
from mg_tui.api.errors import ApiError
from mg_tui.api.garden import Garden
from mg_tui.api.paths import AllowedPaths
from mg_tui.api.start import make_server
from mg_tui.api.uploads import UploadStore
from mg_tui.config import Settings
from mg_tui.gate import Listener
from tests.api.conftest import UNLIMITED


def _save(store: UploadStore, size: int, room: float = 1000.0) -> str:
    return store.save(io.BytesIO(b"x" * size), "a.jsonl", max_bytes=500, room=room).id


def test_files_have_a_room_together_and_one_that_is_deleted_gives_it_back(work, tmp_path) -> None:
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache", server={"uploads_gib": 2000 / 2**30})
    garden = Garden(settings, AllowedPaths([work], work, settings.home))
    gate = create_gate(garden, Listener(), limits=UNLIMITED, same_user=lambda _client, _server: True)
    with TestClient(gate, base_url="http://localhost:8000") as client:

        def upload(size: int):
            return client.post("/v1/files", files={"file": ("a.jsonl", b"x" * size)}, data={"purpose": "fine-tune"})

        first = upload(1200)
        assert first.status_code == 200, first.text
        refused = upload(1200)
        assert refused.status_code == 413 and refused.json()["error"]["code"] == "uploads-full", refused.text
        told = refused.json()["error"]["message"]
        assert "1,200 bytes" in told and "[server] uploads_gib" in told and "DELETE v1/files/ID" in told
        assert len(client.get("/v1/files").json()["data"]) == 1
        assert upload(300).status_code == 200
        assert client.delete(f"/v1/files/{first.json()['id']}").status_code == 200
        assert upload(1200).status_code == 200
        assert not [path for path in (settings.home / "uploads").iterdir() if path.name.startswith((".new", ".rem"))]


def test_a_file_that_is_being_received_counts_and_is_no_leftover(tmp_path) -> None:
    store = UploadStore(tmp_path)

    class Slow(io.BytesIO):
        """Somebody else uploads, and a server starts, before the first byte is written."""

        asked = False

        def read(self, size: int | None = -1) -> bytes:
            if not self.asked:
                self.asked = True
                with pytest.raises(ApiError, match="no room"):
                    _save(UploadStore(tmp_path), 60, room=100.0)
                UploadStore(tmp_path).remove_leftovers()
            return super().read(size)

    saved = store.save(Slow(b"y" * 60), "a.jsonl", max_bytes=500, room=100.0)
    assert store.path(saved).read_bytes() == b"y" * 60


def test_what_a_killed_server_left_is_gone_at_the_next_start(settings, work, monkeypatch) -> None:
    store = UploadStore(settings.home)
    kept = _save(store, 10)
    uploads, runs = settings.home / "uploads", settings.home / "runs"
    for left in (uploads / ".new-file-0", uploads / ".removed-file-1", uploads / ".new-file-2", runs / ".new-old"):
        left.mkdir(parents=True)
        (left / "data.jsonl").write_bytes(b"x" * 50)
    (runs / ".new-young").mkdir()
    then = time.time() - 300
    os.utime(runs / ".new-old", (then, then))
    with (uploads / ".new-file-2" / "data.jsonl").open("rb") as received:  # by another server of this home
        fcntl.flock(received, fcntl.LOCK_EX)
        make_server(settings, Listener(), own_tokens=True)  # otherwise it changes the environment
    assert {path.name for path in uploads.iterdir()} == {".lock", ".new-file-2", kept}
    assert [path.name for path in runs.iterdir()] == [".new-young"]


def test_a_disk_that_is_nearly_full_takes_no_more(tmp_path, monkeypatch) -> None:
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: real._replace(free=(1 << 30) + 50))
    assert _save(UploadStore(tmp_path), 50)
    with pytest.raises(ApiError, match="to spare") as refused:
        _save(UploadStore(tmp_path), 51)
    assert refused.value.status == 413
    assert len([path for path in Path(tmp_path / "uploads").iterdir() if path.is_dir()]) == 1
