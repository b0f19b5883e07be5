"""One run watched: what is said of it, once and in order, whatever happens to server, worker or watcher."""

import contextlib
import hashlib
import hmac
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mg_tui.hardware.types import Gpu, GpuProcess
from mg_tui.runs import watch_request
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.watch_request import WatchRequest
from mg_tui.runs.watcher_process import describe_watching, is_watched
from mg_tui.watching import health
from mg_tui.watching.run_watcher import RunWatcher
from tests.watching.conftest import Inbox, StartWorker, Until


def watch(folder: RunFolder, *urls: str, **options: object) -> RunWatcher:
    request = WatchRequest({f"channel{n}": url for n, url in enumerate(urls)})
    watcher = RunWatcher(folder, request, prices={"per_hour": 2.0, "currency": "EUR"}, retry_pause=0.05, **options)  # type: ignore[arg-type]
    watcher.start()
    return watcher


def tick_until(watcher: RunWatcher, until: Until, condition: Callable[[], object]) -> None:
    def ticked() -> object:
        watcher.tick()
        return condition()

    until(ticked)


def test_a_run_from_start_to_result(folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until) -> None:
    watcher = watch(folder, inbox.webhook)
    body = """
started()
journal.write("plan", steps=4)
step(1)
journal.write("eval", step=1, loss=2.0, seconds=0.1, examples=3)
checkpoint(1, eval_loss=2.0, best=True)
step(2)
journal.write("eval", step=2, loss=1.5, seconds=0.1, examples=3)
checkpoint(2, eval_loss=1.5, best=True)
step(4)
result()
"""
    worker(folder, body)
    tick_until(watcher, until, lambda: watcher.is_done)
    watcher.stop()
    assert inbox.events() == ["started", "first_evaluation", "best", "finished"]
    last = inbox.messages[-1]
    assert last["title"] == "mine finished" and last["facts"]["step"] == 4 and last["facts"]["total_steps"] == 4
    assert last["facts"]["cost"] is not None and "EUR" in last["text"] and not last["bad"]
    assert "best so far: loss 1.5 at step 2" in inbox.messages[3]["text"]
    for body_bytes, headers in zip(inbox.bodies, inbox.headers, strict=True):
        signature = hmac.new(b"key-of-mine", body_bytes, hashlib.sha256).hexdigest()
        assert headers["X-Model-Garden-Signature"] == f"sha256={signature}"
    assert len({headers["X-Model-Garden-Delivery"] for headers in inbox.headers}) == len(inbox.headers)


def test_a_server_that_is_away_gets_everything_once_it_is_back(
    folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until
) -> None:
    watcher = watch(folder, inbox.ntfy, inbox.webhook)
    assert [message.get("topic") for message in inbox.messages] == ["topic-of-mine", None]
    inbox.messages.clear()
    inbox.stop()
    worker(folder, "started()\nstep(1)\njournal.write('failed', what='no room', why='the disk is full', exit_code=3)\n")
    tick_until(watcher, until, lambda: watcher.state.channels["channel0"].get("problem"))
    assert watcher.messages_waiting == 4 and not watcher.is_done
    assert "topic-of-mine" not in str(watcher.state.channels)
    inbox.status = 503
    inbox.start()
    time.sleep(0.2)
    inbox.status = 200
    tick_until(watcher, until, lambda: watcher.is_done)
    watcher.stop()
    for event in ("started", "failed"):
        assert inbox.events().count(event) == 2, "once for each channel"
    ntfy = [message for message in inbox.messages if "topic" in message]
    assert [message["priority"] for message in ntfy] == [3, 4] and "the disk is full" in ntfy[1]["message"]


def test_a_watcher_that_is_killed_continues_where_it_was(
    folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until
) -> None:
    """What happened between two watchers is said, and nothing twice."""
    first = watch(folder, inbox.webhook)
    process = worker(folder, "started()\nstep(1)\nsys.stdin.read() if False else time.sleep(1000)\n")
    tick_until(first, until, lambda: inbox.events() == ["started"])
    until(lambda: first.messages_waiting == 0)
    first.stop()
    process.kill()
    process.wait()
    second = watch(folder, inbox.webhook)
    tick_until(second, until, lambda: second.is_done)
    second.stop()
    third = watch(folder, inbox.webhook)
    tick_until(third, until, lambda: third.is_done)
    third.stop()
    assert inbox.events() == ["started", "crashed"]
    assert [message["event"] for message in inbox.messages].count("test") == 1
    assert "runs resume" in inbox.messages[-1]["text"] and inbox.messages[-1]["bad"]


def test_a_state_that_was_written_before_the_message_arrived_delivers_it(
    folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until
) -> None:
    inbox.stop()
    first = watch(folder, inbox.webhook)
    worker(folder, "started()\nstep(1)\njournal.write('stopped', step=1, checkpoint=None, by='me')\n").wait()
    tick_until(first, until, lambda: first.messages_waiting == 2)
    first.stop()
    inbox.start()
    second = watch(folder, inbox.webhook)
    tick_until(second, until, lambda: second.is_done)
    second.stop()
    assert inbox.events() == ["started", "stopped"]


def test_a_wrong_address_is_given_up_only_after_hours(folder: RunFolder, inbox: Inbox, until: Until) -> None:
    now = [1_000_000.0]
    inbox.status = 404
    watcher = watch(folder, inbox.webhook, clock=lambda: now[0])
    assert "404" in str(watcher.state.channels["channel0"]["problem"])
    with JournalWriter(folder.journal_file) as journal:
        journal.write("failed", what="x")
    watcher.tick()
    until(lambda: watcher.state.channels["channel0"].get("problem"))
    assert watcher.messages_waiting == 1
    now[0] = time.time() + 3 * 3600
    until(lambda: watcher.messages_waiting == 0)
    watcher.stop()
    assert inbox.messages == []


def test_nan_and_stalls_have_names_of_their_own(folder: RunFolder, inbox: Inbox, until: Until) -> None:
    watcher = watch(folder, inbox.webhook)
    with JournalWriter(folder.journal_file) as journal:
        journal.write("eval", step=1, loss=float("nan"), seconds=1.0, examples=2)
        journal.write("warning", what="no step has been done for 300 seconds", stack="...")
        journal.write("warning", what="something small")
        journal.write("failed", what="the loss became nan at step 2", cause="not finite", step=2)
    tick_until(watcher, until, lambda: watcher.is_done)
    watcher.stop()
    assert inbox.events() == ["nan", "stalled", "nan"]


def test_a_watch_that_begins_later_says_only_what_is_new(folder: RunFolder, inbox: Inbox, until: Until) -> None:
    with JournalWriter(folder.journal_file) as journal:
        since = journal.write("eval", step=1, loss=2.0, seconds=1.0, examples=2).n
        journal.write("stopped", step=1, checkpoint=None, by="me")
    request = WatchRequest({"hook": inbox.webhook}, since=since)
    watcher = RunWatcher(folder, request, prices={}, retry_pause=0.05)
    watcher.start()
    tick_until(watcher, until, lambda: watcher.is_done)
    watcher.stop()
    assert inbox.events() == ["stopped"]
    # Without a price there is no figure, and none is made up.
    facts = inbox.messages[-1]["facts"]
    assert facts["cost"] is None and facts["cost_to_end"] is None and facts["currency"] is None
    assert "EUR" not in inbox.messages[-1]["text"]


def test_health_is_reported_once_and_again_after_it_was_over(
    folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = worker(folder, "started()\njournal.write('phase', name='training')\nstep(1)\ntime.sleep(1000)\n")
    utilization = [0.0]
    now = [time.time()]

    def gpus() -> tuple[Gpu, ...]:
        mine = Gpu(0, "H100", utilization=utilization[0], processes=(GpuProcess(process.pid, 1, None, None),))
        return (mine, Gpu(1, "H100", utilization=99.0))

    monkeypatch.setattr(health, "LOW_DISK_BYTES", 0)
    watcher = watch(folder, inbox.webhook, sample_gpus=gpus, clock=lambda: now[0])
    tick_until(watcher, until, lambda: watcher.watch.view.step == 1)

    def later(seconds: float) -> None:
        now[0] += seconds
        watcher.tick()

    later(health.SAMPLE_SECONDS + 1)
    later(health.IDLE_SECONDS + 1)
    later(health.SAMPLE_SECONDS + 1)
    until(lambda: inbox.events() == ["started", "gpu_idle"])
    utilization[0] = 80.0
    later(health.SAMPLE_SECONDS + 1)
    utilization[0] = 0.0
    later(health.SAMPLE_SECONDS + 1)
    later(health.IDLE_SECONDS + 1)
    monkeypatch.setattr(health, "LOW_DISK_BYTES", 1 << 60)
    later(1)
    later(1)
    until(lambda: inbox.events() == ["started", "gpu_idle", "gpu_idle", "disk"])
    watcher.stop()
    assert "the disk is nearly full" in inbox.messages[-1]["text"]


class Machine:
    """A run that has ended on a machine with one GPU, watched with a clock of its own."""

    def __init__(self, folder: RunFolder, inbox: Inbox, **options: object):
        self.utilization: float | None = 0.0
        self.now = time.time()
        with JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, host="here", attempt=1, versions={})
            journal.write("stopped", step=1, checkpoint=None, by="me")
        request = WatchRequest({"hook": inbox.webhook}, when_done=options.pop("when_done", None))  # type: ignore[arg-type]
        given = {"prices": {"per_hour": 2.5, "currency": "EUR"}, "environ": {}, **options}
        self.watcher = RunWatcher(
            folder,
            request,
            sample_gpus=lambda: (Gpu(0, "H100", utilization=self.utilization),),
            clock=lambda: self.now,
            retry_pause=0.05,
            **given,  # type: ignore[arg-type]
        )
        self.watcher.start()
        self.watcher.tick()

    def later(self, seconds: float) -> None:
        for _ in range(3):
            self.now += seconds / 3
            self.watcher.tick()


def test_an_idle_gpu_after_the_end_is_reported_once_while_it_is_billed(
    folder: RunFolder, inbox: Inbox, until: Until
) -> None:
    machine = Machine(folder, inbox)
    machine.later(health.IDLE_SECONDS / 2)
    machine.utilization = 50.0  # a program that is no run
    machine.later(2 * health.IDLE_SECONDS)
    assert not machine.watcher.is_done
    machine.utilization = 1.0
    machine.later(3 * health.IDLE_SECONDS)
    until(lambda: inbox.events() == ["started", "stopped", "gpu_idle"])
    until(lambda: machine.watcher.messages_waiting == 0)
    assert "no run is active" in inbox.messages[-1]["text"] and inbox.messages[-1]["bad"]
    assert "an hour of this machine costs 2.50 EUR" in inbox.messages[-1]["text"]
    machine.later(3 * health.IDLE_SECONDS)
    assert machine.watcher.is_done
    machine.watcher.stop()
    again = RunWatcher(
        folder,
        WatchRequest({"hook": inbox.webhook}),
        prices={"per_hour": 2.5},
        sample_gpus=lambda: (Gpu(0, "H100", utilization=0.0),),
        environ={},
    )
    again.start()
    tick_until(again, until, lambda: again.is_done)
    again.stop()
    assert inbox.events().count("gpu_idle") == 1


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"prices": {}}, "nobody pays by the hour"),
        ({"prices": {"per_kwh": 0.3}}, "an idle GPU needs next to no energy"),
        ({"when_done": "true"}, "the command at the end may end the machine"),
        ({"environ": {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}}, "a pod frees its GPU by ending"),
    ],
)
def test_nobody_waits_for_an_idle_gpu_that_costs_nothing(
    folder: RunFolder, inbox: Inbox, until: Until, options: dict[str, object], why: str
) -> None:
    machine = Machine(folder, inbox, **options)
    until(lambda: inbox.events() == ["started", "stopped"])
    until(lambda: machine.watcher.messages_waiting == 0)
    assert machine.watcher.is_done or "when_done" in options, why
    machine.later(3 * health.IDLE_SECONDS)
    assert "gpu_idle" not in inbox.events()
    machine.watcher.stop()


def test_a_rented_machine_is_billed_and_another_run_makes_it_busy(
    folder: RunFolder, inbox: Inbox, until: Until
) -> None:
    rented = {"prices": {}, "environ": {"RUNPOD_POD_ID": "pod", "RUNPOD_API_KEY": "key"}}
    machine = Machine(folder, inbox, **rented)
    other = RunFolder.create(folder.home, folder.read_spec(), versions={})
    machine.later(health.IDLE_SECONDS / 2)
    assert not machine.watcher.is_done
    with RunLock(other.lock_file):
        machine.later(3 * health.IDLE_SECONDS)
    until(lambda: machine.watcher.messages_waiting == 0)
    assert machine.watcher.is_done and "gpu_idle" not in inbox.events()
    with JournalWriter(folder.journal_file) as journal:  # resumed: its next end is looked at again
        journal.write("started", pid=1, host="here", attempt=2, versions={})
        journal.write("failed", what="no room")
    machine.later(3 * health.IDLE_SECONDS)
    until(lambda: inbox.events()[-1] == "gpu_idle")
    assert "RunPod bills them" in inbox.messages[-1]["text"]
    machine.watcher.stop()


@contextlib.contextmanager
def watching_process(folder: Path) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-P", "-m", "mg_tui.watching", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_process_outlives_a_killed_worker_and_says_so(
    folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until
) -> None:
    watch_request.write_watch_request(folder.path, WatchRequest({"hook": inbox.webhook, "phone": inbox.ntfy}))
    with watching_process(folder.path) as process:
        killed = worker(folder, "started()\nstep(1)\ntime.sleep(1000)\n")
        until(lambda: inbox.events().count("started") == 2)
        with watching_process(folder.path) as second:
            _out, said = second.communicate(timeout=60)
            assert second.returncode == 1
        assert f"is watched already (process {process.pid})" in said
        os.kill(killed.pid, signal.SIGKILL)
        assert process.wait(timeout=60) == 0
    assert inbox.events().count("crashed") == 2
    # Secrets are in one file, which only the owner reads.
    private = folder.path / watch_request.WATCH_FILE
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    for file in folder.path.rglob("*"):
        if file.is_file() and file != private:
            assert b"of-mine" not in file.read_bytes(), file
    assert describe_watching(folder.path) == ["notify hook: 2 sent", "notify phone: 2 sent"]


def test_sigterm_waits_for_the_end_of_the_run(
    folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until
) -> None:
    watch_request.write_watch_request(folder.path, WatchRequest({"hook": inbox.webhook}))
    with watching_process(folder.path) as process:
        body = """
def stop(*_):
    time.sleep(1.0)
    journal.write("stopped", step=1, checkpoint=None, by="signal SIGTERM")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
started()
time.sleep(1000)
"""
        stopped = worker(folder, body)
        until(lambda: inbox.events() == ["started"])
        stopped.terminate()
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert inbox.events() == ["started", "stopped"]


def test_every_run_of_a_home(folder: RunFolder, inbox: Inbox, worker: StartWorker, until: Until) -> None:
    """Runs that have ended are old news; one that starts later is watched; the process ends when asked to."""
    with JournalWriter(folder.journal_file) as journal:
        journal.write("stopped", step=1, checkpoint=None, by="me")
    home = folder.home
    watch_request.write_watch_request(home, WatchRequest({"hook": inbox.webhook}))
    with watching_process(home) as process:
        until(lambda: is_watched(home))
        time.sleep(1.0)
        later = RunFolder.create(home, folder.read_spec(), versions={})
        worker(later, "started()\njournal.write('stopped', step=1, checkpoint=None, by='me')\n")
        until(lambda: inbox.events() == ["started", "stopped"])
        assert {message["facts"]["run"] for message in inbox.messages} == {later.id}
        (home / watch_request.STOP_FILE).touch()
        assert process.wait(timeout=60) == 0
    assert json.loads((later.path / watch_request.STATE_FILE).read_text())["done"] is True
