"""By keys alone in a real terminal (tmux): a dataset is opened, browsed and checked, a row of it asked of `tiny`."""

import shutil
import subprocess

import pytest

from tests.tui.synthetic_places import make_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_from_a_dataset_to_an_answer(tmp_path, in_tmux, width, height) -> None:
    make_dataset(tmp_path / "rows.jsonl")
    tmux = in_tmux(tmp_path, width, height)
    tmux.wait_for("No runs yet")
    tmux.send_keys("2")
    tmux.wait_for("rows.jsonl")
    tmux.send_keys("o")
    tmux.wait_for("Open a dataset")
    tmux.type("rows.js")
    tmux.wait_for(r"rows\.jsonl +\d")
    tmux.send_keys("Tab", "Enter")
    tmux.wait_for("60 rows")
    tmux.wait_for("▀▀▀▀▀▀▀▀")
    tmux.send_keys("j", "j")
    tmux.wait_for(r"\(3\)")
    tmux.send_keys("c")
    tmux.wait_for("checking for tiny")
    tmux.wait_for("Findings [0-9]+", seconds=90)
    tmux.send_keys("f")
    tmux.wait_for("rows cannot be trained on")
    tmux.send_keys("n")
    tmux.wait_for("✗|!")
    tmux.send_keys(":")
    tmux.wait_for("Go to row")
    tmux.type("2")
    tmux.send_keys("Enter")
    tmux.wait_for(r"\A(?!(.|\n)*Go to row)")  # the window is closed: it would take the next key as text
    tmux.send_keys("t")
    screen_text = tmux.wait_for(r"\d+ supervised", seconds=90)
    assert "▣×" in screen_text and "<|im_start|>" in screen_text
    tmux.send_keys("a")
    tmux.wait_for("Which model should answer row 2")
    tmux.wait_for("tiny")
    tmux.send_keys("Enter")
    tmux.wait_for("✓ ready", seconds=90)
    tmux.send_keys("Enter")
    tmux.wait_for(r"model .*\S", seconds=60)
    tmux.wait_for(r"\d+ tokens?|1 token", seconds=60)
    tmux.send_keys("Escape")
    tmux.wait_for("supervised")
    tmux.send_keys("q")
    tmux.wait_for("left with 0")
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    mine = [line for line in listed.splitlines() if "mg_tui.engine" in line and str(tmp_path) in line]
    assert mine == []
