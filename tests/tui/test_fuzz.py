"""Random keys, single and in bursts, over all screens and sizes: no exception, and no run changed but by a yes.

MG_FUZZ_KEYS=50000 MG_FUZZ_SEED=7 pytest -m slow tests/tui/test_fuzz.py
"""

import asyncio
import json
import os
import random
from pathlib import Path

import pytest
from textual.command import CommandPalette

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.tui.screens.confirm import ConfirmScreen
from tests.tui.fuzzing import SIZES, burst, palette_keys, random_keys, run_files
from tests.tui.synthetic_runs import SYNTHETIC_RUNS, SyntheticRun, synthetic_home

pytestmark = pytest.mark.asyncio
QUEUED = tuple(SyntheticRun(name, "queued", 0, 0, 60) for name in ("first", "second"))
KEYS_PER_APP = 500  # then the dashboard is opened anew, in another size


@pytest.fixture
def nothing_starts(monkeypatch) -> None:
    """No process starts: a run, a chat, a merge, a token counter."""

    def refuse(*_args, **_kwargs):
        raise EnvironmentProblem("This test starts nothing.")

    for name in ("launch.start_worker", "launch.start_waiter", "launch.start_run", "operations.resume_run"):
        monkeypatch.setattr(f"mg_tui.runs.{name}", refuse, raising=False)
    monkeypatch.setattr("mg_tui.runs.engine_process.EngineProcess.__init__", refuse, raising=False)
    monkeypatch.setattr("mg_tui.runs.detached.DetachedProcess", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


async def _press_at_random(make, folder: Path, count: int, seed: int) -> dict[str, int]:
    """Press `count` keys; counts of what happened."""
    dice = random.Random(seed)
    done = {"keys": 0, "bursts": 0, "apps": 0, "confirmed": 0, "screens": 0}
    seen: set[str] = set()
    with synthetic_home(folder / "home", (*SYNTHETIC_RUNS, *QUEUED)) as home:
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps({"text": f"what {n}", "response": "x"}) + "\n" for n in range(40)))
        before, asked = run_files(home), set[str]()
        while done["keys"] < count:
            app = make(home)
            done["apps"] += 1

            def confirm(question, detail, yes, action, app=app) -> None:
                def confirmed(answer: bool | None) -> None:
                    if answer:
                        done["confirmed"] += 1
                        asked.add(question)
                        action()

                app.push_screen(ConfirmScreen(question, detail, yes), confirmed)

            app.run_commands._confirm = confirm
            size = dice.choice(SIZES)
            async with app.run_test(size=size) as pilot:
                until = done["keys"] + KEYS_PER_APP
                while done["keys"] < min(until, count) and not app._exit:
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
                        seen.add(type(app.screen).__name__)
                await _handled(app)
            assert app.return_code in (0, None)
            print(seed, size, done, sorted(seen), flush=True)
            await asyncio.sleep(0)
            after = run_files(home)
            names = {path.name for path in (home / "runs").iterdir()}
            for id in before:
                title = next(run.name for run in (*SYNTHETIC_RUNS, *QUEUED) if id.endswith(run.name))
                allowed = any(title in question or " runs?" in question for question in asked)
                assert allowed or (after.get(id) == before[id] and id in names), f"{id} changed without a question"
                assert id in after, f"{id} is neither there nor in the trash"
    done["screens"] = len(seen)
    return done


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
