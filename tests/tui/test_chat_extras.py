"""A chat's history, sampling, retry and copy; and the key to it from a finished run."""

from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from mg_tui.core.errors import UsageError
from mg_tui.runs.store import find_run
from mg_tui.tui.engine_client import EngineClient, EngineEvent
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.models.chat_memory import ChatSampling, QuestionHistory, parse_sampling, read_sampling
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.screens.run import RunScreen
from tests.tui.synthetic_runs import synthetic_home


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the engine is asked to generate, in order."""
    asked: list[dict[str, Any]] = []

    def request(self: EngineClient, op: str, **fields: Any) -> None:
        if op == "generate":
            asked.append(fields)

    monkeypatch.setattr(EngineClient, "request", request)
    return asked


def _answer(screen: ChatScreen, text: str) -> None:
    event = {"event": "answer", "answer": text, "tokens": 3, "first_token_seconds": 0.1}
    screen.post_message(EngineEvent(screen._engine, "generate", event, True))


async def _chat(app, pilot, until) -> ChatScreen:
    app.push_screen(ChatScreen(ModelRow("tiny", "base", "tiny")))
    await until(pilot, lambda: isinstance(app.screen, ChatScreen) and isinstance(app.focused, Input))
    screen = app.screen
    ready = {"event": "ready", "device": "cpu", "dtype": "float32", "quantization": "none"}
    screen.post_message(EngineEvent(screen._engine, "load", ready, True))
    return screen


@pytest.mark.asyncio
async def test_history_retry_and_the_answer_as_text(tmp_path, dashboard, size, until, requests) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _chat(app, pilot, until)
        await pilot.press(*"what is it?", "enter")
        _answer(screen, "A cat.")
        await until(pilot, lambda: screen.exchanges and screen.exchanges[0].finished)
        await pilot.press("ctrl+g")
        assert [item["messages"] for item in requests] == [requests[0]["messages"]] * 2
        assert len(screen.exchanges) == 1 and not screen.exchanges[0].finished
        _answer(screen, "A dog.")
        await until(pilot, lambda: screen.exchanges[0].finished)
        await pilot.press("ctrl+y")
        await until(pilot, lambda: isinstance(app.screen, PlainTextScreen))
        assert app.screen.text == "A dog."
        await pilot.press("escape", *"and where?", "enter")
        _answer(screen, "Here.")
        await until(pilot, lambda: len(screen.exchanges) == 2 and screen.exchanges[1].finished)
        field = screen.query_one("#ask", Input)
        await pilot.press(*"half", "up")
        assert field.value == "and where?"
        await pilot.press("up", "up")
        assert field.value == "what is it?"
        await pilot.press("down", "down")
        assert field.value == "half"
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _chat(app, pilot, until)
        await pilot.press("up")
        assert screen.query_one("#ask", Input).value == "and where?"


@pytest.mark.asyncio
async def test_sampling_is_sent_shown_and_kept(tmp_path, dashboard, size, text, until, requests) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _chat(app, pilot, until)
        await pilot.press("f3", "ctrl+u", *"temperature=0.7 seed=3", "enter")
        await until(pilot, lambda: app.screen is screen and "temperature=0.7" in text(app))
        await pilot.press(*"hi", "enter")
        expected = {"temperature": 0.7, "top_p": 1.0, "max_new_tokens": 512, "seed": 3}
        assert {name: requests[0][name] for name in expected} == expected
        await pilot.press("f3", "ctrl+u", *"warmth=1", "enter")
        await until(pilot, lambda: any("There is no 'warmth'" in notice.message for notice in app._notifications))
    assert read_sampling(tmp_path) == ChatSampling(temperature=0.7, seed=3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("temprature=1", "did you mean temperature"),
        ("temperature=warm", "got 'warm'; give a number from 0"),
        ("top_p=0", "greater than 0"),
        ("temperature=nan", "give a number"),
        ("max_new_tokens=0", "whole number from 1"),
        ("seed=-1", "at least 0"),
    ],
)
def test_sampling_that_means_nothing(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_sampling(text)


def test_sampling_is_read_as_it_is_written() -> None:
    for sampling in (ChatSampling(), ChatSampling(0.7, 0.9, 64, 12)):
        assert parse_sampling(sampling.as_text()) == sampling


@pytest.mark.parametrize("kept", ["", "[]", '{"questions": 3, "sampling": 3}', '{"sampling": "warmth=1"}'])
def test_a_file_that_means_nothing(tmp_path: Path, kept: str) -> None:
    (tmp_path / "chat.json").write_text(kept)
    assert read_sampling(tmp_path) == ChatSampling()
    assert QuestionHistory(tmp_path).step(-1, "x") is None


@pytest.mark.asyncio
async def test_from_a_finished_run(tmp_path, dashboard, size, until, requests) -> None:
    with synthetic_home(tmp_path / "home") as home:
        app = dashboard(home)
        async with app.run_test(size=size) as pilot:
            app.open_run(find_run(home, "receipts-lora-r32"))
            await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None)
            await pilot.press("C")
            await until(pilot, lambda: isinstance(app.screen, ChatScreen))
            assert app.screen.model.reference == "/data/models/receipts"
            await pilot.press("escape", "escape")
            app.open_run(find_run(home, "handwriting"))
            await until(pilot, lambda: isinstance(app.screen, RunScreen) and app.screen.detail is not None)
            await pilot.press("C")  # it made no result
            assert not isinstance(app.screen, ChatScreen)
