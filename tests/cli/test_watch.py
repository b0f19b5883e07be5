"""`model-garden watch`, `runs fetch`, and what of a command line is seen by others."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mg_tui.cli import secret_arguments
from mg_tui.config import load_settings
from mg_tui.core.errors import UsageError
from mg_tui.core.redaction import redact_target, redact_url, scrub, secrets_of
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import launch
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.operations import rerun_spec
from mg_tui.runs.watch_request import WATCH_FILE, read_watch_request
from mg_tui.runs.watcher_process import is_watched
from mg_tui.tui.new.draft import RunDraft
from mg_tui.tui.new.saved_draft import FILE_NAME, save_draft
from tests.watching.conftest import Inbox

PROGRAM = [sys.executable, "-c", "from mg_tui.cli.main import main; main()"]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    spec = TrainingSpec(base_model="tiny", dataset="/data/rows.jsonl", name="mine")
    return RunFolder.create(tmp_path / "home", spec, versions={})


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_watching_in_the_background(folder: RunFolder, inbox: Inbox) -> None:
    """It starts, a second one is refused, its state is shown, and it ends when it is asked to."""
    home = folder.home
    done = run(home, "watch", "last", "--notify", inbox.webhook, "--notify", "ntfy://127.0.0.1:9/topic-of-mine")
    try:
        assert done.returncode == 0, done.stderr
        assert "warning: ntfy://127.0.0.1:9/… cannot be reached" in done.stderr
        assert f"notify http://127.0.0.1:{inbox.port}/…: 0 sent" in done.stdout
        second = run(home, "watch", "last", "--notify", "ntfy://other")
        assert second.returncode == 1 and "is watched already (process" in second.stderr
        assert [message["event"] for message in inbox.messages] == ["test"]
        assert "of-mine" not in done.stdout + done.stderr + second.stderr
        with JournalWriter(folder.journal_file) as journal:
            journal.write("failed", what="oh no")
        deadline = time.monotonic() + 30
        while "failed" not in inbox.events():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shown = run(home, "watch", "last")
        assert "1 sent" in shown.stdout and "waiting" in shown.stdout
    finally:
        ended = run(home, "watch", "last", "--stop")
    assert "no longer watched" in ended.stderr and not is_watched(folder.path)
    assert run(home, "watch", "last", "--stop").returncode == 2


def test_a_dry_run_does_nothing(folder: RunFolder, tmp_path: Path) -> None:
    command = f"touch {tmp_path}/ended"
    arguments = ("--notify", "https://h.example/secret", "--sync", str(tmp_path / "backup"), "--when-done", command)
    done = run(folder.home, "watch", "last", *arguments, "--dry-run")
    assert done.returncode == 0 and "https://h.example/…" in done.stdout and "300 s after that" in done.stdout
    assert f"touch {tmp_path}/ended would be run" in done.stdout
    assert not (folder.path / WATCH_FILE).exists() and not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("last",), "nothing to watch for"),
        ((), "Name one run"),
        (("last", "--notify", "phon"), "neither a URL nor a name"),
        (("last", "--notify", "nosuch://x"), "does not know"),
        (("last", "--notify", "ntfy://h.example/a/b"), "needs one topic"),
        (("last", "--sync", "nosuch://x"), "no known kind"),
        (("last", "--when-done", "stop"), "needs a machine"),
        (("last", "--cancel"), "Nothing happens when"),
    ],
)
def test_bad_input(folder: RunFolder, arguments: tuple[str, ...], words: str) -> None:
    done = run(folder.home, "watch", *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_a_command_line_has_no_secrets(folder: RunFolder, inbox: Inbox) -> None:
    arguments = ["--home", str(folder.home), "watch", "last", f"--notify={inbox.webhook}", "--foreground"]
    with subprocess.Popen([*PROGRAM, *arguments], stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 30
            while not inbox.messages:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            seen = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert b"--notify=secret:0" in seen and b"of-mine" not in seen
        finally:
            process.kill()


def test_which_arguments_are_secrets() -> None:
    found: list[str] = []
    given = [
        "x",
        "--notify",
        "ntfy://t",
        "--notify",
        "phone",
        "--sync=s3://k:p@b",
        "--when-done",
        "stop",
        "--name",
        "a b",
    ]
    hidden = secret_arguments._without_secrets(given, found)
    assert hidden == [*given[:2], "secret:0", *given[3:5], "--sync=secret:1", *given[6:]]
    assert found == ["ntfy://t", "s3://k:p@b"]
    assert [secret_arguments._reveal(argument, found) for argument in hidden] == given


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.slack.com/services/T/B/x", "https://hooks.slack.com/…"),
        ("ntfy://my-topic", "ntfy://…"),
        ("ntfys://user:pass@ntfy.example:8080/topic", "ntfys://ntfy.example:8080/…"),
        ("tgram://123:abc/456", "tgram://…"),
        ("nonsense", "…"),
    ],
)
def test_what_is_shown_of_an_address(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert scrub(f"cannot reach {url}", secrets_of(url)) in ("cannot reach …", f"cannot reach {url}")


def test_what_is_shown_of_a_destination() -> None:
    assert redact_target("s3://key:secret@bucket/path?x=secret#y") == "s3://bucket/path"
    assert redact_target("me@host:/path") == "me@host:/path" and redact_target("/mnt/disk") == "/mnt/disk"


def test_secrets_are_in_one_file_and_another_run_has_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_GARDEN_NOTIFY_PHONE", "ntfy://topic-of-mine")
    settings = load_settings(home=tmp_path / "home", cwd=tmp_path)
    hook = "https://h.example/token-of-mine"
    options = {"notify": ("phone", hook), "sync": "backup", "when_done": "curl of-mine", "when_done_grace": 7}
    spec = TrainingSpec(base_model="tiny", dataset="/data/rows.jsonl", **options)  # type: ignore[arg-type]
    folder = launch.create_run(spec, settings, cwd=tmp_path)
    request = read_watch_request(folder.path)
    assert request is not None and request.grace == 7
    assert dict(request.notify) == {"phone": "ntfy://topic-of-mine", "https://h.example/…": hook}
    assert request.sync == str(tmp_path / "backup")
    for file in folder.path.rglob("*"):
        if file.is_file() and file.name != WATCH_FILE:
            assert b"of-mine" not in file.read_bytes(), file
    values = json.loads(folder.spec_file.read_text())
    assert values["notify"] == ["phone", "https://h.example/…"] and values["when_done"] == "command"
    again = rerun_spec(folder, {}, cwd=tmp_path).spec
    assert again.notify == ("phone", hook) and again.when_done == "curl of-mine"
    assert "of-mine" not in repr(settings) and "of-mine" not in repr(request)
    draft = RunDraft({}, cwd=tmp_path)
    draft.set_all({"notify": (hook,), "when_done": "curl of-mine", "dataset": "x.jsonl"})
    save_draft(tmp_path, draft)
    assert "of-mine" not in (tmp_path / FILE_NAME).read_text() and "x.jsonl" in (tmp_path / FILE_NAME).read_text()


def test_names_are_urls_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "garden.toml"))
    (tmp_path / "garden.toml").write_text('[notify]\nphone = "ntfy://topic"\n')
    assert load_settings(cwd=tmp_path / "x").notify == {"phone": "ntfy://topic"}
    (tmp_path / "garden.toml").write_text('[notify]\nphone = "topic-of-mine"\n')
    with pytest.raises(UsageError, match=r"\[notify\] phone: expected a URL") as error:
        load_settings(cwd=tmp_path / "x")
    assert "of-mine" not in str(error.value)


def test_fetch_says_how_to_resume(folder: RunFolder, tmp_path: Path) -> None:
    from mg_tui.watching.syncing import Syncer
    from mg_tui.watching.watch_state import WatchState

    syncer = Syncer(folder, str(tmp_path / "backup"), WatchState(folder.path))
    syncer.copy_new()
    done = run(tmp_path / "other", "runs", "fetch", str(tmp_path / "backup"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == folder.id and f"runs resume {folder.id}" in done.stderr
    missing = run(tmp_path / "other", "runs", "fetch", str(tmp_path / "nothing"))
    assert (
        missing.returncode == 2
        and "no copy of a run" in missing.stderr
        and len(list((tmp_path / "other/runs").iterdir())) == 1
    )
