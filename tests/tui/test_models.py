"""The place of models: the list, a chat, before and after; engine programs are stood in for."""

import json
import threading
from typing import Any

import pytest
from textual.widgets import Input

from mg_tui.core.errors import RunFailed, UsageError
from mg_tui.runs import recents
from mg_tui.runs.store import run_folders
from mg_tui.tui.models.conversation import ChatQuestion, Exchange, build_messages
from mg_tui.tui.models.evaluated_row import EvaluatedRow
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.evaluate import EvaluateScreen
from mg_tui.tui.screens.job_form import JobForm
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.screens.picker import PickScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.models.model_table import ModelTable
from tests.tui.synthetic_places import fake_engine, make_result, photo
from tests.tui.synthetic_runs import HOSTILE, SyntheticRun, synthetic_home

pytestmark = pytest.mark.asyncio

READY = {"event": "ready", "model": "m", "device": "cpu", "dtype": "float32", "quantization": "none"}


def _answer(text, **more):
    return {
        "event": "answer",
        "answer": text,
        "tokens": 3,
        "tokens_per_second": 12.5,
        "first_token_seconds": 0.2,
        "images": [{"path": "p", "size": [451, 300], "seen_at": [448, 308]}],
        "image_tokens": 176,
        "ended": "end",
        **more,
    }


@pytest.fixture
def results(tmp_path):
    make_result(tmp_path, "receipts", eval_loss=0.4123, exact_match=0.87)
    make_result(tmp_path, "receipts-whole", kind="merged", ago=60.0)
    broken = tmp_path / "models" / "torn"
    broken.mkdir()
    (broken / "model_garden.json").write_text("{")
    return tmp_path


@pytest.fixture
def engine(monkeypatch):
    def install(**script):
        kind = fake_engine({"load": [READY], **script})
        monkeypatch.setattr("mg_tui.runs.engine_process.EngineProcess", kind)
        return kind.requests

    return install


async def _models(app, pilot, until) -> ModelTable:
    await pilot.press("4")
    await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and app.screen.rows)
    return app.screen.query_one(ModelTable)


async def _select(table, pilot, until, kind):
    await until(pilot, lambda: any(row.kind == kind for row in table.rows))
    table.move(next(index for index, row in enumerate(table.rows) if row.kind == kind))
    await pilot.pause()


async def test_results_and_base_models_with_what_is_known_of_them(results, dashboard, size, text, until) -> None:
    app = dashboard(results)
    async with app.run_test(size=size) as pilot:
        table = await _models(app, pilot, until)
        screen_text = text(app)
        for part in ("◈ adapter", "◆ merged", "✗ broken", "○ base", "0.4123", "87%", "tiny"):
            assert part in screen_text, part
        assert [row.kind for row in table.rows if row.is_result] == ["merged", "adapter"]  # newest first
        await _select(table, pilot, until, "broken")
        await until(pilot, lambda: "cannot be read" in text(app))
        await pilot.press("slash", *"receipts", "enter")
        await until(pilot, lambda: len(table.rows) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: len(table.rows) == len(app.screen.rows))
        await pilot.press("slash", *"zzz")
        await until(pilot, lambda: "No model matches zzz" in text(app))


async def test_a_plugin_that_breaks_is_said(tmp_path, dashboard, text, until, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.tui.screens.models.find_models", lambda home: 1 / 0)
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "cannot list the models" in text(app) and "division" in text(app))
        await until(pilot, lambda: "No models yet" in text(app))


async def test_an_answer_comes_piece_by_piece(results, dashboard, size, text, until, engine) -> None:
    hold = threading.Event()

    def generate(child, fields):
        yield {"event": "text", "text": "A tabby "}
        hold.wait(8)
        yield {"event": "text", "text": "cat."}
        yield _answer("A tabby cat.")

    requests = engine(generate=generate)
    app = dashboard(results)
    async with app.run_test(size=size) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "adapter")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen) and "✓ ready" in text(app))
        await pilot.press("ctrl+o")
        assert isinstance(app.screen, PickScreen)
        app.screen.query_one("#path", Input).value = str(photo("chelsea"))
        await pilot.pause(0.1)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen) and "▀▀▀▀▀▀" in text(app))
        await pilot.press(*"what is it?", "enter")
        await until(pilot, lambda: "A tabby ▌" in text(app) and "answering" in text(app))
        hold.set()
        await until(pilot, lambda: "A tabby cat." in text(app) and "176 image tokens" in text(app))
        joined = " ".join(text(app).replace("▀", " ").split())  # the image is beside it
        assert "451x300 resized to 448x308" in joined
        [sent] = [fields for op, fields in requests if op == "generate"]
        assert sent["messages"] == [{"role": "user", "text": "what is it?", "images": [str(photo("chelsea"))]}]
        assert recents.read(results, "images")[0].reference == str(photo("chelsea"))
        await pilot.press(*"and now?", "enter")
        chat: Any = app.screen
        await until(pilot, lambda: len(chat.exchanges) == 2 and chat.exchanges[1].finished)
        *_others, (_op, last) = [item for item in requests if item[0] == "generate"]
        assert [turn["role"] for turn in last["messages"]] == ["user", "assistant", "user"]
        await pilot.press("ctrl+n")
        await until(pilot, lambda: not chat.exchanges)
        assert app.screen.query_one(ImageBox).count == 1  # the image stays
        await pilot.press("ctrl+l")
        assert app.screen.query_one(ImageBox).count == 0
        await pilot.press("pageup", "pagedown", "escape")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))


async def test_escape_ends_an_answer_and_then_leaves(results, dashboard, text, until, engine) -> None:
    def generate(child, fields):
        yield {"event": "text", "text": "Once upon"}
        child.cancelled.wait(8)
        yield _answer("Once upon", ended="cancelled")

    requests = engine(generate=generate)
    app = dashboard(results)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "merged")
        await pilot.press("enter")
        await until(pilot, lambda: "✓ ready" in text(app))
        await pilot.press(*"tell", "enter")
        await until(pilot, lambda: "Once upon▌" in text(app))
        screen = app.screen
        await pilot.press("escape")
        await until(pilot, lambda: "cancelled" in text(app) and app.screen is screen)
        assert ("cancel", {}) in requests
        child = screen._engine._child
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not screen and not child.alive)  # its memory is freed


async def test_what_cannot_be_loaded_is_a_band_and_is_tried_again(
    results, dashboard, size, text, until, engine
) -> None:
    refused = [
        UsageError("the adapter's weights are missing", where=HOSTILE, why=HOSTILE, hint="copy the folder again")
    ]

    def load(child, fields):
        return refused.pop() if refused else [READY]

    engine(load=load, generate=[_answer("yes")])
    app = dashboard(results)
    async with app.run_test(size=size) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "adapter")
        await pilot.press("enter")
        await until(pilot, lambda: "weights are missing" in text(app) and "not loaded" in text(app))
        assert "[bold red]no[/]" in text(app) and "\x1b" not in text(app)
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: "model     yes" in text(app))
        assert "weights are missing" not in text(app)


async def test_a_question_asked_while_loading_is_lost_with_it(results, dashboard, text, until, engine) -> None:
    hold = threading.Event()

    def load(child, fields):
        hold.wait(8)
        return UsageError("the adapter's weights are missing")

    engine(load=load, generate=UsageError("no model is loaded"))
    app = dashboard(results)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "adapter")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await pilot.press(*"hello", "enter")
        await until(pilot, lambda: "hello" in text(app) and "loading" in text(app))
        hold.set()
        await until(pilot, lambda: "✗         no answer" in text(app))
        assert "weights are missing" in text(app) and "no model is loaded" not in text(app)
        assert "not loaded" in text(app)


async def test_an_answer_that_fails_is_said_and_the_chat_goes_on(results, dashboard, text, until, engine) -> None:
    replies = [_answer(HOSTILE), RunFailed("the engine process ended without an answer (killed by signal 9)")]

    def generate(child, fields):
        reply = replies.pop()
        if isinstance(reply, RunFailed):
            child.alive = False
            return reply
        return [reply]

    requests = engine(generate=generate)
    app = dashboard(results)
    async with app.run_test(size=(120, 40)) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "adapter")
        await pilot.press("enter")
        await until(pilot, lambda: "✓ ready" in text(app))
        await pilot.press(*"one", "enter")
        await until(pilot, lambda: "killed by signal 9" in text(app) and "no answer" in text(app))
        await pilot.press(*"two", "enter")
        await until(pilot, lambda: "[@click=app.detach]q[/]" in text(app))
        assert [op for op, _fields in requests] == ["load", "generate", "load", "generate"]  # loaded anew
        assert not any(ord(character) < 32 and character != "\n" for character in text(app))


async def test_before_and_after_side_by_side(results, dashboard, size, text, until, engine) -> None:
    def row(number, expected, before, after):
        return {
            "row": number, "images": [str(photo("rocket"))], "prompt": f"q{number} {HOSTILE}", "expected": expected,
            "answer": after, "base_answer": before,
        }  # fmt: skip

    rows = [row(4, "a", "x", "a"), row(9, "b", "b", "x"), row(12, "c", "c", "c"), row(31, "d", "x", HOSTILE)]
    events = [
        {"event": "notice", "text": "the rows that were held out"},
        {"event": "progress", "which": "rows", "done": 4, "total": 4, "rows": rows},
        {"event": "exam", "rows": rows, "total": 4, "ended": "end", "seconds": 1.0},
    ]
    requests = engine(exam=events, generate=[_answer("a")])
    app = dashboard(results)
    async with app.run_test(size=size) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "adapter")
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, EvaluateScreen) and "exact match 50%" in text(app))
        for part in ("before 50%", "▲ 1 better", "▼ 1 worse", "▲ better", "▼ worse", "✓ right", "✗ wrong", "▀▀▀▀"):
            await until(pilot, lambda part=part: part in text(app))
        assert dict(requests)["exam"]["base_too"] is True
        await pilot.press("f")
        await until(pilot, lambda: "fixed" in text(app) and "✗ wrong" not in text(app))
        await pilot.press("f", "f", "j")
        await until(pilot, lambda: "wrong" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await until(pilot, lambda: "[bold red]" in app.screen.query_one("#ask").value)
        assert not any(ord(character) < 32 and character != "\n" for character in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen.exchanges and app.screen.exchanges[0].finished)
        question = next(fields for op, fields in requests if op == "generate")["messages"][0]["text"]
        assert question in {row["prompt"] for row in rows}  # as the row has it, not as it was shown
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, EvaluateScreen))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        # The score is kept, and takes the place of what the run itself measured.
        await until(pilot, lambda: any(row.exact_match == 0.5 for row in app.screen.rows) and "50%" in text(app))


async def test_nothing_held_out_is_said_and_another_dataset_is_taken(results, dashboard, text, until, engine) -> None:
    def exam(child, fields):
        if "dataset" not in fields:
            return UsageError("this run held no rows out", hint="give a dataset it was not trained on")
        return [{"event": "exam", "rows": [], "total": 0, "ended": "end", "seconds": 0.1}]

    requests = engine(exam=exam)
    (results / "other.jsonl").write_text("{}\n")
    app = dashboard(results)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "merged")
        await pilot.press("b")
        await until(pilot, lambda: "held no rows out" in text(app) and "Press a to choose another dataset" in text(app))
        await pilot.press("a")
        app.screen.query_one("#path", Input).value = str(results / "other.jsonl")
        await pilot.pause(0.1)
        await pilot.press("enter")
        await until(pilot, lambda: len([op for op, _ in requests if op == "exam"]) == 2)
        last = [fields for op, fields in requests if op == "exam"][-1]
        assert last["dataset"] == str(results / "other.jsonl") and last["base_too"] is False


async def test_another_model_is_opened_by_its_name(tmp_path, dashboard, text, until, engine) -> None:
    requests = engine()
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await _models(app, pilot, until)
        await pilot.press("o", *"me/mine", "enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen) and requests)
        assert requests[0] == ("load", {"model": "me/mine", "home": str(tmp_path)})
        assert recents.read(tmp_path, "models")[0].reference == "me/mine"


async def test_from_a_result_to_its_run(tmp_path, dashboard, text, until) -> None:
    with synthetic_home(tmp_path, (SyntheticRun("receipts", "finished", 4, 4, 900.0),)) as home:
        [run] = run_folders(home)
        folder = make_result(home, "elsewhere")
        contract = json.loads((folder / "model_garden.json").read_text())
        run.model_dir.mkdir()
        (run.model_dir / "model_garden.json").write_text(json.dumps({**contract, "run": run.id}))
        app = dashboard(home)
        async with app.run_test(size=(120, 40)) as pilot:
            table = await _models(app, pilot, until)
            await until(pilot, lambda: run.id in text(app))
            table.move(next(at for at, row in enumerate(table.rows) if row.run is None and row.is_result))
            await pilot.press("r")
            assert isinstance(app.screen, ModelsScreen)  # its run is not known
            table.move(next(at for at, row in enumerate(table.rows) if row.run == run.id))
            await pilot.press("r")
            await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.folder.id == run.id)


async def test_an_examination_is_stopped_and_its_rows_stay(results, dashboard, text, until, engine) -> None:
    row = {"row": 1, "images": [], "prompt": "q", "expected": "a", "answer": "a", "base_answer": "b"}

    def exam(child, fields):
        yield {"event": "progress", "which": "rows", "done": 1, "total": 9, "rows": [row]}
        child.cancelled.wait(8)
        yield {"event": "exam", "rows": [row], "total": 9, "ended": "cancelled", "seconds": 1.0}

    requests = engine(exam=exam)
    app = dashboard(results)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "adapter")
        await pilot.press("b")
        await until(pilot, lambda: "1/9 rows" in text(app))
        await pilot.press("x")
        await until(pilot, lambda: any("stopped after 1 row" in item.text for item in app.message_log))
        assert ("cancel", {}) in requests and "▲ better" in text(app) and "1/9 rows" not in text(app)


async def test_file_names_do_nothing_to_the_terminal(tmp_path, dashboard, text, until, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[red]a\x1b[2J\u202e").mkdir()
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4", "o")
        await until(pilot, lambda: "[red]a" in text(app))
        await pilot.press("tab")
        await until(pilot, lambda: "unprintable characters" in text(app))
        assert (
            app.screen.query_one("#path", Input).value == "" and "\x1b" not in text(app) and "\u202e" not in text(app)
        )


async def test_questions_are_left_with_escape(results, dashboard, until) -> None:
    app = dashboard(results)
    async with app.run_test(size=(80, 24)) as pilot:
        table = await _models(app, pilot, until)
        await _select(table, pilot, until, "adapter")
        for key, screen in (("m", JobForm), ("w", JobForm), ("c", JobForm), ("p", JobForm), ("o", PickScreen)):
            await pilot.press(key)
            assert isinstance(app.screen, screen)
            await pilot.press("down", "up", "pagedown", "pageup", "escape")
            assert isinstance(app.screen, ModelsScreen)


async def test_any_size(results, dashboard, until, engine) -> None:
    engine()
    app = dashboard(results)
    async with app.run_test(size=(60, 20)) as pilot:
        table = await _models(app, pilot, until)
        for keys in ((), ("enter",)):
            await _select(table, pilot, until, "adapter") if keys else None
            await pilot.press(*keys)
            for width, height in ((250, 80), (20, 6), (80, 24)):
                await pilot.resize_terminal(width, height)
                await pilot.pause()


async def test_a_lost_question_is_not_part_of_the_conversation() -> None:
    whole = Exchange(ChatQuestion("one"), "1", generation={"tokens": 1})
    lost = Exchange(ChatQuestion("two"), "", error="no answer")
    texts = [turn["text"] for turn in build_messages([whole, lost], ChatQuestion("three"))]
    assert texts == ["one", "1", "three"]


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [("x", "a ", "better"), ("a", "b", "worse"), ("a", " a", "right"), ("b", "c", "wrong"), (None, "a", "right")],
)
async def test_verdicts(before, after, verdict) -> None:
    assert EvaluatedRow(1, (), "q", "a", after, before).verdict == verdict


async def test_recent_images_have_the_key_of_earlier_versions(tmp_path) -> None:
    (tmp_path / recents.FILE_NAME).write_text('{"pictures": [{"given": "/a.jpg", "when": 1.0}]}')
    assert [item.reference for item in recents.read(tmp_path, "images")] == ["/a.jpg"]
    recents.remember(tmp_path, "images", "/b.jpg")
    written = json.loads((tmp_path / recents.FILE_NAME).read_text())
    assert [item["given"] for item in written["pictures"]] == ["/b.jpg", "/a.jpg"]


async def test_recents_survive_a_broken_file(tmp_path) -> None:
    (tmp_path / recents.FILE_NAME).write_text("{not json")
    assert recents.read(tmp_path, "models") == []
    recents.remember(tmp_path, "models", HOSTILE)
    recents.remember(tmp_path, "models", "b")
    recents.remember(tmp_path, "models", HOSTILE)
    assert [item.reference for item in recents.read(tmp_path, "models")] == [HOSTILE, "b"]
    recents.forget(tmp_path, "models", "b")
    assert [item.reference for item in recents.read(tmp_path, "models")] == [HOSTILE]
    assert json.loads((tmp_path / recents.FILE_NAME).read_text())["models"]
