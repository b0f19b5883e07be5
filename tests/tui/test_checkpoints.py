"""The checkpoints of a run, acted on by keys; and by command."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from textual.widgets import Static

from mg_tui.cli.main import cli
from mg_tui.core.errors import GardenError, UsageError
from mg_tui.runs import operations
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.remove import remove_checkpoint
from mg_tui.runs.store import find_run, summarize_run
from mg_tui.tui.engine_client import EngineClient
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.evaluate import EvaluateScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.run.checkpoints import CheckpointTable, is_adapter
from tests.tui.synthetic_runs import synthetic_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.setattr(EngineClient, "request", lambda self, op, **fields: None)
    with synthetic_home(tmp_path / "home") as created:
        yield created


def steps(folder: RunFolder) -> list[int]:
    return [saved.step for saved in summarize_run(folder).view.checkpoints]


async def _open(app, pilot, until, ref: str) -> CheckpointTable:
    app.open_run(find_run(app.settings.home, ref))
    await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None)
    await pilot.press("p")
    table = app.screen.query_one(CheckpointTable)
    await until(pilot, lambda: app.focused is table and table.rows)
    return table


@pytest.mark.asyncio
async def test_chat_and_evaluation(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _open(app, pilot, until, "chart-questions")
        folder = app.screen.folder
        assert [row.step for row in table.rows] == [300, 250, 200, 150, 100, 50]
        await until(pilot, lambda: "step 300" in text(app) and "enter chat" in text(app))
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert app.screen.model.reference == str(folder.checkpoints_dir / "step-000250")
        assert "chart-questions · step 250" in text(app)
        await pilot.press("escape")
        await until(pilot, lambda: app.focused is table)
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, EvaluateScreen))
        evaluation = app.screen
        assert isinstance(evaluation, EvaluateScreen)
        assert evaluation.model.reference.endswith("step-000250") and evaluation.model.kind == "adapter"


@pytest.mark.asyncio
async def test_the_result_is_the_first_row(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _open(app, pilot, until, "receipts-lora-r32")
        assert table.rows[0].step is None
        await pilot.press("r", "x")  # a result is neither resumed from nor deleted
        assert not isinstance(app.screen, ConfirmScreen)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert app.screen.model.reference == "/data/models/receipts"


@pytest.mark.asyncio
async def test_resume_from_one(home, dashboard, until, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.runs.checkpoint_format.find_problem", lambda folder, contents=True: None)
    asked = []
    monkeypatch.setattr(operations, "resume_run", lambda folder, by, **more: asked.append((folder.id, more)))
    app = dashboard(home)
    async with app.run_test() as pilot:
        await _open(app, pilot, until, "chart-questions")
        folder = app.screen.folder
        await pilot.press("j", "j", "r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        detail = str(app.screen.query_one("#detail", Static).content)
        assert "from the checkpoint at step 200; 110 steps will be repeated" in detail
        await pilot.press("y")
        await until(pilot, lambda: asked)
        assert asked == [(folder.id, {"from_start": False, "at": "200"})]


@pytest.mark.asyncio
async def test_delete_asks_and_is_journaled(home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        table = await _open(app, pilot, until, "chart-questions")
        folder = app.screen.folder
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("n")
        assert 300 in steps(folder)
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: [row.step for row in table.rows] == [250, 200, 150, 100, 50])
        assert steps(folder) == [50, 100, 150, 200, 250] and not (folder.checkpoints_dir / "step-000300").exists()
        last = json.loads(folder.journal_file.read_text().splitlines()[-1])
        assert last["kind"] == "checkpoint_removed" and "(dashboard)" in last["why"]
        assert summarize_run(folder).state.value == "stopped"


@pytest.mark.asyncio
async def test_a_running_run_s_checkpoints_stay(home, dashboard, until) -> None:
    app = dashboard(home)
    async with app.run_test() as pilot:
        await _open(app, pilot, until, "invoices-v2")
        await pilot.press("x", "r")
        assert isinstance(app.screen, RunScreen)
    with pytest.raises(UsageError, match="is running"):
        remove_checkpoint(find_run(home, "invoices-v2"), 50, "ada")


def test_by_command(home) -> None:
    def run(*arguments: str):
        result = CliRunner().invoke(cli, ["--home", str(home), "runs", "checkpoints", *arguments])
        if isinstance(result.exception, GardenError):
            raise result.exception
        return result

    folder = find_run(home, "chart-questions")
    assert run("chart-questions").stdout.startswith("step 50: checkpoints/step-000050")
    assert [item["step"] for item in json.loads(run("chart-questions", "--json").stdout)] == steps(folder)
    with pytest.raises(UsageError, match="Cannot ask"):
        run("chart-questions", "--delete", "50")
    run("chart-questions", "--delete", "50", "--yes")
    assert steps(folder) == [100, 150, 200, 250, 300]
    with pytest.raises(UsageError, match="no checkpoint at step 50") as caught:
        run("chart-questions", "--delete", "50", "--yes")
    assert caught.value.hint == "there is 100, 150, 200, 250, 300"
    assert "has no checkpoint" in run("floor-plans").stderr


@pytest.mark.parametrize(
    ("parts", "adapter"),
    [
        ({"train_language": "lora", "train_projector": "none"}, True),
        ({"train_language": "lora", "train_projector": "full"}, True),
        ({"train_language": "full", "train_projector": "full"}, False),
        ({"train_language": "none", "train_projector": "full"}, False),
    ],
)
def test_a_checkpoint_with_lora_on_any_part_is_an_adapter(parts: dict[str, str], adapter: bool) -> None:
    """PEFT saves parts that are trained in full with the adapter."""
    assert is_adapter(parts) is adapter
