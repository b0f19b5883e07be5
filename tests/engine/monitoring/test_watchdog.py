"""What is said before somebody wonders."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.engine.monitoring.watchdog import MEMORY_BASELINE_STEPS, MEMORY_GROWTH_BYTES, ZERO_LOSS_STEPS, Watchdog
from mg_tui.runs.journal import JournalReader, JournalWriter

GIB = 1 << 30


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[JournalWriter]:
    with JournalWriter(tmp_path / "events.jsonl") as writer:
        yield writer


def read_warnings(journal: JournalWriter) -> list[dict[str, Any]]:
    return [dict(event.data) for event in JournalReader(journal.path).read_new() if event.kind == "warning"]


def feed_steps(dog: Watchdog, losses: list[float], memory: list[int] | None = None, start: int = 1) -> None:
    for number, loss in enumerate(losses):
        dog.step(start + number, loss=loss, seconds=1.0, host_memory=memory[number] if memory else None)


def test_a_loss_of_exactly_zero_is_said_once_a_streak(journal: JournalWriter) -> None:
    dog = Watchdog(journal)
    feed_steps(
        dog, [0.0] * (ZERO_LOSS_STEPS - 1) + [1e-9] + [0.0] * (ZERO_LOSS_STEPS + 3) + [1.0] + [0.0] * ZERO_LOSS_STEPS
    )
    assert [result["where"] for result in read_warnings(journal)] == ["steps 6 to 10", "steps 15 to 19"]


def test_memory_that_grows_is_said_each_time_it_has_grown_as_much_again(journal: JournalWriter) -> None:
    dog = Watchdog(journal)
    sizes = [4 * GIB] * MEMORY_BASELINE_STEPS + [5 * GIB] * 10 + [7 * GIB] * 10 + [11 * GIB] * 5
    feed_steps(dog, [1.0] * len(sizes), sizes)
    messages = [result["what"] for result in read_warnings(journal)]
    assert len(messages) == 2
    assert "from 4.0 GiB to 7.0 GiB" in messages[0] and "from 7.0 GiB to 11.0 GiB" in messages[1]


def test_a_small_process_may_double(journal: JournalWriter) -> None:
    dog = Watchdog(journal)
    sizes = [MEMORY_GROWTH_BYTES // 4] * MEMORY_BASELINE_STEPS + [MEMORY_GROWTH_BYTES // 2] * 10
    feed_steps(dog, [1.0] * len(sizes), sizes)
    assert read_warnings(journal) == []


def test_a_standstill_is_said_once_with_every_stack(journal: JournalWriter, capfd: pytest.CaptureFixture[str]) -> None:
    moment = [0.0]
    dog = Watchdog(journal, patience=100, clock=lambda: moment[0])
    moment[0] = 1000
    assert not dog.check_stall(), "nothing has begun"
    feed_steps(dog, [1.0] * 3)
    moment[0] += 99
    assert not dog.check_stall()
    moment[0] += 2
    assert dog.check_stall()
    assert not dog.check_stall(), "once"
    (result,) = read_warnings(journal)
    assert "no step has been done for 101 seconds" in result["what"]
    assert "test_a_standstill_is_said_once_with_every_stack" in result["stack"]
    assert "test_watchdog.py" in capfd.readouterr().err
    feed_steps(dog, [1.0], start=4)
    moment[0] += 101
    assert dog.check_stall(), "and again after it went on"


def test_slow_steps_are_no_standstill(journal: JournalWriter) -> None:
    moment = [0.0]
    dog = Watchdog(journal, patience=100, clock=lambda: moment[0])
    for step in range(1, 5):
        dog.step(step, loss=1.0, seconds=60.0, host_memory=None)
    moment[0] += 1100
    assert not dog.check_stall()
    moment[0] += 200
    assert dog.check_stall()


def test_an_evaluation_is_no_standstill(journal: JournalWriter) -> None:
    moment = [0.0]
    dog = Watchdog(journal, patience=100, clock=lambda: moment[0])
    feed_steps(dog, [1.0])
    dog.pause()
    moment[0] += 10_000
    assert not dog.check_stall()


def test_the_thread_sees_it(journal: JournalWriter) -> None:
    with Watchdog(journal, patience=0.1) as dog:
        dog.report_progress()
        deadline = time.monotonic() + 10
        while not read_warnings(journal):
            assert time.monotonic() < deadline
            journal.write("phase", name="meanwhile")  # both write
            time.sleep(0.01)
    numbers = [event.n for event in JournalReader(journal.path).read_new()]
    assert numbers == list(range(1, len(numbers) + 1))
