"""Requests: whole when they appear, seen once, oldest first."""

import json
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.runs.control import ControlInbox, requester, send_request, wait_until_seen
from mg_tui.runs.folder import RunFolder


def test_requests_are_taken_once_in_order(folder: RunFolder) -> None:
    paths = [
        send_request(folder, "checkpoint", "a"),
        send_request(folder, "stop", "b"),
        send_request(folder, "stop_now", "c"),
    ]
    inbox = ControlInbox(folder)
    assert [(r.request, r.by) for r in inbox.take()] == [("checkpoint", "a"), ("stop", "b"), ("stop_now", "c")]
    assert inbox.take() == []
    assert all(wait_until_seen(path, 0) for path in paths)


def test_a_request_nobody_sees(folder: RunFolder) -> None:
    assert not wait_until_seen(send_request(folder, "stop", "me"), 0.1)


def test_an_unknown_request_is_not_sent(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="unknown request"):
        send_request(folder, "explode", "me")  # type: ignore[arg-type]
    assert list(folder.control_dir.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"request":"explode"}', '{"by":"me"}', '{"request":[]}'])
def test_what_is_no_request_is_put_aside_once(folder: RunFolder, text: str) -> None:
    (folder.control_dir / "1.json").write_text(text)
    send_request(folder, "stop", "me")
    inbox = ControlInbox(folder)
    assert [r.request for r in inbox.take()] == ["stop"]
    assert inbox.take() == []
    assert inbox.ignored == 1
    assert (folder.control_dir / "1.json.ignored").exists()


def test_a_request_being_written_is_not_seen(folder: RunFolder) -> None:
    (folder.control_dir / ".1-stop.json.ab12").write_text('{"request"')
    assert ControlInbox(folder).take() == []


def test_without_a_control_folder(tmp_path: Path) -> None:
    assert ControlInbox(RunFolder(tmp_path)).take() == []
    path = send_request(RunFolder(tmp_path), "stop", "me")
    assert json.loads(path.read_text())["by"] == "me"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(EnvironmentProblem, match="Cannot write the request"):
        send_request(RunFolder(tmp_path / "run"), "stop", "me")


def test_who_asks() -> None:
    assert requester("cli").endswith(" (cli)")
    assert "@" in requester("cli")
