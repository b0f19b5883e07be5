"""In a real terminal of 80x24 (tmux), by keys only: from a finished run to its evaluation, and from the rows it got
wrong to a new dataset that `datasets check` accepts. The run and the evaluation are real ones of the tiny model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")]
PATIENCE = 300.0  # seconds; three processes import torch


def _command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {
        "MODEL_GARDEN_HOME": str(folder / "home"),
        "MODEL_GARDEN_CACHE": str(folder / "cache"),
        "MODEL_GARDEN_CONFIG": str(folder / "own.toml"),
        "HF_HUB_OFFLINE": "1",
    }
    program = [sys.executable, "-c", "from mg_tui.cli.main import main; main()", *words]
    return subprocess.run(
        program,
        env={**os.environ, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.timeout(900)  # a run and an evaluation, and three processes that import torch
def test_from_a_finished_run_to_a_dataset_of_what_it_got_wrong(tmp_path, in_tmux, monkeypatch) -> None:
    from mg_tui.data.synthetic.demo import make_demo_dataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made = make_demo_dataset(tmp_path / "data", seed=0)
    small, held_out = tmp_path / "data" / "small.jsonl", tmp_path / "data" / "held.jsonl"
    small.write_text("\n".join(made.train.read_text().splitlines()[:24]) + "\n")
    held_out.write_text("\n".join(made.train.read_text().splitlines()[24:36]) + "\n")
    trained = _command(tmp_path, "train-vision", "--base-model", "tiny", "--dataset", str(small), "--epochs", "1")
    assert trained.returncode == 0, trained.stderr
    tmux = in_tmux(tmp_path, 80, 24)
    tmux.wait_for("✓ finished")
    tmux.send_keys("Enter")
    tmux.wait_for("Loss")
    tmux.send_keys("E")
    tmux.wait_for("Evaluate which weights(.|\n)*the result")
    tmux.send_keys("Enter")
    tmux.wait_for("1 needed")
    tmux.send_keys("Enter")
    tmux.wait_for("esc close")
    tmux.type(str(held_out))
    tmux.send_keys("Enter")
    tmux.wait_for("held.jsonl(.|\n)*r start")
    tmux.send_keys("j", "j", "Enter", "8", "Enter")
    tmux.wait_for("Limit +8 rows")
    tmux.send_keys("j", "j", "Enter", "C-u", "8", "Enter")
    tmux.wait_for("Maximum new tokens +8 tokens")
    tmux.send_keys("r")
    tmux.wait_for("against base")
    tmux.wait_for("✓ finished(.|\n)*worst first", PATIENCE)
    tmux.send_keys("f")
    tmux.wait_for("only wrong: (\\d+)")
    tmux.send_keys("M")
    count = int(tmux.wait_for("● \\d+ marked").partition("● ")[2].split()[0])
    tmux.send_keys("w")
    tmux.wait_for("held-hard.jsonl")
    tmux.send_keys("Enter")
    tmux.wait_for(f"JSON Lines(.|\n)*{count} rows")
    tmux.send_keys("Escape")
    tmux.wait_for("✓ finished")
    tmux.send_keys("q")
    tmux.wait_for("left with 0")
    (evaluation,) = (tmp_path / "home" / "evaluations").iterdir()
    scored = [json.loads(line) for line in (evaluation / "results" / "rows.jsonl").read_text().splitlines()]
    metric = next(iter(scored[0]["scores"]))
    wrong = [row["row"] for row in scored if row["scores"][metric] < 1]
    lines = held_out.read_text().splitlines()
    hard = [json.loads(line) for line in (tmp_path / "held-hard.jsonl").read_text().splitlines()]
    assert len(scored) == 8 and count == len(wrong) > 0
    for row, number in zip(hard, wrong, strict=True):
        original = json.loads(lines[number - 1])
        assert {**row, "image": None} == {**original, "image": None}
        assert (tmp_path / row["image"]).samefile(held_out.parent / original["image"])
    checked = _command(tmp_path, "datasets", "check", "held-hard.jsonl", "--base-model", "tiny")
    assert checked.returncode == 0, checked.stdout
