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
    tmux = in_tmux(tmp_path, 80, 24)
    tmux.wait_for("No runs yet")
    tmux.send_keys("2")
    tmux.wait_for("o open path")
    tmux.send_keys("o")
    tmux.wait_for("Open a dataset")
    tmux.type(str(data.parent / "small.jsonl"))
    tmux.send_keys("Enter")
    tmux.wait_for("24 rows")
    tmux.wait_for("Which bay stores this part")
    tmux.send_keys("R")
    tmux.wait_for("1 needed")
    tmux.send_keys("Enter")
    tmux.wait_for("path of a model")
    tmux.type("tiny")
    tmux.send_keys("Enter")
    tmux.wait_for("Steps +9")
    tmux.send_keys("r")
    tmux.wait_for("▶ running", PATIENCE)
    tmux.wait_for("✓ finished(.|\n)*Loss", PATIENCE)
    tmux.send_keys("4")
    tmux.wait_for("◈ adapter")
    tmux.send_keys("Enter")
    tmux.wait_for("ask about the image")
    tmux.send_keys("C-o")
    tmux.wait_for("path of an image")
    tmux.type(str(image_file))
    tmux.send_keys("Enter")
    tmux.wait_for(image_file.name)
    tmux.wait_for("✓ ready", PATIENCE)
    tmux.type("Which bay stores this part?")
    tmux.send_keys("Enter")
    tmux.wait_for("you +Which bay stores this part")
    tmux.wait_for(r"\d tokens?\b", PATIENCE)
    tmux.send_keys("Escape")
    tmux.wait_for("enter chat")
    tmux.send_keys("q")
    tmux.wait_for("left with 0")
    assert len(list((tmp_path / "home" / "runs").iterdir())) == 1


def test_runs_are_compared_replayed_and_removed(tmp_path, in_tmux) -> None:
    with synthetic_home(tmp_path / "home"):
        tmux = in_tmux(tmp_path, 80, 24)
        tmux.wait_for("receipts-lora")
        tmux.send_keys("G", "Space", "k", "Space", "c")
        tmux.wait_for("● .*■ (.|\n)*best eval")
        tmux.send_keys("m", "+", "<", "0", "y", "y", "M")
        tmux.wait_for("Loss")
        tmux.send_keys("Escape", "d")
        tmux.wait_for("RAM")
        tmux.send_keys("Escape", "Escape", "G", "v")
        tmux.wait_for("▶ replay +30×")
        tmux.send_keys("}", "End")
        tmux.wait_for("■ replay ended(.|\n)*✓ finished")
        tmux.send_keys("a", ",")
        tmux.wait_for("3 of 4")
        tmux.send_keys("i")
        tmux.wait_for("1 of 2")
        tmux.send_keys("Escape", "Escape")
        tmux.wait_for("receipts-lora")
        tmux.send_keys("x")
        tmux.wait_for("Remove receipts-lora-r32")
        tmux.send_keys("Enter")  # on no
        tmux.wait_for("receipts-lora(.|\n)*enter open")
        tmux.send_keys("x", "y")
        tmux.wait_for("5 runs")
        tmux.send_keys("!")
        tmux.wait_for("receipts-lora-r32: removed")
        tmux.send_keys("q", "q")
        tmux.wait_for("left with 0")
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
