"""Random keys, single and in bursts, over all screens and sizes: no exception, and no run changed but by a yes.

MG_FUZZ_KEYS=50000 MG_FUZZ_SEED=7 pytest -m slow tests/tui/test_fuzz.py
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from textual.command import CommandPalette

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.runs import recents
from mg_tui.runs.annotations import read_annotations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import run_folders
from mg_tui.runs.trash import list_trash
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.evaluation import ResultScreen
from tests.tui.fuzzing import SIZES, LiveRun, burst, palette_keys, random_keys, run_files, tree_digest
from tests.tui.synthetic_evaluations import SyntheticEvaluation, evaluate, make_rows
from tests.tui.synthetic_places import fake_engine, showcase, showcase_engine
from tests.tui.synthetic_runs import SYNTHETIC_RUNS, SyntheticRun, synthetic_home

pytestmark = pytest.mark.asyncio
QUEUED = tuple(SyntheticRun(name, "queued", 0, 0, 60) for name in ("first", "second"))
KEYS_PER_APP = 250  # then the dashboard is opened anew, in another size


@pytest.fixture
def nothing_starts(monkeypatch) -> None:
    """No process starts: no run, no evaluation, no job; models answer at once, by a stand-in."""

    def refuse(*_args, **_kwargs):
        raise EnvironmentProblem("This test starts nothing.")

    for name in ("launch.start_worker", "launch.start_waiter", "launch.start_run", "operations.resume_run"):
        monkeypatch.setattr(f"mg_tui.runs.{name}", refuse, raising=False)
    answering = fake_engine(showcase_engine().script)
    monkeypatch.setattr("mg_tui.runs.engine_process.EngineProcess", answering)
    monkeypatch.setattr("mg_tui.runs.detached.DetachedProcess", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


class Garden:
    """Places to press keys in: runs of which one goes on, queued ones, a dataset, results, an evaluation."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        rows = make_rows(folder / "rows.jsonl", 40)
        showcase(home, folder)
        recents.remember(home, "datasets", str(rows))
        self.dataset = str(folder / "photos.jsonl")
        model = str(home / "models" / "chart-questions")
        self.evaluation = evaluate(home, rows, SyntheticEvaluation(model=model, rows=40))
        evaluate(home, rows, SyntheticEvaluation(model=model, rows=40, answered=9, state="stopped", ago=60))
        running = next(folder for folder in run_folders(home) if folder.id.endswith("invoices-v2"))
        self.live = LiveRun(running, step=310)
        self.live.start()
        self.runs, self.models = run_files(home, running.id), tree_digest(home / "models")
        self.evaluated = tree_digest(self.evaluation.path)

    def open_somewhere(self, app, dice: random.Random) -> None:
        """Begin at a place that random keys seldom reach."""
        folders = run_folders(self.home)
        screens = {
            "list": lambda: None,
            "run": lambda: app.open_run(dice.choice(folders)),
            "live": lambda: app.open_run(self.live.folder),
            "replay": lambda: app.open_replay(dice.choice(folders)),
            "compare": lambda: app.open_compare(folders[:4]),
            "devices": app.open_devices,
            "dataset": lambda: app.open_dataset(self.dataset),
            "evaluation": lambda: app.push_screen(ResultScreen(self.evaluation)),
            "models": lambda: app.open_model(str(self.home / "models" / "chart-questions")),
            "form": lambda: app.open_new_run_form({"base_model": "tiny", "dataset": self.dataset}),
        }
        screens[dice.choice(list(screens))]()

    def check(self, asked: set[str]) -> None:
        """No file of a run, a model or an evaluation changed but by a yes."""
        after = run_files(self.home, self.live.folder.id)
        names = {path.name for path in (self.home / "runs").iterdir()}
        for id in self.runs:
            title = next(run.name for run in (*SYNTHETIC_RUNS, *QUEUED) if id.endswith(run.name))
            # An item keeps its name here: renames are annotations, which change the title of a question.
            allowed = bool(asked) and any(title in one or " runs?" in one for one in asked)
            name = annotated(self.home, id)
            allowed = allowed or (name is not None and any(name in one for one in asked))
            assert allowed or (after.get(id) == self.runs[id] and id in names), f"{id} changed without a question"
            assert id in after, f"{id} is neither there nor in the trash"
        deleted = any(one.startswith("Delete ") for one in asked)
        assert deleted or tree_digest(self.home / "models") == self.models, "a model changed without a question"
        evaluated = tree_digest(self.evaluation.path) if self.evaluation.path.is_dir() else {}
        evaluated.pop("report.html", None)  # h writes it
        assert deleted or evaluated == self.evaluated, "an evaluation changed without a question"


def annotated(home: Path, id: str) -> str | None:
    """The name that random keys gave a run."""
    paths = [home / "runs" / id, *(run.path for run in list_trash(home) if run.id == id)]
    return next((name for path in paths if (name := read_annotations(RunFolder(path)).name)), None)


async def _press_at_random(make, folder: Path, count: int, seed: int) -> dict[str, int]:
    """Press `count` keys; counts of what happened."""
    dice = random.Random(seed)
    done = {"keys": 0, "bursts": 0, "apps": 0, "confirmed": 0, "screens": 0}
    seen: Counter[str] = Counter()
    with synthetic_home(folder / "home", (*SYNTHETIC_RUNS, *QUEUED)) as home:
        garden, asked = Garden(home, folder), set[str]()
        try:
            while done["keys"] < count:
                await _press_in_one(make, garden, dice, min(KEYS_PER_APP, count - done["keys"]), done, seen, asked)
                garden.check(asked)
        finally:
            garden.live.end()
    done["screens"] = len(seen)
    return done


async def _press_in_one(make, garden: Garden, dice: random.Random, count: int, done, seen, asked) -> None:
    """Press `count` keys in one dashboard, or fewer if they end it."""
    app = make(garden.home)
    done["apps"] += 1

    def confirm(question, detail, yes, action) -> None:
        def confirmed(answer: bool | None) -> None:
            if answer:
                done["confirmed"] += 1
                asked.add(question)
                action()

        app.push_screen(ConfirmScreen(question, detail, yes), confirmed)

    app.run_commands._confirm = confirm
    app.confirm = confirm
    size, until = dice.choice(SIZES), done["keys"] + count
    async with app.run_test(size=size, notifications=True) as pilot:
        garden.open_somewhere(app, dice)
        while done["keys"] < until and not app._exit:
            keys = random_keys(dice, dice.choice((1, 1, 1, 2, 3, 5, 12)))
            if app._screen_stack and isinstance(app.screen, ConfirmScreen) and dice.random() < 0.3:
                keys = ["y"]  # random keys seldom say yes
            if app._screen_stack and isinstance(app.screen, CommandPalette) and dice.random() < 0.8:
                keys = palette_keys(dice, dice.choice((1, 2, 3, 6)))
            elif dice.random() < 0.03:
                keys = ["ctrl+p", *palette_keys(dice, 4)]
            done["keys"] += len(keys)
            done["bursts"] += len(keys) > 1
            burst(app, keys)
            if dice.random() < 0.02:
                await pilot.resize_terminal(*dice.choice(SIZES))
            await pilot.pause(0.02 if dice.random() < 0.1 else 0)
            if done["keys"] % 5 == 0:  # keys come quicker than a busy machine handles them: let it catch up
                await _handled(app)
            if app._screen_stack:
                seen[type(app.screen).__name__] += 1
        await _handled(app)
    assert app.return_code in (0, None)
    print(size, done, dict(seen.most_common()), flush=True)
    await asyncio.sleep(0)


async def _handled(app) -> None:
    while app.key_queue._task is not None:
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("nothing_starts")
async def test_random_keys(dashboard, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = await _press_at_random(dashboard, tmp_path, 400, seed=15)
    assert done["keys"] >= 400 and done["screens"] > 3


@pytest.mark.usefixtures("nothing_starts")
@pytest.mark.parametrize("width", [60, 80])
async def test_random_keys_in_the_command_palette(dashboard, tmp_path, width) -> None:
    dice = random.Random(width)
    with synthetic_home(tmp_path / "home") as home:
        app = dashboard(home)
        async with app.run_test(size=(width, 20)) as pilot:
            for _ in range(120):
                if app._exit:
                    break
                if not isinstance(app.screen, CommandPalette):
                    burst(app, ["ctrl+p"])
                burst(app, palette_keys(dice, dice.choice((1, 2, 5, 9))))
                await pilot.pause(0.02 if dice.random() < 0.2 else 0)
            while app.key_queue._task is not None:
                await asyncio.sleep(0.01)
    assert app.return_code in (0, None)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.usefixtures("nothing_starts")
async def test_fifty_thousand_random_keys(dashboard, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    count, seed = int(os.environ.get("MG_FUZZ_KEYS", "50000")), int(os.environ.get("MG_FUZZ_SEED", "1"))
    done = await _press_at_random(dashboard, tmp_path, count, seed)
    print(done)
    assert done["keys"] >= count
