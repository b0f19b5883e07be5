"""Sweeps without training: workers are a few lines that write what a real one would, at once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.config import Settings
from mg_tui.core.errors import DataError, GardenError, RunFailed, UsageError
from mg_tui.core.options import options_of
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import launch, queue
from mg_tui.runs.annotations import read_annotations
from mg_tui.runs.devices import Device
from mg_tui.runs.folder import RunFolder, new_run_id
from mg_tui.runs.journal import JournalReader, JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.pause import Pause, read_pause, write_pause
from mg_tui.runs.state import RunState
from mg_tui.runs.store import run_folders
from mg_tui.runs.sweeps.combinations import combine, describe_values, parse_over
from mg_tui.runs.sweeps.decisions import MAX_WAITING, next_actions
from mg_tui.runs.sweeps.driver import SweepDriver, restart_drivers
from mg_tui.runs.sweeps.folder import Rung, Sweep, SweepFolder, SweepRun, find_sweep, sweep_folder
from mg_tui.runs.sweeps.operations import (
    create_runs,
    find_same_sweep,
    remove_sweep,
    resume_sweep,
    start_sweep,
    stop_sweep,
)
from mg_tui.runs.sweeps.request import SweepRequest, expand_request, is_sweep_file, read_sweep_file
from mg_tui.runs.sweeps.standing import TRAINING_LOSS, SweepWatch, sweep_record

OPTIONS = options_of(TrainingSpec)
TOTAL = 12  # steps of a run, with an evaluation after every second one


# --- combinations


def combinations(*over: str, **request: Any) -> list[dict[str, Any]]:
    return expand_request(SweepRequest(**request), over)[1]


def test_a_grid_varies_the_last_option_fastest() -> None:
    found = combinations("learning-rate=1e-5,2e-5", "lora_r=8,32")
    assert [describe_values(values) for values in found] == [
        "learning_rate 1e-5, lora_r 8",
        "learning_rate 1e-5, lora_r 32",
        "learning_rate 2e-5, lora_r 8",
        "learning_rate 2e-5, lora_r 32",
    ]


def test_drawn_combinations_depend_on_the_seed_alone_and_stay_in_range() -> None:
    over = ("learning_rate=1e-6..1e-2:log", "lora_r=4..16", "scheduler=cosine,linear")
    drawn = combinations(*over, random=60, train={"seed": 3})
    assert drawn == combinations(*over, random=60, train={"seed": 3})
    assert drawn != combinations(*over, random=60, train={"seed": 4})
    rates = [values["learning_rate"] for values in drawn]
    assert all(1e-6 <= rate <= 1e-2 for rate in rates)
    assert {"cosine", "linear"} == {values["scheduler"] for values in drawn}
    ranks = {values["lora_r"] for values in drawn}
    assert ranks <= set(range(4, 17)) and len(ranks) > 6 and all(isinstance(rank, int) for rank in ranks)
    # Every order of magnitude about equally often: of 60, 15 in each of four.
    assert all(5 <= sum(10**low <= rate < 10 ** (low + 1) for rate in rates) <= 28 for low in (-6, -5, -4, -3))


def test_no_combination_is_drawn_twice() -> None:
    drawn = combinations("lora_r=8,16,32", "seed=1,2", random=6)
    assert len({json.dumps(values) for values in drawn}) == 6


@pytest.mark.parametrize(
    ("over", "request_", "words"),
    [
        (["learning_rat=1"], {}, "learning_rat is not an option of train-vision; did you mean learning_rate?"),
        (["bf16=true"], {}, "did you mean dtype = bfloat16?"),
        (["lora_r"], {}, "expected OPTION=VALUE"),
        (["lora_r="], {}, "expected OPTION=VALUE"),
        ([], {}, "needs an option to vary"),
        (["lora_r=8", "lora-r=16"], {}, "lora_r is given twice"),
        (["lora_r=8,8"], {}, "has the value 8 twice"),
        (["name=a,b"], {}, "name cannot be varied"),
        (["when_done=stop"], {}, "when_done cannot be varied"),
        (["lora_r=8..16"], {}, "lora_r has a range"),
        (["lora_r=16..8"], {"random": 2}, "LOW less than HIGH"),
        (["learning_rate=0..1:log"], {"random": 2}, "begins above 0"),
        (["learning_rate=1e-5..x"], {"random": 2}, "expected LOW..HIGH"),
        (["learning_rate=1e-5..1:exp"], {"random": 2}, "expected LOW..HIGH"),
        (["lora_r=8,16"], {"random": 3}, "only 2 different combinations"),
        (["lora_r=8,16"], {"random": 0}, "give a whole number from 1"),
        (["seed=" + ",".join(map(str, range(600)))], {}, "600 combinations; at most 512"),
        (["lora_r=8,16"], {"train": {"when_done": "stop"}}, "end the machine after the first run"),
    ],
)
def test_what_cannot_be_combined_is_said(over: list[str], request_: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        combinations(*over, **request_)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("keep", "after", "words"),
    [
        ((2,), (), "belong together"),
        ((0,), (5,), "whole numbers from 1"),
        ((4, 2), (100, 50), "comes later and keeps fewer"),
        ((2, 2), (50, 100), "comes later and keeps fewer"),
    ],
)
def test_comparisons_narrow_down(keep: tuple[int, ...], after: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _ = SweepRequest(keep=keep, after=after).rungs
    assert SweepRequest(keep=(4, 2), after=(50, 100)).rungs == (Rung(4, 50), Rung(2, 100))


def test_a_sweeps_file(tmp_path: Path) -> None:
    toml = tmp_path / "rates.toml"
    toml.write_text(
        '[train]\nbase_model = "tiny"\n[over]\nlora_r = [8, 16]\nlearning_rate = "1e-5,1e-4"\n'
        '[sweep]\nname = "rates"\nkeep = [3, 2]\nafter = [10, 20]\ngpus = "0,1"\n'
    )
    request = read_sweep_file(toml)
    assert request.name == "rates" and request.rungs == (Rung(3, 10), Rung(2, 20)) and request.gpus == "0,1"
    described, found = expand_request(request, ["lora_r=4"])  # a flag replaces what the file has
    assert described == {"learning_rate": ["1e-5", "1e-4"], "lora_r": ["4"]} and len(found) == 2
    same = tmp_path / "rates.json"
    same.write_text(json.dumps({"train": {"base_model": "tiny"}, "over": {"lora_r": [8, 16]}, "sweep": {"random": 2}}))
    assert is_sweep_file(toml) and is_sweep_file(same) and read_sweep_file(same).random == 2
    rows = tmp_path / "rows.json"
    rows.write_text('[{"text": "over", "over": 1}]')
    assert not is_sweep_file(rows) and not is_sweep_file(tmp_path / "rows.jsonl")
    for text, words in (
        ("[overr]\na = 1", "did you mean over"),
        ("[sweep]\nkep = 1", "did you mean keep"),
        ("[", "not valid"),
    ):
        toml.write_text(text)
        with pytest.raises(UsageError, match=words):
            read_sweep_file(toml)


# --- the sweep


LOSSES = (1.4, 1.1, 1.3, 1.2, 1.6, 1.5)  # of the runs in order


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


@pytest.fixture
def make(settings: Settings) -> Callable[..., Sweep]:
    """A sweep of so many runs that differ in their rank."""

    def build(count: int = 6, name: str = "ranks", **fields: Any) -> Sweep:
        runs = []
        for number in range(1, count + 1):
            spec = TrainingSpec(base_model="tiny", dataset="/d.jsonl", lora_r=number, name=f"{name}-{number:02d}")
            values = {"lora_r": number}
            runs.append(SweepRun(number, new_run_id(spec.name), values, spec.model_dump(mode="json")))
        return Sweep(name, tuple(runs), {"lora_r": list(range(1, count + 1))}, asked="x", cwd="/", **fields)

    return build


class Workers:
    """What stands in for waiting processes and workers: queued runs wait until `work` does them, in order.

    `fails`, `dies`: numbers of runs that end so after their second step; `after` steps they die in `limit` starts.
    """

    def __init__(self, home: Path):
        self.home = home
        self.fails: set[int] = set()
        self.dies: dict[int, int] = {}
        self.worked: list[int] = []
        self.drivers: list[SweepFolder] = []

    def work(self, count: int = 1) -> int:
        """Do so many of the queued runs; returns how many there were."""
        entries = queue.list_queue(self.home)[:count]
        for entry in entries:
            self._do(entry.folder)
        return len(entries)

    def _do(self, folder: RunFolder) -> None:
        number = int(folder.id.rsplit("-", 1)[1])
        self.worked.append(number)
        done = list(JournalReader(folder.journal_file).read_new())
        attempt = 1 + sum(event.kind == "started" for event in done)
        step = max((int(event.data["step"]) for event in done if event.kind == "checkpoint"), default=0)
        pause = read_pause(folder)
        queue.remove_queue_record(folder)
        with JournalWriter(folder.journal_file) as journal:
            journal.write("started", pid=1, attempt=attempt, resumed_from=step or None)
            journal.write("plan", steps=TOTAL)
            while step < TOTAL:
                step += 1
                journal.write("step", step=step, loss=LOSSES[number - 1] + 2 / step)
                if step % 2 == 0:
                    loss = LOSSES[number - 1] + 1 / step
                    journal.write("eval", step=step, loss=loss, examples=4, metrics={"exact_match": 2 - loss})
                if step == 2 and number in self.fails:
                    journal.write("failed", what="it is not finite", exit_code=1)
                    return
                if step == 2 and self.dies.get(number, 0):
                    self.dies[number] -= 1
                    return
                if pause is not None and pause.step <= step < TOTAL:
                    self._checkpoint(folder, journal, step)
                    journal.write("stopped", step=step, by=pause.by)
                    return
            journal.write("finished", steps=step)

    @staticmethod
    def _checkpoint(folder: RunFolder, journal: JournalWriter, step: int) -> None:
        path = folder.checkpoints_dir / f"step-{step:06d}"
        path.mkdir(exist_ok=True)
        (path / "checkpoint.json").write_text(json.dumps({"step": step, "files": {}}))
        journal.write("checkpoint", step=step, path=f"checkpoints/{path.name}")


@pytest.fixture
def workers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    made = Workers(settings.home)
    monkeypatch.setattr("mg_tui.runs.devices.find_devices", lambda: [Device("cpu")])
    monkeypatch.setattr(launch, "start_waiter", lambda folder: 1)
    monkeypatch.setattr("mg_tui.runs.sweeps.operations.start_driver", made.drivers.append)
    yield made


def drive(folder: SweepFolder, workers: Workers, *, at_most: int = 200) -> None:
    """A new driver for every look, as if the one before had been killed, and one run at a time."""
    for _ in range(at_most):
        if SweepDriver(folder).advance():
            return
        workers.work()
    raise AssertionError("the sweep does not end")


def states(folder: SweepFolder) -> list[RunState | None]:
    return [standing.state for standing in SweepWatch(folder).refresh()]


def test_all_runs_are_done_and_the_best_is_first(
    make: Callable[..., Sweep], settings: Settings, workers: Workers
) -> None:
    folder = start_sweep(make(), settings).folder
    assert workers.drivers == [folder]
    assert states(folder) == [RunState.CREATED] * 6
    notes = read_annotations(run_folders(settings.home)[0])
    assert notes.tags == ("ranks",) and notes.note.startswith("lora_r ")
    drive(folder, workers)
    watch = SweepWatch(folder)
    watch.refresh()
    assert [each.run.number for each in watch.ranked()] == [2, 4, 3, 1, 6, 5]
    assert sorted(workers.worked) == [1, 2, 3, 4, 5, 6] and watch.metric == "loss"
    record = sweep_record(watch, driver_runs=False)
    assert record["done"] and record["best"] == watch.standings[1].run.id
    assert [run["rank"] for run in record["runs"]] == [4, 1, 3, 2, 6, 5]
    assert record["runs"][1]["score"] == pytest.approx(1.1 + 1 / TOTAL) and record["runs"][1]["score_step"] == TOTAL


def test_only_some_runs_wait_in_the_queue(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    monkey = make(count=6)
    runs = tuple(SweepRun(n, new_run_id(f"more-{n:02d}"), {}, monkey.runs[0].spec) for n in range(1, MAX_WAITING + 4))
    folder = start_sweep(Sweep("more", runs, {}, cwd="/"), settings).folder
    SweepDriver(folder).advance()
    SweepDriver(folder).advance()
    assert states(folder).count(RunState.QUEUED) == MAX_WAITING and states(folder).count(RunState.CREATED) == 3


@pytest.mark.parametrize(("metric", "higher"), [("loss", False), ("exact_match", True)])
def test_the_worst_are_given_up_twice(
    make: Callable[..., Sweep], settings: Settings, workers: Workers, metric: str, higher: bool
) -> None:
    sweep = make(rungs=(Rung(4, 4), Rung(2, 8)), metric=metric, higher_is_better=higher)
    folder = start_sweep(sweep, settings).folder
    drive(folder, workers)
    watch = SweepWatch(folder)
    watch.refresh()
    assert watch.state.kept == ((1, 2, 3, 4), (2, 4)) and watch.state.done
    assert [each.view.step for each in watch.standings] == [8, 12, 8, 12, 4, 4]
    assert [each.run.number for each in watch.ranked()] == [2, 4]
    assert [run["state_text"] for run in sweep_record(watch, driver_runs=False)["runs"]] == [
        "given up after step 8",
        "finished",
        "given up after step 8",
        "finished",
        "given up after step 4",
        "given up after step 4",
    ]
    # Each continued from its checkpoint: no step was done twice.
    for standing in watch.standings:
        steps = [
            event.data["step"]
            for event in JournalReader(standing.folder.journal_file).read_new()
            if event.kind == "step"
        ]
        assert steps == list(range(1, standing.view.step + 1))
    assert read_pause(watch.standings[1].folder) is None


def test_nobody_is_given_up_before_all_have_come_as_far(
    make: Callable[..., Sweep], settings: Settings, workers: Workers
) -> None:
    folder = start_sweep(make(count=3, rungs=(Rung(1, 4),)), settings).folder
    SweepDriver(folder).advance()
    workers.work(2)
    SweepDriver(folder).advance()
    assert folder.read_state().kept == ()
    watch = SweepWatch(folder)
    watch.refresh()
    texts = [run["state_text"] for run in sweep_record(watch, driver_runs=False)["runs"]]
    assert sorted(texts) == ["queued", "waits at step 4 for the others", "waits at step 4 for the others"]
    assert len(queue.list_queue(settings.home)) == 1  # the two that wait hold no device and no place
    drive(folder, workers)
    assert folder.read_state().kept == ((2,),)


def test_failed_and_dying_runs_do_not_hold_the_others(
    make: Callable[..., Sweep], settings: Settings, workers: Workers
) -> None:
    workers.fails, workers.dies = {2}, {3: 1, 4: 99}
    folder = start_sweep(make(rungs=(Rung(3, 4),)), settings).folder
    # Run 4 never gets further than its second step; a start without any step is what makes a run hopeless.
    for _ in range(40):
        done = SweepDriver(folder).advance()
        if done or (not workers.work() and 4 not in workers.dies):
            break
        if workers.worked.count(4) >= 3:
            workers.dies.pop(4, None)
    assert folder.read_state().kept == ((1, 3, 4),)
    assert states(folder)[:4] == [RunState.FINISHED, RunState.FAILED, RunState.FINISHED, RunState.FINISHED]


def test_a_run_that_never_makes_a_step_is_left(
    make: Callable[..., Sweep], settings: Settings, workers: Workers
) -> None:
    folder = start_sweep(make(count=2, rungs=(Rung(1, 4),)), settings).folder
    driver = SweepDriver(folder)
    driver.advance()
    first = next(entry.folder for entry in queue.list_queue(settings.home) if entry.folder.id.endswith("-01"))
    for attempt in range(1, 4):  # its process dies before a step, again and again
        queue.remove_queue_record(first)
        with JournalWriter(first.journal_file) as journal:
            journal.write("started", pid=1, attempt=attempt)
        driver.advance()
    assert [entry.folder.id[-2:] for entry in queue.list_queue(settings.home)] == ["02"]
    drive(folder, workers)
    assert states(folder) == [RunState.CRASHED, RunState.FINISHED]
    assert folder.read_state().kept == ((2,),)


def test_a_run_that_somebody_stopped_stays_stopped_until_the_sweep_is_resumed(
    make: Callable[..., Sweep], settings: Settings, workers: Workers
) -> None:
    folder = start_sweep(make(count=3), settings).folder
    SweepDriver(folder).advance()
    assert queue.cancel_queued(queue.list_queue(settings.home)[0].folder, "me")
    drive(folder, workers)
    assert states(folder).count(RunState.STOPPED) == 1 and folder.read_state().done
    again = resume_sweep(folder, settings)
    assert [run.id for run in again.resumed] == [folder.read().runs[0].id] and not folder.read_state().done
    drive(folder, workers)
    assert states(folder) == [RunState.FINISHED] * 3


def test_failed_runs_are_resumed_when_asked(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    workers.fails = {1}
    folder = start_sweep(make(count=2), settings).folder
    drive(folder, workers)
    assert states(folder) == [RunState.FAILED, RunState.FINISHED]
    assert resume_sweep(folder, settings).resumed == ()
    workers.fails = set()
    assert len(resume_sweep(folder, settings, failed=True).resumed) == 1
    drive(folder, workers)
    assert states(folder) == [RunState.FINISHED] * 2


def test_stop_and_resume(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    folder = start_sweep(make(), settings).folder
    SweepDriver(folder).advance()
    workers.work(2)
    assert len(stop_sweep(folder, "me")) == 4
    assert states(folder).count(RunState.STOPPED) == 4 and queue.list_queue(settings.home) == []
    assert SweepDriver(folder).run() == 0  # a driver that is started now ends at once
    assert restart_drivers(settings.home) == []
    assert len(resume_sweep(folder, settings).resumed) == 4
    drive(folder, workers)
    assert states(folder) == [RunState.FINISHED] * 6


def test_a_sweep_that_died_while_its_runs_were_created_creates_the_others(
    make: Callable[..., Sweep], settings: Settings, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, count = launch.create_run, iter(range(99))

    def dies(*arguments: Any, **options: Any) -> RunFolder:
        if next(count) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(launch, "create_run", dies)
    with pytest.raises(KeyboardInterrupt):
        start_sweep(make(), settings)
    folder = find_sweep(settings.home, "last")
    assert states(folder).count(None) == 4 and workers.drivers == []
    assert restart_drivers(settings.home) == []  # it would take the missing runs for removed ones
    resume_sweep(folder, settings)
    drive(folder, workers)
    assert states(folder) == [RunState.FINISHED] * 6 and len(run_folders(settings.home)) == 6


def test_a_removed_run_is_not_created_again(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    from mg_tui.runs.remove import remove_run

    folder = start_sweep(make(count=2), settings).folder
    remove_run(run_folders(settings.home)[0])
    create_runs(folder, settings)
    drive(folder, workers)
    assert sorted(str(state) for state in states(folder)) == ["None", "finished"]


def test_the_same_request_is_recognized_and_another_refused(
    make: Callable[..., Sweep], settings: Settings, workers: Workers
) -> None:
    folder = start_sweep(make(), settings).folder
    assert find_same_sweep(settings.home, "ranks", "x") == folder
    assert find_same_sweep(settings.home, "other", "x") is None
    with pytest.raises(UsageError, match="a sweep ranks already"):
        find_same_sweep(settings.home, "ranks", "y")
    with pytest.raises(UsageError, match="no sweep 'rank'") as caught:
        find_sweep(settings.home, "rank")
    assert caught.value.hint == "there is ranks"
    for bad in ("../x", "", "a b", ".hidden", "x" * 40):
        with pytest.raises(UsageError, match="the name of a sweep"):
            sweep_folder(settings.home, bad)


def test_remove(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    folder = start_sweep(make(count=2), settings).folder
    SweepDriver(folder).advance()
    with pytest.raises(UsageError, match="running or queued"):
        remove_sweep(folder)
    stop_sweep(folder, "me")
    assert len(remove_sweep(folder, with_runs=True)) == 2
    assert run_folders(settings.home) == [] and not folder.path.exists()


def test_files_of_a_sweep(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    folder = start_sweep(make(rungs=(Rung(2, 4),), gpus=("0", "1")), settings).folder
    assert folder.read().rungs == (Rung(2, 4),) and folder.read().gpus == ("0", "1")
    assert folder.sweep_file.stat().st_mode & 0o077 == 0  # it may have the addresses of notification services
    (folder.path / "state.json").write_text("{")
    assert not folder.read_state().created
    folder.sweep_file.write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        folder.read()


def test_one_driver_at_a_time(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    folder = start_sweep(make(count=1), settings).folder
    with RunLock(folder.lock_file), pytest.raises(RunFailed):
        SweepDriver(folder).run()


def test_a_broken_run_does_not_hold_the_others(
    make: Callable[..., Sweep], settings: Settings, workers: Workers, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = start_sweep(make(count=2), settings).folder
    watch = SweepWatch(folder)
    watch.refresh()
    watch.standings[0].folder.spec_file.unlink()
    driver = SweepDriver(folder)
    driver.advance()
    assert [entry.folder.id[-2:] for entry in queue.list_queue(settings.home)] == ["02"]
    assert "run 1: " in capfd.readouterr().err
    workers.work()
    assert any(driver.advance() for _ in range(9))  # it is tried some times, and then counts as over


def test_without_evaluations_the_training_loss_is_compared(
    make: Callable[..., Sweep], settings: Settings, workers: Workers
) -> None:
    folder = start_sweep(make(count=2), settings).folder
    for number, run in enumerate(folder.read().runs):
        with JournalWriter(folder.run_folder(run).journal_file) as journal:
            journal.write("started", pid=1, attempt=1)
            for step in range(1, 21):
                journal.write("step", step=step, loss="nan" if step == 20 else 2.0 - number + step / 100)
            journal.write("finished", steps=20)
    watch = SweepWatch(folder)
    watch.refresh()
    assert watch.metric == TRAINING_LOSS
    best = watch.score(watch.ranked()[0])
    assert best is not None and watch.ranked()[0].run.number == 2
    assert best.value == pytest.approx(1.0 + 14.5 / 100) and best.step == 19  # the mean of ten steps


def test_a_pause_is_read_as_it_was_written(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    folder = start_sweep(make(count=1), settings).folder
    run = folder.run_folder(folder.read().runs[0])
    assert read_pause(run) is None
    write_pause(run, Pause(7, "sweep ranks"))
    assert read_pause(run) == Pause(7, "sweep ranks")
    (run.path / "pause.json").write_text("[]")
    assert read_pause(run) is None
    write_pause(run, None)
    assert not (run.path / "pause.json").exists()


def test_decisions_are_a_function(make: Callable[..., Sweep], settings: Settings, workers: Workers) -> None:
    """Looking twice changes nothing: what is decided depends on what is written."""
    folder = start_sweep(make(count=3, rungs=(Rung(1, 4),)), settings).folder
    watch = SweepWatch(folder)
    standings = watch.refresh()
    first, second = (next_actions(watch.sweep, watch.state, standings) for _ in range(2))
    assert first == second and len(first.start) == 3 and first.pause == Pause(4, "sweep ranks")


def test_over_is_parsed_into_axes() -> None:
    (rate, rank) = parse_over(["learning_rate=1e-5..1e-3:log", "lora_r=8,16"], OPTIONS)
    assert rate.is_range and rate.log and rate.as_list() == ["1e-05..0.001:log"] and rank.values == ("8", "16")
    assert len(combine([rank])) == 2
    with pytest.raises(GardenError):
        combine([rate])
