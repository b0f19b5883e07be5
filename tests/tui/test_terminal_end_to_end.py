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
    shown.wait_for("No runs yet")
    shown.send_keys("2")
    shown.wait_for("o type a path")
    shown.send_keys("o")
    shown.wait_for("Open a dataset")
    shown.type(str(data.parent / "small.jsonl"))
    shown.send_keys("Enter")
    shown.wait_for("24 rows")
    shown.wait_for("Which bay stores this part")
    shown.send_keys("R")
    shown.wait_for("1 needed")
    shown.send_keys("Enter")
    shown.wait_for("path of a model")
    shown.type("tiny")
    shown.send_keys("Enter")
    shown.wait_for("Steps +9")
    shown.send_keys("r")
    shown.wait_for("▶ running", PATIENCE)
    shown.wait_for("✓ finished(.|\n)*Loss", PATIENCE)
    shown.send_keys("4")
    shown.wait_for("◈ adapter")
    shown.send_keys("Enter")
    shown.wait_for("ask about the image")
    shown.send_keys("C-o")
    shown.wait_for("path of an image")
    shown.type(str(image_file))
    shown.send_keys("Enter")
    shown.wait_for(image_file.name)
    shown.wait_for("✓ ready", PATIENCE)
    shown.type("Which bay stores this part?")
    shown.send_keys("Enter")
    shown.wait_for("you +Which bay stores this part")
    shown.wait_for(r"\d tokens?\b", PATIENCE)
    shown.send_keys("Escape")
    shown.wait_for("enter chat")
    shown.send_keys("q")
    shown.wait_for("left with 0")
    assert len(list((tmp_path / "home" / "runs").iterdir())) == 1


def test_runs_are_compared_replayed_and_removed(tmp_path, in_tmux) -> None:
    with synthetic_home(tmp_path / "home"):
        shown = in_tmux(tmp_path, 80, 24)
        shown.wait_for("receipts-lora")
        shown.send_keys("G", "Space", "k", "Space", "c")
        shown.wait_for("● .*■ (.|\n)*best eval")
        shown.send_keys("m", "+", "<", "0", "y", "y", "M")
        shown.wait_for("Loss")
        shown.send_keys("Escape", "d")
        shown.wait_for("RAM")
        shown.send_keys("Escape", "Escape", "G", "v")
        shown.wait_for("▶ replay +30 times")
        shown.send_keys("}", "End")
        shown.wait_for("■ replay over(.|\n)*✓ finished")
        shown.send_keys("a", ",")
        shown.wait_for("3 of 4")
        shown.send_keys("i")
        shown.wait_for("1 of 2")
        shown.send_keys("Escape", "Escape")
        shown.wait_for("receipts-lora")
        shown.send_keys("x")
        shown.wait_for("Remove receipts-lora-r32")
        shown.send_keys("Enter")  # on no
        shown.wait_for("receipts-lora(.|\n)*enter open")
        shown.send_keys("x", "y")
        shown.wait_for("5 runs")
        shown.send_keys("!")
        shown.wait_for("receipts-lora-r32: removed")
        shown.send_keys("q", "q")
        shown.wait_for("left with 0")
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
