"""In a real terminal of 80x24 (tmux), by keys only: a dataset, a run from it, the run live, a chat with its result; and
what is done to runs."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.tui.synthetic_runs import synthetic_home

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")]
PATIENCE = 240.0  # seconds; two processes import torch


def test_from_a_dataset_to_a_chat(tmp_path, in_tmux, monkeypatch) -> None:
    from mg_tui.data.synthetic.demo import make_demo_dataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = make_demo_dataset(tmp_path / "data", seed=0).train
    rows = data.read_text().splitlines()[:24]
    (data.parent / "small.jsonl").write_text("\n".join(rows) + "\n")
    image_file = next((data.parent / "images").glob("train-*.jpg"))
    shown = in_tmux(tmp_path, 80, 24)
    shown.until("No runs yet")
    shown.keys("2")
    shown.until("o type a path")
    shown.keys("o")
    shown.until("Open a dataset")
    shown.type(str(data.parent / "small.jsonl"))
    shown.keys("Enter")
    shown.until("24 rows")
    shown.until("Which bay stores this part")
    shown.keys("R")
    shown.until("1 needed")
    shown.keys("Enter")
    shown.until("path of a model")
    shown.type("tiny")
    shown.keys("Enter")
    shown.until("Steps +9")
    shown.keys("r")
    shown.until("▶ running", PATIENCE)
    shown.until("✓ finished(.|\n)*Loss", PATIENCE)
    shown.keys("4")
    shown.until("◈ adapter")
    shown.keys("Enter")
    shown.until("ask about the image")
    shown.keys("C-o")
    shown.until("path of an image")
    shown.type(str(image_file))
    shown.keys("Enter")
    shown.until(image_file.name)
    shown.until("✓ ready", PATIENCE)
    shown.type("Which bay stores this part?")
    shown.keys("Enter")
    shown.until("you +Which bay stores this part")
    shown.until(r"\d tokens?\b", PATIENCE)
    shown.keys("Escape")
    shown.until("enter chat")
    shown.keys("q")
    shown.until("left with 0")
    assert len(list((tmp_path / "home" / "runs").iterdir())) == 1


def test_runs_are_compared_replayed_and_removed(tmp_path, in_tmux) -> None:
    with synthetic_home(tmp_path / "home"):
        shown = in_tmux(tmp_path, 80, 24)
        shown.until("receipts-lora")
        shown.keys("G", "Space", "k", "Space", "c")
        shown.until("● .*■ (.|\n)*best eval")
        shown.keys("m", "+", "<", "0", "y", "y", "M")
        shown.until("Loss")
        shown.keys("Escape", "d")
        shown.until("RAM")
        shown.keys("Escape", "Escape", "G", "v")
        shown.until("▶ replay +30 times")
        shown.keys("}", "End")
        shown.until("■ replay over(.|\n)*✓ finished")
        shown.keys("a", ",")
        shown.until("3 of 4")
        shown.keys("i")
        shown.until("1 of 2")
        shown.keys("Escape", "Escape")
        shown.until("receipts-lora")
        shown.keys("x")
        shown.until("Remove receipts-lora-r32")
        shown.keys("Enter")  # on no
        shown.until("receipts-lora(.|\n)*enter open")
        shown.keys("x", "y")
        shown.until("5 runs")
        shown.keys("!")
        shown.until("receipts-lora-r32: removed")
        shown.keys("q", "q")
        shown.until("left with 0")
    assert len([path for path in (tmp_path / "home" / "runs").iterdir() if not path.name.startswith(".")]) == 5


@pytest.mark.parametrize("term", ["linux", "screen", "vt100", "xterm"])
def test_other_terminals(tmp_path, term) -> None:
    """A Linux console, screen, and terminals that can less."""
    with synthetic_home(tmp_path / "home") as home:
        script = f"{sys.executable} -c 'from mg_tui.cli.main import main; main()'"
        environ = {**os.environ, "MODEL_GARDEN_HOME": str(home), "TERM": term, "MODEL_GARDEN_CONFIG": "/none"}
        done = subprocess.run(
            ["script", "-qec", f"stty cols 80 rows 24; (sleep 6; kill $$) & {script}", "/dev/null"],
            input="",
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert "invoices-v2" in done.stdout and "Traceback" not in done.stdout
