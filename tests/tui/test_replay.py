"""A finished journal plays as a live screen."""

import pytest
from textual.message_pump import MessagePump

from mg_tui.core.events import Event
from mg_tui.runs.state import RunState
from mg_tui.runs.store import find_run
from mg_tui.tui.runs.replay_feed import ReplayFeed, ReplayUpdated
from mg_tui.tui.runs.replay_schedule import MAX_PAUSE_SECONDS, SPEEDS, ReplaySchedule
from mg_tui.tui.runs.snapshot import RunRow
from mg_tui.tui.screens.replay import ReplayBar, ReplayScreen


def _schedule(*times: float) -> ReplaySchedule:
    return ReplaySchedule([Event(number, time, "step") for number, time in enumerate(times, start=1)])


def test_events_come_when_they_are_due() -> None:
    schedule = _schedule(100.0, 101.0, 103.0)
    assert [event.n for event in schedule.advance(0.0)] == [1]
    assert [event.n for event in schedule.advance(0.5)] == [] and schedule.timestamp == 100.5
    assert [event.n for event in schedule.advance(5.0)] == [2, 3]
    assert schedule.finished and schedule.position == schedule.length == 3.0 and schedule.timestamp == 103.0
    schedule.rewind()
    assert not schedule.finished and [event.n for event in schedule.advance(1.0)] == [1, 2]


def test_long_pauses_are_cut_and_clocks_may_jump_back() -> None:
    schedule = _schedule(0.0, 90_000.0, 89_000.0, 89_001.0)
    assert schedule.length == MAX_PAUSE_SECONDS + 1.0


def test_nothing_to_play() -> None:
    schedule = _schedule()
    assert (
        schedule.finished and schedule.length == 0.0 and list(schedule.advance(1.0)) == [] and schedule.timestamp == 0.0
    )


def test_the_end_may_be_asked_for_before_the_journal_is_read(home) -> None:
    feed = ReplayFeed(MessagePump(), find_run(home, "receipts-lora-r32"), 1.0)
    feed.jump_to = "end"
    message = feed.read()
    assert isinstance(message, ReplayUpdated) and message.position == message.length > 0 and not feed.playing
    feed.jump_to = "start"
    message = feed.read()
    assert isinstance(message, ReplayUpdated) and message.position == 0.0


def _row(screen: ReplayScreen) -> RunRow:
    assert screen.detail is not None
    return screen.detail.row


@pytest.mark.asyncio
async def test_a_replay_is_a_live_screen_with_speed_keys(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.open_replay(find_run(home, "receipts-lora-r32"))
        screen = app.screen
        assert isinstance(screen, ReplayScreen)
        await until(pilot, lambda: screen.detail is not None and 0 < screen.detail.row.step < 240)
        assert _row(screen).state == RunState.RUNNING and "▶ replay" in text(app)
        await pilot.press("space")
        await until(pilot, lambda: "‖ paused" in text(app))
        step = _row(screen).step
        await pilot.pause(0.3)
        assert _row(screen).step == step
        await pilot.press("right_curly_bracket", "right_curly_bracket")
        assert f"{SPEEDS[5]:g}×" in text(app)
        await pilot.press("left_curly_bracket")
        assert f"{SPEEDS[4]:g}×" in text(app)
        await pilot.press("s", "c", "r", "v")  # a replay has nothing to stop or to resume
        assert app.screen is screen
        await pilot.press("space")
        await until(pilot, lambda: _row(screen).step > step)
        await pilot.press("end")
        await until(pilot, lambda: _row(screen).state == RunState.FINISHED and "■ replay ended" in text(app))
        assert "✓ finished" in text(app) and "240/240" in text(app)
        await pilot.press("home")
        await until(pilot, lambda: _row(screen).step < 200)
        position, length = screen.query_one(ReplayBar).played
        assert position < length
        await pilot.press("m", "plus", "escape")
        assert app.screen is not screen


@pytest.mark.asyncio
async def test_a_journal_that_is_gone_is_said(tmp_path, dashboard, until) -> None:
    from mg_tui.runs.folder import RunFolder

    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        (tmp_path / "gone").mkdir()
        app.open_replay(RunFolder(tmp_path / "gone"))
        await until(pilot, lambda: app.screen.detail is not None or app.message_log)
        assert app.is_running
