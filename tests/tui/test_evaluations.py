"""Evaluations in the dashboard, by keyboard: listed, started, stopped, resumed, browsed, and their rows written."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from textual.widgets import Input

from mg_tui.cli.main import cli
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.lock import RunLock
from mg_tui.runs.store import find_run, run_folders
from mg_tui.tui.evaluations.answers import AnswerView
from mg_tui.tui.evaluations.listing import EvaluationSubject, short_model
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.choose import ChooseScreen
from mg_tui.tui.screens.choose_model import ChooseModelScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.evaluation import ResultScreen
from mg_tui.tui.screens.evaluation_form import EvaluationForm
from mg_tui.tui.screens.evaluations import EvaluationListScreen
from mg_tui.tui.screens.hard_rows import HardRowsScreen
from mg_tui.tui.screens.image import ImageScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.evaluations.answers import AnswerTable
from mg_tui.tui.widgets.evaluations.list_table import EvaluationListTable
from mg_tui.tui.widgets.evaluations.scores import GroupTable
from mg_tui.tui.widgets.form.table import FormTable
from mg_tui.tui.widgets.models.model_table import ModelTable
from tests.tui.synthetic_evaluations import SyntheticEvaluation, add_answers, evaluate, make_rows
from tests.tui.synthetic_places import fake_engine, make_result
from tests.tui.synthetic_runs import HOSTILE, SyntheticRun, synthetic_home

pytestmark = pytest.mark.asyncio

RUN = SyntheticRun("receipts", "finished", 200, 200, 9_000, model="tiny")


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with synthetic_home(tmp_path / "home", (RUN,)) as home:
        yield home


@pytest.fixture
def dataset(tmp_path) -> Path:
    return make_rows(tmp_path / "papers.jsonl", 60)


async def _result(app, pilot, until, folder: EvaluationFolder) -> ResultScreen:
    await until(pilot, lambda: app.run_rows is not None)
    app.push_screen(ResultScreen(folder))
    await until(pilot, lambda: isinstance(app.screen, ResultScreen) and app.screen.detail is not None)
    screen = app.screen
    await until(pilot, lambda: not screen.detail.reading and len(screen.table.rows) == screen.detail.count)
    return screen


async def _read(pilot, until, screen: ResultScreen) -> None:
    """Wait until the row under the cursor was read."""
    await until(pilot, lambda: screen.current is not None)


def _current(screen: ResultScreen) -> AnswerView:
    assert screen.current is not None
    return screen.current


def _place(screen: ResultScreen) -> int:
    assert screen.table.current is not None
    return screen.table.current


def _numbers(screen: ResultScreen) -> list[int]:
    return [screen.table.number_at(place) for place in screen.table.rows]


# --- the list


async def test_evaluations_of_a_run_from_its_screen_and_of_all(own_home, dashboard, dataset, size, text, until) -> None:
    run = find_run(own_home, "receipts")
    evaluate(own_home, dataset, SyntheticEvaluation(model=run.id))
    evaluate(own_home, dataset, SyntheticEvaluation(model=f"{run.id}@150", answered=20, state="stopped", compare=None))
    evaluate(own_home, dataset, SyntheticEvaluation(model=str(run.path / "model"), state="failed", answered=0))
    evaluate(own_home, dataset, SyntheticEvaluation(model="tiny"))
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.open_run(run)
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail)
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EvaluationListScreen) and app.screen.items)
        table = app.screen.query_one(EvaluationListTable)
        await until(pilot, lambda: len(table.rows) == 3)
        screen_text = text(app)
        for part in ("✓ finished", "■ stopped", "✗ failed", "33%", "@150", "papers.jsonl"):
            assert part in screen_text, part
        assert {item.state.value for item in table.rows} == {"finished", "stopped", "failed"}
        await pilot.press("a")
        await until(pilot, lambda: len(table.rows) == 4 and "of all models" in text(app))
        await pilot.press("slash", *"tiny", "enter")
        await until(pilot, lambda: len(table.rows) == 1 and "tiny" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) == 4)
        await pilot.press("a", "escape")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))


async def test_progress_and_eta_of_a_running_one_come_by_themselves(own_home, dashboard, dataset, text, until) -> None:
    run = find_run(own_home, "receipts")
    folder = evaluate(own_home, dataset, SyntheticEvaluation(model=run.id, answered=20, state="running"))
    lock = RunLock(folder.lock_file).acquire()
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.open_run(run)
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail)
        await pilot.press("e")
        await until(pilot, lambda: "▶ running" in text(app) and "40/120 answers" in text(app))
        (item,) = app.screen.items
        assert item.eta is not None and item.progress == pytest.approx(40 / 120)
        assert not app.screen.check_action("resume", ()) and app.screen.check_action("stop", ())
        lock.release()
        await until(pilot, lambda: "↯ crashed" in text(app))
        assert app.screen.check_action("resume", ()) and not app.screen.check_action("stop", ())


async def test_stopping_resuming_and_deleting_ask_first(own_home, dashboard, dataset, text, until, monkeypatch) -> None:
    run = find_run(own_home, "receipts")
    running = evaluate(own_home, dataset, SyntheticEvaluation(model=run.id, answered=5, state="running"))
    lock = RunLock(running.lock_file).acquire()
    started = []
    monkeypatch.setattr("mg_tui.runs.launch.start_worker", lambda folder, gpus=None: started.append(folder))
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.push_screen(EvaluationListScreen(EvaluationSubject("receipts", run.id, frozenset({run.id})), lambda: None))
        await until(pilot, lambda: "▶ running" in text(app))
        await pilot.press("r")  # does not apply
        assert isinstance(app.screen, EvaluationListScreen)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen) and "10 of 120 answers" in text(app))
        await pilot.press("y")
        await until(pilot, lambda: list((running.path / "control").glob("*stop*")))
        lock.release()
        await until(pilot, lambda: "↯ crashed" in text(app))
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen) and "Resume" in text(app))
        await pilot.press("y")
        await until(pilot, lambda: started == [running])
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen) and "Delete" in text(app))
        await pilot.press("enter")  # on no
        assert running.path.exists()
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(pilot, lambda: not running.path.exists() and "No evaluations yet" in text(app))


async def test_the_evaluations_of_a_model(own_home, dashboard, dataset, text, until) -> None:
    folder = make_result(own_home, "receipts-7b")
    evaluate(own_home, dataset, SyntheticEvaluation(model=str(folder)))
    evaluate(own_home, dataset, SyntheticEvaluation(model="tiny", compare=str(folder)))
    evaluate(own_home, dataset, SyntheticEvaluation(model="other"))
    app = dashboard(own_home)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: app.screen.query(ModelTable) and app.screen.query_one(ModelTable).rows)
        table = app.screen.query_one(ModelTable)
        table.move([row.reference for row in table.rows].index(str(folder)))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, EvaluationListScreen) and app.screen.items)
        await until(pilot, lambda: len(app.screen.query_one(EvaluationListTable).rows) == 2)
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, EvaluationForm) and app.screen.draft)
        draft = app.screen.draft
        assert draft.model == str(folder)
        assert draft.value("dataset") == str(dataset)  # of the last evaluation of this model


# --- the form


async def _form(app, pilot, until, run) -> EvaluationForm:
    await until(pilot, lambda: app.run_rows)
    app.open_run(run)
    await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail)
    await pilot.press("E")
    await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
    return app.screen


async def test_an_evaluation_of_a_checkpoint_is_started_detached(
    own_home, dashboard, dataset, size, text, until, monkeypatch
) -> None:
    run, started = find_run(own_home, "receipts"), []
    monkeypatch.setattr("mg_tui.runs.launch.start_worker", lambda folder, gpus=None: started.append(folder))
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        await _form(app, pilot, until, run)
        assert "the result" in text(app) and "checkpoint of step 150" in text(app)
        await pilot.press("j", "j", "enter")  # the result, step 200, step 150
        await until(pilot, lambda: isinstance(app.screen, EvaluationForm) and app.screen.draft)
        form, table = app.screen, app.screen.query_one(FormTable)
        assert form.draft.model == f"{run.id}@150" and form.draft.value("compare") == "base"
        await until(pilot, lambda: table.current is not None and table.current.id == "dataset")  # what is missing
        await pilot.press("r")
        await until(pilot, lambda: any("Dataset is needed first" in n.message for n in app._notifications))
        form.set_value("dataset", str(dataset))
        table.go_to_field("metrics")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and "exact_match_folded" in text(app))
        await pilot.press("j", "space", "enter")
        await until(pilot, lambda: form.draft.value("metrics") == ("exact_match_folded",))
        table.go_to_field("limit")
        await pilot.press("enter", *"7", "enter")
        await until(pilot, lambda: form.draft.value("limit") in (7, "7"))
        await pilot.press("y")
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen))
        command = app.screen.text
        for part in (f"evaluate-vision {run.id}@150", "--compare base", "--limit 7", "--metrics exact_match_folded"):
            assert part in command, part
        await pilot.press("escape")
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen))
        (folder,) = run_folders(own_home, EvaluationFolder)
        assert started == [folder] and app.screen.folder == folder
        spec = folder.read_evaluation_spec()
        assert (spec.model, spec.limit, spec.compare) == (f"{run.id}@150", 7, "base")
        assert spec.metrics == ("exact_match_folded",) and spec.dataset == str(dataset)
        await until(pilot, lambda: "has not started yet" in text(app))


async def test_a_start_that_is_refused_says_why_and_makes_nothing(own_home, dashboard, dataset, text, until) -> None:
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.push_screen(EvaluationForm(EvaluationSubject("tiny", "tiny"), {"dataset": "nowhere.jsonl"}))
        await until(pilot, lambda: isinstance(app.screen, EvaluationForm) and app.screen.draft)
        await pilot.press("r")
        await until(pilot, lambda: app.screen.query_one(ErrorBand).error is not None)
        assert "nowhere.jsonl" in text(app)
        assert not (own_home / "evaluations").exists()
        app.screen.set_value("top_p", "0.5")
        await pilot.press("r")
        await until(pilot, lambda: any("Top-p cannot be used" in n.message for n in app._notifications))
        assert "requires a temperature" in text(app)


# --- one evaluation


async def test_rows_worst_first_only_some_by_group_and_by_metric(
    own_home, dashboard, dataset, size, text, until
) -> None:
    folder = evaluate(own_home, dataset, SyntheticEvaluation(errors=(4,)))
    summary = json.loads((folder.results_dir / "summary.json").read_text())
    records = [json.loads(line) for line in (folder.results_dir / "rows.jsonl").read_text().splitlines()]
    change = json.loads(folder.comparison_file.read_text())["metrics"][0]
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        screen = await _result(app, pilot, until, folder)
        await until(pilot, lambda: len(screen.table.rows) == 60)
        scores = {row["row"]: row["scores"]["exact_match_folded"] for row in records}
        assert _numbers(screen) == sorted(scores, key=lambda number: (scores[number], number))
        assert f"{summary['metrics'][0]['score']:.3f}" in text(app)
        assert f"▲ {len(change['fixed'])} fixed  ▼ {len(change['broken'])} broken" in text(app)
        shown = {}
        for _press in range(6):
            await pilot.press("f")
            shown[screen.choice.only] = set(_numbers(screen))
        assert shown == {
            "wrong": {number for number, score in scores.items() if score < 1},
            "changed": {*change["improved"], *change["worsened"]},
            "broken": set(change["broken"]),
            "fixed": set(change["fixed"]),
            "errors": {4},
            "all": set(scores),
        }
        assert shown["broken"] and shown["fixed"], "the test needs some of each"
        await pilot.press("o")
        assert _numbers(screen) == list(range(1, 61))
        await pilot.press("o", "m")
        assert screen.choice.metric == "anls"
        anls = {row["row"]: row["scores"]["anls"] for row in records}
        assert _numbers(screen) == sorted(anls, key=lambda number: (anls[number], number))
        await pilot.press("b")
        table = screen.query_one(GroupTable)
        await until(pilot, lambda: "95 % interval" in text(app) and len(table.rows) == 3)
        assert [row.value for row in table.rows] == [one["value"] for one in summary["groups"]["kind"]]
        worst = table.rows[0].value
        await pilot.press("enter")
        expected = {row["row"] for row in records if row["columns"]["kind"] == worst}
        await until(pilot, lambda: set(_numbers(screen)) == expected and worst in text(app))
        await pilot.press("escape")
        assert len(screen.table.rows) == 60
        await pilot.press("t")
        await until(pilot, lambda: "independent by image" in text(app))
        assert "1 row could not be answered" in text(app) and f"{summary['metrics'][1]['low']:.3f}" in text(app)


async def test_rows_with_the_words_typed(own_home, dashboard, dataset, size, text, until) -> None:
    folder = evaluate(own_home, dataset)
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        screen = await _result(app, pilot, until, folder)
        await until(pilot, lambda: len(screen.table.rows) == 60)
        await pilot.press("slash", *"Paper", "space", *"12", "question_mark")
        await until(pilot, lambda: _numbers(screen) == [12] and "“Paper 12?”" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: screen.current is not None and screen.current.number == 12)
        await pilot.press("slash", *"dollars")
        told = {n for n in range(1, 61) if _tells(folder, n, "dollars")}
        await until(pilot, lambda: set(_numbers(screen)) == told)
        assert len(told) > len({n for n in told if _tells(folder, n, "dollars", both=False)}), "of either answer"
        await pilot.press("enter", "f")
        await until(pilot, lambda: screen.choice.only == "wrong" and set(_numbers(screen)) < told)
        await pilot.press("slash", *"nowhere")
        await until(pilot, lambda: not _numbers(screen) and "No row: with “nowhere”, only wrong" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: not screen.query(Input) and len(screen.table.rows) > 0)
        assert screen.choice.only == "wrong" and not screen.choice.text
        await pilot.press("escape")
        await until(pilot, lambda: len(screen.table.rows) == 60)
        assert app.screen is screen


def _tells(folder: EvaluationFolder, number: int, word: str, *, both: bool = True) -> bool:
    """Whether the answer to a row, or to `both` also the one before, has a word."""
    folders = [folder.results_dir, *([folder.before_dir] if both else [])]
    rows = [json.loads((path / "rows.jsonl").read_text().splitlines()[number - 1]) for path in folders]
    return any(word in row["answer"] for row in rows)


async def test_a_row_with_both_answers_its_reference_and_its_image(
    own_home, dashboard, dataset, size, text, until, monkeypatch
) -> None:
    copied = []
    monkeypatch.setattr("mg_tui.tui.app.GardenApp.copy_to_clipboard", lambda self, text: copied.append(text))
    kind = fake_engine({"load": [{"event": "ready", "device": "cpu", "dtype": "float32", "quantization": "none"}]})
    monkeypatch.setattr("mg_tui.runs.engine_process.EngineProcess", kind)
    folder = evaluate(own_home, dataset, SyntheticEvaluation(model="tiny", errors=(4,)))
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        screen = await _result(app, pilot, until, folder)
        await pilot.press("o", "g", "j", "j", "j")
        await until(pilot, lambda: screen.current is not None and screen.current.number == 4)
        await until(pilot, lambda: "not answered: photo.jpg" in text(app))
        assert "! error" in text(app)
        await pilot.press("j")
        await until(pilot, lambda: screen.current is not None and screen.current.number == 5)
        row = _current(screen)
        await until(pilot, lambda: "row 5" in text(app) and "▀▀" in text(app) and row.images[0].name in text(app))
        for part in ("paper 5?", "35 euros", row.before, row.answer, "kind", "score"):
            assert part is not None and part in text(app), part
        await pilot.press("c")
        (copy,) = copied
        assert copy.splitlines()[:4] == [
            "row 5",
            "question: What is the total of paper 5?",
            "reference: 35 euros",
            f"before: {row.before}",
        ]
        assert f"answer: {row.answer}" in copy and str(row.images[0]) in copy
        await pilot.press("i")
        await until(pilot, lambda: isinstance(app.screen, ImageScreen) and "1 of 1" in text(app))
        await pilot.press("escape")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        assert app.screen.model.reference == "tiny"
        assert app.screen.query_one("#ask", Input).value == "What is the total of paper 5?"
        assert ("load", {"model": "tiny", "home": str(own_home)}) in kind.requests
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen))


async def test_a_row_of_a_server_s_evaluation_asks_which_model(own_home, dashboard, dataset, until) -> None:
    folder = evaluate(own_home, dataset, SyntheticEvaluation(model="served", compare=None))
    spec = json.loads(folder.spec_file.read_text())
    folder.spec_file.write_text(json.dumps({**spec, "endpoint": "http://localhost:1/v1"}))
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _result(app, pilot, until, folder)
        await _read(pilot, until, screen)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChooseModelScreen))


async def test_marked_rows_become_a_dataset_that_the_check_accepts(
    own_home, dashboard, dataset, tmp_path, text, until
) -> None:
    folder = evaluate(own_home, dataset)
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _result(app, pilot, until, folder)
        await pilot.press("w")  # nothing is marked
        assert isinstance(app.screen, ResultScreen)
        await pilot.press("f", "space", "space", "space")
        marked = set(screen.marked)
        assert len(marked) == 3 and "● 3 marked" in text(app)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, HardRowsScreen))
        assert "papers-hard.jsonl" in app.screen.query_one("#output", Input).value
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen) and "3 rows" in text(app))
    out = tmp_path / "papers-hard.jsonl"
    lines, rows = out.read_text().splitlines(), dataset.read_text().splitlines()
    assert lines == [rows[number - 1] for number in sorted(marked)]  # byte for byte, with every column
    checked = CliRunner().invoke(cli, ["datasets", "check", str(out), "--base-model", "tiny", "--json"])
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["rows"] == 3


async def test_all_shown_are_marked_and_a_changed_dataset_is_refused(
    own_home, dashboard, dataset, tmp_path, text, until
) -> None:
    folder = evaluate(own_home, dataset)
    rows = dataset.read_text().splitlines()
    dataset.write_text("\n".join([rows[-1], *rows[:-1]]) + "\n")  # every number means another row now
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _result(app, pilot, until, folder)
        await pilot.press("f", "M")
        assert screen.marked == set(_numbers(screen))
        await pilot.press("M")
        assert not screen.marked
        await pilot.press("M", "w")
        await until(pilot, lambda: isinstance(app.screen, HardRowsScreen))
        await pilot.press("enter")
        await until(pilot, lambda: any("is not the row that was evaluated" in n.message for n in app._notifications))
        assert isinstance(app.screen, ResultScreen) and screen.marked  # to try again
    assert not list(tmp_path.glob("*-hard*"))


async def test_a_file_that_cannot_be_written_is_said_where_it_is_typed(
    own_home, dashboard, dataset, text, until
) -> None:
    folder = evaluate(own_home, dataset)
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        await _result(app, pilot, until, folder)
        await pilot.press("space", "w")
        await until(pilot, lambda: isinstance(app.screen, HardRowsScreen))
        field = app.screen.query_one("#output", Input)
        for value, said in (("", "name a file"), (str(dataset), "already exists"), ("rows.txt", "ends with .jsonl")):
            field.value = value
            await pilot.press("enter")
            await until(pilot, lambda said=said: said in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen))


async def test_rows_of_a_running_evaluation_come_and_are_then_scored(own_home, dashboard, dataset, text, until) -> None:
    folder = evaluate(own_home, dataset, SyntheticEvaluation(answered=20, state="running", compare=None))
    lock = RunLock(folder.lock_file).acquire()
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _result(app, pilot, until, folder)
        await until(pilot, lambda: len(screen.table.rows) == 20)
        assert "20/60 answers" in text(app) and not screen.check_action("report", ())
        await pilot.press("j", "j", "space")
        assert screen.marked == {3}
        add_answers(folder, [30, 31])
        await until(pilot, lambda: len(screen.table.rows) == 22)
        with (folder.results_dir / "answers.jsonl").open("ab") as file:
            file.write(b'{"row": 32, "question"')  # it is being written
        await pilot.pause(0.3)
        assert len(screen.table.rows) == 22
        number = screen.table.number_at(_place(screen))
        other = evaluate(own_home, dataset, SyntheticEvaluation(compare=None))
        shutil.copy(other.results_dir / "rows.jsonl", folder.results_dir)
        shutil.copy(other.results_dir / "summary.json", folder.results_dir)
        shutil.copy(other.journal_file, folder.journal_file)
        lock.release()
        await until(pilot, lambda: "✓ finished" in text(app) and len(screen.table.rows) == 60)
        assert screen.table.number_at(_place(screen)) == number  # the cursor stays on its row
        assert screen.marked == {3} and "worst first" in text(app)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("summary.json", b"{", "it is not JSON"),
        ("summary.json", b'{"rows": 60, "metrics": [{"name": 3}], "groups": {}}', "metrics is not a list of scores"),
        ("rows.jsonl", b"", "it has 0 rows; the summary counts 60 rows"),
        ("rows.jsonl", b'{"row": 1}\nnonsense\n', "2 lines that are no rows"),
    ],
)
async def test_a_damaged_file_is_named_and_nothing_else_breaks(
    own_home, dashboard, dataset, text, until, file, content, said
) -> None:
    folder = evaluate(own_home, dataset)
    (folder.results_dir / file).write_bytes(content)
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _result(app, pilot, until, folder)
        await until(pilot, lambda: screen.query_one(ErrorBand).error is not None)
        error = screen.query_one(ErrorBand).error
        assert error is not None and "damaged" in error.what
        assert said in str(error.why) and str(error.where).endswith(file)
        assert "damaged" in text(app)
        await pilot.press("t", "b", "a", "f", "o", "m", "M", "h")
        await until(pilot, lambda: any("No report was written" in n.title for n in app._notifications))
        await pilot.press("escape")


async def test_a_file_that_changes_under_the_screen_is_said_in_the_row(
    own_home, dashboard, dataset, text, until
) -> None:
    folder = evaluate(own_home, dataset)
    app = dashboard(own_home)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _result(app, pilot, until, folder)
        await _read(pilot, until, screen)
        (folder.results_dir / "rows.jsonl").write_text("x\n" * 4_000)
        screen.table.forget()
        await until(pilot, lambda: "the file changed since it was opened" in text(app))


async def test_why_it_failed_its_log_and_its_folder(own_home, dashboard, dataset, text, until) -> None:
    folder = evaluate(own_home, dataset, SyntheticEvaluation(state="failed", answered=0))
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        await _result(app, pilot, until, folder)
        await until(pilot, lambda: "status 401" in text(app) and "who are you" in text(app))
        assert "MODEL_GARDEN_API_KEY" in text(app) and "No row was answered" in text(app)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen) and "loading receipts" in app.screen.text)
        await pilot.press("escape", "y")
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen) and app.screen.text == str(folder.path))


async def test_the_report_is_written_and_opened_only_where_there_is_a_window(
    own_home, dashboard, dataset, text, until, monkeypatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"):
        monkeypatch.delenv(name, raising=False)
    opened = []
    monkeypatch.setattr("mg_tui.tui.evaluations.commands.sys.platform", "linux")
    monkeypatch.setattr("mg_tui.tui.evaluations.commands.subprocess.Popen", lambda words, **_more: opened.append(words))
    folder = evaluate(own_home, dataset)
    report = folder.path / "report.html"
    app = dashboard(own_home)
    async with app.run_test(size=(120, 40)) as pilot:
        await _result(app, pilot, until, folder)
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen))
        assert app.screen.text == str(report) and "or send it" in app.screen.note and not opened
        assert "<html" in report.read_text() and "fixed" in report.read_text()
        await pilot.press("escape")
        monkeypatch.setenv("DISPLAY", ":0")
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen))
        assert opened == [["xdg-open", str(report)]] and "in a browser" in app.screen.note


async def test_text_of_rows_is_never_markup(own_home, dashboard, dataset, size, text, until) -> None:
    folder = evaluate(own_home, dataset, SyntheticEvaluation(answered=1, state="stopped", compare=None))
    line = json.loads((folder.results_dir / "answers.jsonl").read_text().splitlines()[0])
    hostile = {"question": HOSTILE, "answer": HOSTILE, "references": [HOSTILE], "columns": {HOSTILE: HOSTILE}}
    (folder.results_dir / "answers.jsonl").write_text(json.dumps({**line, **hostile}) + "\n")
    app = dashboard(own_home)
    async with app.run_test(size=size) as pilot:
        screen = await _result(app, pilot, until, folder)
        await _read(pilot, until, screen)
        await until(pilot, lambda: "[bold red]no[/]" in text(app))
        assert "\x1b" not in text(app) and "\u202e" not in text(app)


async def test_a_hundred_thousand_rows_are_read_only_where_they_are_seen(
    own_home, dashboard, dataset, text, until
) -> None:
    folder = evaluate(own_home, dataset, SyntheticEvaluation(compare=None, metrics=("exact_match_folded",)))
    first = json.loads((folder.results_dir / "rows.jsonl").read_text().splitlines()[0])
    with (folder.results_dir / "rows.jsonl").open("w") as file:
        for number in range(1, 100_001):
            file.write(json.dumps({**first, "row": number, "scores": {"exact_match_folded": float(number != 77_777)}}))
            file.write("\n")
    summary = json.loads((folder.results_dir / "summary.json").read_text())
    (folder.results_dir / "summary.json").write_text(json.dumps({**summary, "rows": 100_000}))
    app = dashboard(own_home)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.run_rows is not None)
        app.push_screen(ResultScreen(folder))
        await until(pilot, lambda: isinstance(app.screen, ResultScreen) and app.screen.query(AnswerTable))
        screen = app.screen
        await until(pilot, lambda: screen.detail.count == 100_000 and not screen.detail.reading, 60.0)
        await until(pilot, lambda: len(screen.table.rows) == 100_000 and "worst first" in text(app), 20.0)
        await pilot.press("g")
        await until(pilot, lambda: screen.current is not None and screen.current.number == 77_777)
        await pilot.press("G")
        await until(pilot, lambda: screen.current is not None and screen.current.number == 100_000)
        await pilot.press("f")
        assert _numbers(screen) == [77_777]
        assert len(screen.table.cached()) < 1_000
        assert screen.query_one(ErrorBand).error is None


# --- names


async def test_models_have_short_names(own_home, dataset) -> None:
    run = find_run(own_home, "receipts")
    assert short_model(run.id) == run.id[16:] and short_model(f"{run.id}@150") == f"{run.id[16:]}@150"
    assert short_model(str(run.path / "model")) == run.id[16:]
    assert short_model("owner/name") == "owner/name" and short_model(None) == ""
    assert short_model("/models/mine") == "mine" and short_model("20260101-abc") == "20260101-abc"
