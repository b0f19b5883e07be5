"""Small things that the dashboard got wrong once."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import pytest
from textual.widgets import Input

from mg_tui.core.spec import TrainingSpec
from mg_tui.data.checks.findings import CheckReport, Histogram, LengthSuggestion
from mg_tui.runs.folder import RunFolder
from mg_tui.tui.datasets.checker import CheckEnded
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.new import NewRunScreen
from mg_tui.tui.screens.replay import ReplayScreen
from mg_tui.tui.widgets.datasets.findings import suggestion_text
from mg_tui.tui.widgets.run.panes import LogPane
from tests.tui.fuzzing import burst
from tests.tui.synthetic_runs import SyntheticRun, synthetic_home

pytestmark = pytest.mark.asyncio


async def _form(app, pilot, until) -> NewRunScreen:
    await pilot.press("3")
    await until(pilot, lambda: isinstance(app.screen, NewRunScreen) and app.screen.draft is not None)
    return app.screen


@pytest.mark.parametrize("width", [60, 66, 74, 76, 80])
async def test_a_narrow_form_shows_values(tmp_path, dashboard, text, until, width) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(width, 24)) as pilot:
        await _form(app, pilot, until)
        await until(pilot, lambda: "Value" in text(app))


async def test_finding_an_option_goes_to_the_best_match(tmp_path, dashboard, size, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _form(app, pilot, until)
        screen.table.move(len(screen.table.rows) - 1)
        burst(app, "/rate")
        await until(pilot, lambda: isinstance(app.focused, Input) and app.focused.value == "rate")
        await until(pilot, lambda: screen.filter_text == "rate" and len(screen.table.rows) > 1)
        assert screen.table.cursor == 0


async def test_a_remedy_that_skips_rows_does_not_claim_to_fix_any() -> None:
    skip = suggestion_text(LengthSuggestion("skip 1 row", "--on-bad-row skip", 0))
    assert skip == "skip 1 row: trains on the rest (--on-bad-row skip)"
    assert "fixes 2 rows" in suggestion_text(LengthSuggestion("raise the limit to 90", "--max-seq-length 90", 2))


# --- the form and what it holds


async def _set(screen: NewRunScreen, **values: str) -> None:
    for name, value in values.items():
        screen.set_value(name, value)


async def test_q_loses_nothing_of_a_changed_form(tmp_path, dashboard, size, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _form(app, pilot, until)
        await _set(screen, learning_rate="3e-4", name="mine")
        await pilot.press("1", "q")
        await until(pilot, lambda: app._exit)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _form(app, pilot, until)
        assert (screen.value_text("learning_rate"), screen.value_text("name")) == ("3e-4", "mine")


async def test_q_asks_nothing_about_an_unchanged_form(tmp_path, dashboard, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await _form(app, pilot, until)
        app.open_new_run_form({"name": "an older run", "learning_rate": 3e-4}, anew=True)
        await pilot.pause()
        await pilot.press("q")
        await until(pilot, lambda: app._exit)


async def test_training_on_a_dataset_keeps_nothing_of_the_last_run(tmp_path, dashboard, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _form(app, pilot, until)
        older = {
            "name": "old",
            "learning_rate": 3e-4,
            "system_prompt": "Be brief.",
            "base_model": "tiny",
            "dataset": "/a",
        }
        app.open_new_run_form(older, anew=True)
        await pilot.pause()
        app.open_dataset_form({"dataset": "/b"})
        await pilot.pause()
        assert screen.draft is not None and screen.draft.values() == {"dataset": "/b"}


async def test_training_on_a_dataset_names_what_it_keeps(tmp_path, dashboard, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _form(app, pilot, until)
        await _set(screen, learning_rate="3e-4", image_root="/old", dataset="/a")
        app.open_dataset_form({"dataset": "/b"})
        await until(pilot, lambda: any("from the form: Learning rate." in item.text for item in app.message_log))
        assert screen.draft is not None and screen.draft.values() == {"dataset": "/b", "learning_rate": "3e-4"}


# --- the list of runs, and a replay


async def test_ages_grow_while_nothing_runs(tmp_path, dashboard, text, until, monkeypatch) -> None:
    from mg_tui.tui.screens import runs
    from mg_tui.tui.widgets.runs import run_table

    monkeypatch.setattr(runs, "AGE_SECONDS", 0.1)
    with synthetic_home(tmp_path / "home", (SyntheticRun("done", "finished", 5, 5, 7_300),)) as home:
        app = dashboard(home)
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "2h" in text(app))
            monkeypatch.setattr(run_table, "time", lambda: time.time() + 3600)
            await until(pilot, lambda: "3h" in text(app))


async def test_age_and_order_are_both_from_the_creation(tmp_path, dashboard, until) -> None:
    long, short = (
        SyntheticRun("long", "finished", 4_000, 4_000, 9_000, seconds_per_step=2.0),
        SyntheticRun("short", "finished", 5, 5, 5_000),
    )
    with synthetic_home(tmp_path / "home", (long, short)) as home:
        app = dashboard(home)
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: app.screen.table.rows)
            table = app.screen.table
            assert [row.title for row in table.rows] == ["short", "long"]
            assert [table.cell_of(row, "age", 4).plain for row in table.rows] == ["1h", "2h"]


async def test_runs_without_a_name_can_be_told_apart(tmp_path, dashboard, text, size, until) -> None:
    spec = TrainingSpec(base_model="Qwen/Qwen2.5-VL-7B-Instruct", dataset="/data/receipts-of-all-shops/train.jsonl")
    folders = [RunFolder.create(tmp_path, spec) for _ in range(2)]
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.screen.table.rows)
        await until(pilot, lambda: all(re.search(f"receipts.*{folder.id[-4:]} ", text(app)) for folder in folders))
        assert {row.title for row in app.screen.table.rows} == {
            f"receipts-of-all-shops · Qwen2.5-VL-7B-Instruct · {folder.id[-4:]}" for folder in folders
        }


async def test_the_log_of_a_replay_is_at_the_replayed_step(tmp_path, dashboard, size, until) -> None:
    with synthetic_home(tmp_path / "home", (SyntheticRun("done", "finished", 200, 200, 7_300),)) as home:
        app = dashboard(home)
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.screen.table.rows)
            app.open_replay(app.screen.table.rows[0].folder)
            await until(pilot, lambda: isinstance(app.screen, ReplayScreen) and app.screen.detail is not None)
            screen = app.screen

            def logged() -> int:
                lines = [line for line in screen.query_one(LogPane).all_lines if line.startswith("step")]
                return int(lines[-1].split()[1]) if lines else 0

            await until(pilot, lambda: screen.detail.row.step > 3)
            assert logged() <= screen.detail.row.step < 200
            screen.action_skip()
            await until(pilot, lambda: logged() == 200)
            screen.action_again()
            await until(pilot, lambda: logged() < 150)


# --- datasets


def _write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def _open(app, pilot, until, dataset: Path, **options: str) -> DatasetScreen:
    await app.push_screen(DatasetScreen(str(dataset), options))
    await until(pilot, lambda: app.screen.dataset is not None and app.screen.row_detail is not None)
    return app.screen


async def test_a_conversation_of_several_turns_pairs_question_and_answer(tmp_path, dashboard, text, until) -> None:
    turns = [("user", "first?"), ("assistant", "one"), ("user", "second?"), ("assistant", "two")]
    messages = [{"role": role, "content": content} for role, content in turns]
    data = _write_rows(tmp_path / "chat.jsonl", [{"messages": messages, "images": []}])
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _open(app, pilot, until, data)
        await until(pilot, lambda: "first?" in text(app))
        (row,) = [line for line in text(app).splitlines() if "first?" in line and " 1 " in line[:12]]
        assert "one" in row and "+1 more" in row and "two" not in row
        assert screen.row_detail is not None
        assert (screen.row_detail.question, screen.row_detail.answer) == ("first?", "one")


async def test_reading_options_name_the_fields_that_are_read(tmp_path, dashboard, text, until) -> None:
    messages = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": "that"}]
    data = _write_rows(tmp_path / "chat.jsonl", [{"messages": messages}])
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(100, 30)) as pilot:
        await _open(app, pilot, until, data)
        await pilot.press("m")
        await until(pilot, lambda: "Conversation" in text(app))
        shown = text(app)
        assert "found: messages" in shown and "none found" in shown
        assert "found: text" not in shown and "found: response" not in shown and "found: image" not in shown


async def test_images_of_a_folder_beside_are_found_and_offered(tmp_path, dashboard, text, until) -> None:
    photo = Path(str(files("mg_tui.data.synthetic") / "photos" / "chelsea.jpg")).read_bytes()
    (tmp_path / "data" / "photos").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "data" / "photos" / f"{number}.jpg").write_bytes(photo)
    rows = [{"text": "what?", "image": f"photos/{number}.jpg", "response": "a cat"} for number in range(3)]
    data = _write_rows(tmp_path / "data" / "annotations" / "train.jsonl", rows)
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _open(app, pilot, until, data)
        await until(pilot, lambda: f"--image-root {tmp_path / 'data'}" in " ".join(text(app).replace("│", " ").split()))
        await pilot.press("m")
        await until(pilot, lambda: "Image root" in text(app))
        await pilot.press("down", "down", "down", "down", "down", "down", "down", "right")
        await until(pilot, lambda: "3 of 3 missing images" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: screen.row_detail is not None and screen.row_detail.images[0].path is not None)
        assert screen.dataset is not None and screen.dataset.run_options()["image_root"] == str(tmp_path / "data")


@pytest.mark.parametrize(("pane", "shown"), [("findings", "cannot be trained on"), ("sizes", "Tokens per row")])
async def test_a_pane_that_was_hidden_at_the_end_of_a_check_shows_it(
    tmp_path, dashboard, text, until, monkeypatch, pane, shown
) -> None:
    monkeypatch.setattr("mg_tui.tui.datasets.checker.DatasetChecker.start", lambda self: None)
    data = _write_rows(tmp_path / "rows.jsonl", [{"text": "what?", "response": "that"} for _ in range(3)])
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _open(app, pilot, until, data)
        screen.action_check()
        screen._show_pane(pane)
        await until(pilot, lambda: "Checking rows and images" in text(app))
        screen.action_row()
        await pilot.pause(0.1)
        histogram = Histogram({100: 10, 300: 20})
        report = CheckReport("rows", 30, 28, 0, 0, (), {}, {}, total_tokens=histogram, pixels=Histogram({50_000: 30}))
        checker = screen._checker
        assert checker is not None
        screen.on_check_ended(CheckEnded(checker, report, None))
        await pilot.pause(0.1)
        screen._show_pane(pane)
        await until(pilot, lambda: shown in text(app) and "Checking rows" not in text(app))
