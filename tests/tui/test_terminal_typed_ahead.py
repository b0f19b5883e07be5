"""In a real terminal (tmux): bursts of keys that arrive in one read reach what they are for, and no run is lost.

Each kind that once did harm is sent `BURSTS` times; `pytest -m slow -s` prints how many reached their goal.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.conftest import TmuxSession
from tests.tui.fuzzing import tree_digest
from tests.tui.synthetic_evaluations import make_rows
from tests.tui.synthetic_places import make_result
from tests.tui.synthetic_runs import synthetic_home

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]
BURSTS = 18
MERGES = 4  # each starts a process that imports torch


@pytest.fixture
def garden(tmp_path) -> Iterator[Path]:
    """The home folder; nothing in it but logs and locks may change."""
    with synthetic_home(tmp_path / "home") as home:
        make_result(home, "receipts", eval_loss=0.4123)
        make_rows(tmp_path / "rows.jsonl", 40)
        before = tree_digest(home / "runs"), tree_digest(home / "models")
        yield home
        assert (tree_digest(home / "runs"), tree_digest(home / "models")) == before
        assert not (home / "trash").exists()


def _sized(in_tmux, tmp_path, size: tuple[int, int] = (80, 24)) -> TmuxSession:
    tmux = in_tmux(tmp_path, *size)
    tmux.wait_for("receipts-lora")
    return tmux


def _say(kind: str, reached: int) -> None:
    print(f"{kind}: {reached} bursts reached their goal, nothing was lost")


def test_letters_after_the_filter_key_of_runs(garden, tmp_path, in_tmux) -> None:
    tmux = _sized(in_tmux, tmp_path)
    for _ in range(BURSTS):
        tmux.type("/xylophone")
        tmux.wait_for("No run matches xylophone")
        tmux.send_keys("Escape")
        tmux.wait_for("receipts-lora")
    _say("/xylophone in Runs", BURSTS)
    tmux.type("xy")
    tmux.wait_for("Remove ")
    tmux.send_keys("n")
    tmux.type("qd")
    tmux.wait_for("left with 0")


def test_letters_after_the_filter_key_of_models(garden, tmp_path, in_tmux) -> None:
    tmux = _sized(in_tmux, tmp_path)
    tmux.send_keys("4")
    tmux.wait_for("adapter")
    for _ in range(BURSTS):
        tmux.type("/mexqob")
        tmux.wait_for("No model matches mexqob")
        tmux.send_keys("Escape")
        tmux.wait_for("adapter")
    _say("/mexqob in Models", BURSTS)


def test_letters_after_the_find_and_jump_keys_of_a_dataset(garden, tmp_path, in_tmux) -> None:
    tmux = _sized(in_tmux, tmp_path)
    tmux.type("2o")
    tmux.wait_for("Open a dataset")
    tmux.type(str(tmp_path / "rows.jsonl"))
    tmux.send_keys("Enter")
    tmux.wait_for("40 rows")
    tmux.wait_for("What is the total of paper 1")
    for number in range(BURSTS):
        tmux.type(f":{number + 11}\r")
        tmux.wait_for(f"(user|question|row).*paper {number + 11}[?]")
        tmux.type("/qxob1")
        tmux.wait_for("qxob1")
        tmux.send_keys("Escape")
        tmux.wait_for(r"(user|question|row).*paper \d")
    _say(":NUMBER enter and /qxob1 in a dataset", BURSTS)


@pytest.mark.parametrize("keys", ["qd", "q2"])
def test_keys_after_quit(garden, tmp_path, in_tmux, keys) -> None:
    for _ in range(BURSTS):
        tmux = _sized(in_tmux, tmp_path)
        tmux.type(keys)
        assert "Traceback" not in tmux.wait_for("left with 0")
        tmux.close()
    _say(keys, BURSTS)


def test_a_merge_entered_twice_at_once(garden, tmp_path, in_tmux) -> None:
    tmux = _sized(in_tmux, tmp_path)
    tmux.send_keys("4")
    tmux.wait_for("adapter")
    for number in range(MERGES):
        tmux.type("m")
        tmux.wait_for("Output folder")
        tmux.type("rr")  # starts one job, and not two
        tmux.wait_for(rf"jobs(.|\n)* {number + 1} jobs?")
        tmux.send_keys("Escape")
        tmux.wait_for("o open")
    _say("m r r in Models", MERGES)


def test_paging_through_the_palette_of_a_narrow_window(garden, tmp_path, in_tmux) -> None:
    tmux = _sized(in_tmux, tmp_path, (60, 20))
    for _ in range(BURSTS):
        tmux.send_keys("C-p")
        tmux.type("\x1b[6~\x1b[5~\x1b[6~r\x1b[6~\x1b[5~e\x1b[5~\x1b[6~")
        tmux.wait_for("re")
        tmux.send_keys("Escape", "Escape")
        assert "left with" not in tmux.wait_for("receipts-lora")
    _say("page keys in the palette at 60x20", BURSTS)
