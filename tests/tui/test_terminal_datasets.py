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
    tmux.until("No runs yet")
    tmux.keys("2")
    tmux.until("rows.jsonl")
    tmux.keys("o")
    tmux.until("Open a dataset")
    tmux.type("rows.js")
    tmux.until(r"rows\.jsonl +\d")
    tmux.keys("Tab", "Enter")
    tmux.until("60 rows")
    tmux.until("▀▀▀▀▀▀▀▀")
    tmux.keys("j", "j")
    tmux.until(r"\(3\)")
    tmux.keys("c")
    tmux.until("checking for tiny")
    tmux.until("Findings [0-9]+", seconds=90)
    tmux.keys("f")
    tmux.until("rows cannot be trained on")
    tmux.keys("n")
    tmux.until("✗|!")
    tmux.keys(":")
    tmux.until("Go to row")
    tmux.type("2")
    tmux.keys("Enter", "t")
    shown = tmux.until(r"\d+ learned", seconds=90)
    assert "▣×" in shown and "<|im_start|>" in shown
    tmux.keys("a")
    tmux.until("Which model is asked about row 2")
    tmux.until("tiny")
    tmux.keys("Enter")
    tmux.until("✓ ready", seconds=90)
    tmux.keys("Enter")
    tmux.until(r"model .*\S", seconds=60)
    tmux.until(r"\d+ tokens?|1 token", seconds=60)
    tmux.keys("Escape")
    tmux.until("learned")
    tmux.keys("q")
    tmux.until("left with 0")
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    mine = [line for line in listed.splitlines() if "mg_tui.engine" in line and str(tmp_path) in line]
    assert mine == []
