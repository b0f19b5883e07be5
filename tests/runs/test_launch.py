"""From a spec to a worker that outlives whoever started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import control, detached, launch
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.follow import follow
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.remove import remove_run
from mg_tui.runs.state import RunState
from mg_tui.runs.store import summarize_run
from mg_tui.runs.watch import RunWatch


@dataclass(frozen=True)
class Settings:
    home: Path
    notify: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home")


# --- prepare ---------------------------------------------------------------------------------------------------------


def test_paths_become_absolute(tmp_path: Path, settings: Settings) -> None:
    asked = TrainingSpec(
        base_model="models/base",
        dataset="./d.jsonl",
        image_root="../images",
        eval_dataset="~/e.jsonl",
        output_dir="out",
    )
    spec = launch.create_run(asked, settings, cwd=tmp_path).read_spec()
    assert spec.dataset == str(tmp_path / "d.jsonl")
    assert spec.image_root == str(tmp_path.parent / "images")
    assert spec.eval_dataset == str(Path("~/e.jsonl").expanduser())
    assert spec.output_dir == str(tmp_path / "out")
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize(
    ("arrange", "says"),
    [
        (lambda out: out.touch(), "not a folder"),
        (lambda out: (out.mkdir(), (out / "adapter.safetensors").touch()), "not empty"),
        (lambda out: out.symlink_to(out.parent / "nowhere"), "not a folder"),
        (lambda out: out.parent.joinpath("file").touch() or out.symlink_to(out.parent / "file"), "not a folder"),
    ],
)
def test_an_output_folder_that_cannot_be_used(
    tmp_path: Path, settings: Settings, spec: TrainingSpec, arrange: Callable[[Path], object], says: str
) -> None:
    out = tmp_path / "out"
    arrange(out)
    before = sorted(tmp_path.rglob("*"))
    asked = spec.model_copy(update={"output_dir": str(out)})
    for refuse in (lambda: launch.create_run(asked, settings), lambda: launch.check_output_dir(asked)):
        with pytest.raises(UsageError, match=says) as caught:
            refuse()
        assert caught.value.exit_code == 2
        assert "--output-dir" in str(caught.value.hint)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_folder_below_a_file(tmp_path: Path, settings: Settings, spec: TrainingSpec) -> None:
    (tmp_path / "file").touch()
    asked = spec.model_copy(update={"output_dir": str(tmp_path / "file" / "a" / "b")})
    with pytest.raises(UsageError, match="Cannot create the output folder"):
        launch.create_run(asked, settings)
    assert not settings.home.exists()


def test_an_output_folder_that_cannot_be_written(
    tmp_path: Path, settings: Settings, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write anywhere but to a read-only file system, so the refusal is the file system's."""

    def refuse(**_where: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    asked = spec.model_copy(update={"output_dir": str(tmp_path / "new" / "out")})
    with pytest.raises(UsageError, match="not writable") as caught:
        launch.create_run(asked, settings)
    assert caught.value.why == "Read-only file system"
    assert not (tmp_path / "new").exists()
    assert not settings.home.exists()


def test_checking_the_output_makes_nothing(tmp_path: Path, spec: TrainingSpec) -> None:
    launch.check_output_dir(spec.model_copy(update={"output_dir": "a/b/c"}), cwd=tmp_path)
    launch.check_output_dir(spec)
    assert list(tmp_path.iterdir()) == []


def test_no_output_folder_is_left_when_the_run_cannot_be_made(tmp_path: Path, spec: TrainingSpec) -> None:
    (tmp_path / "home").touch()
    asked = spec.model_copy(update={"output_dir": str(tmp_path / "a" / "b")})
    with pytest.raises(EnvironmentProblem):
        launch.create_run(asked, Settings(tmp_path / "home"))
    assert not (tmp_path / "a").exists()


def test_an_output_folder_belongs_to_one_living_run(tmp_path: Path, settings: Settings, spec: TrainingSpec) -> None:
    asked = spec.model_copy(update={"output_dir": str(tmp_path / "out")})
    first = launch.create_run(asked, settings)
    with RunLock(first.lock_file), pytest.raises(UsageError, match="another run") as caught:
        launch.create_run(asked, settings)
    assert first.id in str(caught.value.why)
    assert launch.create_run(asked, settings).id != first.id


def test_the_output_folder_of_a_crashed_run_is_reserved(tmp_path: Path, settings: Settings, spec: TrainingSpec) -> None:
    asked = spec.model_copy(update={"output_dir": str(tmp_path / "out")})
    first = launch.create_run(asked, settings)
    with JournalWriter(first.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
    assert summarize_run(first).state is RunState.CRASHED
    with pytest.raises(UsageError, match="another run") as caught:
        launch.create_run(asked, settings)
    assert first.id in str(caught.value.why) and "runs rm" in str(caught.value.hint)
    with JournalWriter(first.journal_file) as journal:
        journal.write("failed", what="a", exit_code=1)
    launch.create_run(asked, settings)


def test_versions_without_importing() -> None:
    code = (
        "import sys; from mg_tui.runs.launch import package_versions; "
        "print('torch' in package_versions(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


# --- start -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prelude: str) -> Callable[[str], None]:
    """Have `launch.start` run a script in place of the engine."""

    def use(body: str) -> None:
        script = tmp_path / "worker.py"
        script.write_text(prelude + body)
        monkeypatch.setattr(launch, "worker_command", lambda folder: (sys.executable, str(script), str(folder.path)))

    return use


def test_the_engine_is_what_is_started(folder: RunFolder) -> None:
    assert launch.worker_command(folder) == (sys.executable, "-P", "-m", "mg_tui.engine", str(folder.path))


def test_a_worker_runs_to_its_end(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    as_worker("print('hello'); started(); step(1); step(2); journal.write('finished', steps=2, result='/r')")
    launch.start_worker(folder)
    assert launch.wait_until_started(folder, 20) in (RunState.RUNNING, RunState.FINISHED)
    kinds = [event.kind for events in follow(folder, 0.02) for event in events]
    assert kinds == ["created", "started", "step", "step", "finished"]
    assert folder.log_file.read_text() == "hello\n"
    assert summarize_run(folder).state is RunState.FINISHED


def test_a_worker_has_nothing_of_this_terminal(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    as_worker("""
facts = [os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, sys.stdin.read() == "",
         Path.cwd() == folder.path, os.environ.get("HF_HUB_OFFLINE") == "1", len(os.listdir("/proc/self/fd")) < 9]
print(facts, flush=True)
started(); journal.write("finished", steps=0)
""")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        pid = launch.start_worker(folder)
    finally:
        del os.environ["HF_HUB_OFFLINE"]
    for _ in follow(folder, 0.02):
        pass
    assert folder.log_file.read_text() == "[True, True, True, True, True, True]\n"
    assert pid != os.getsid(0)


def test_a_hang_up_does_not_end_it(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    as_worker("started(); time.sleep(0.5); journal.write('finished', steps=0)")
    pid = launch.start_worker(folder)
    launch.wait_until_started(folder, 20)
    os.kill(pid, signal.SIGHUP)
    for _ in follow(folder, 0.02):
        pass
    assert summarize_run(folder).state is RunState.FINISHED


def test_it_outlives_its_starter(folder: RunFolder, tmp_path: Path, prelude: str, until: Callable[..., None]) -> None:
    """The starter is killed with its whole process group and session, as a lost connection does."""
    worker = tmp_path / "worker.py"
    worker.write_text(prelude + "started(); time.sleep(1.0); step(1); journal.write('finished', steps=1)")
    starter = tmp_path / "starter.py"
    starter.write_text(f"""
import sys, time
from pathlib import Path
from mg_tui.runs import launch
from mg_tui.runs.folder import RunFolder
launch.worker_command = lambda folder: (sys.executable, {str(worker)!r}, str(folder.path))
launch.start_worker(RunFolder(Path(sys.argv[1])))
time.sleep(60)
""")
    process = subprocess.Popen([sys.executable, str(starter), str(folder.path)], start_new_session=True)
    until(lambda: b"started" in folder.journal_file.read_bytes())
    os.killpg(process.pid, signal.SIGHUP)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert summarize_run(folder).state is RunState.RUNNING
    until(lambda: summarize_run(folder).state is RunState.FINISHED)


def test_a_killed_worker_is_a_crash_at_once(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    as_worker("started(); step(1); time.sleep(60)")
    pid = launch.start_worker(folder)
    launch.wait_until_started(folder, 20)
    watch = RunWatch(folder)

    def current_state() -> RunState:
        watch.refresh()
        return watch.state

    assert current_state() is RunState.RUNNING
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    while current_state() is not RunState.CRASHED:
        assert time.monotonic() - began < 2.0
    assert [event.kind for events in follow(folder, 0.02) for event in events][-1] in ("started", "step")


def test_a_worker_that_dies_before_its_first_word(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    as_worker("print('ImportError: no such module', flush=True); sys.exit(5)")
    launch.start_worker(folder)
    with pytest.raises(RunFailed, match="did not start") as caught:
        launch.wait_until_started(folder, 20)
    assert "status 5" in str(caught.value.why)
    assert "no such module" in str(caught.value.why)
    with pytest.raises(RunFailed, match="did not start"):
        list(follow(folder, 0.02))
    assert summarize_run(folder).state is RunState.CREATED


def test_a_worker_that_says_nothing(folder: RunFolder) -> None:
    with pytest.raises(RunFailed, match="did not start") as caught:
        launch.wait_until_started(folder, 0.1)
    assert "0.1 seconds" in str(caught.value.why)


def test_a_running_run_is_not_started_again(folder: RunFolder) -> None:
    with RunLock(folder.lock_file), pytest.raises(RunFailed, match="already running"):
        launch.start_worker(folder)


def test_of_two_workers_one_gets_the_run(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    as_worker("started(); time.sleep(4); journal.write('finished', steps=0)")
    first = launch.start_worker(folder)
    with pytest.raises(RunFailed, match="already running") as caught:  # before the first has said a word
        launch.start_worker(folder)
    assert caught.value.exit_code == 1
    for events in follow(folder, 0.05):
        pids = [event.data["pid"] for event in events if event.kind == "started"]
        assert set(pids) <= {first}
    assert summarize_run(folder).state is RunState.FINISHED


def test_old_requests_do_not_stop_a_new_worker(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    control.send_request(folder, "stop", "yesterday")
    as_worker("started(); asked = ControlInbox(folder).take(); journal.write('finished', steps=len(asked))")
    launch.start_worker(folder)
    for _ in follow(folder, 0.02):
        pass
    assert summarize_run(folder).view.step == 0


def test_a_worker_obeys_and_says_so(folder: RunFolder, as_worker: Callable[[str], None]) -> None:
    as_worker("""
started(); inbox = ControlInbox(folder)
while True:
    for asked in inbox.take():
        journal.write("request", request=asked.request, by=asked.by)
        journal.write("stopped", step=3, checkpoint=None, by=asked.by)
        sys.exit()
    time.sleep(0.01)
""")
    launch.start_worker(folder)
    launch.wait_until_started(folder, 20)
    assert control.wait_until_seen(control.send_request(folder, "stop", "me"), 10)
    for _ in follow(folder, 0.02):
        pass
    found = summarize_run(folder)
    assert (found.state, found.view.step, found.view.requests[0]["by"]) == (RunState.STOPPED, 3, "me")


def test_what_cannot_be_started(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(detached, "DetachedProcess", refuse)
    with pytest.raises(EnvironmentProblem, match="Cannot start the training process"):
        launch.start_worker(folder)


def test_following_ends_when_the_folder_is_removed(folder: RunFolder) -> None:
    following = follow(folder, 0.01)
    assert [event.kind for event in next(following)] == ["created"]
    remove_run(folder)
    with pytest.raises(RunFailed, match="no longer exists"):
        next(following)
