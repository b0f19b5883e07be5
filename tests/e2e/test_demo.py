"""`model-garden demo`: fine-tuning improves exact match on held-out images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.cli.demo_evaluation import METRIC
from mg_tui.metrics import Prediction
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.scoring import score


@pytest.mark.timeout(1200)
def test_the_demo_learns_a_task_that_is_new_to_the_tiny_model(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("model-garden")
    done = subprocess.run(
        [str(program), "--home", str(tmp_path / "home"), "demo", "--no-dashboard", "--forgetting", "--json"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "MODEL_GARDEN_CONFIG": str(tmp_path / "none.toml")},
        capture_output=True,
        text=True,
        timeout=1100,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    overall = report["scores"]["all"]
    assert overall["questions"] >= 200
    assert overall["before"] < 0.4
    assert overall["after"] > 0.9
    assert overall["after_low"] <= overall["after"] <= overall["after_high"]
    assert report["change"]["verdict"] == "better" and report["change"]["low"] > 0
    assert len(report["change"]["fixed"]) > len(report["change"]["broken"])
    assert {"photo subject", "photo album"} < set(report["scores"])  # real photos are among them
    for sample in report["samples"]:
        assert sample["answer"] is not None and sample["base_answer"] is not None
    forgotten = report["forgetting"]
    assert forgotten["rows"] == 120 and forgotten["before"] > 0.5, "the base model was trained on these questions"
    change, broken = forgotten["change"], forgotten["broken_rows"]
    assert change["verdict"] == "worse" and change["low"] <= change["change"] <= change["high"] < 0
    assert len(broken) == len(change["broken"]) > 10
    assert change["change"] == pytest.approx((len(change["fixed"]) - len(broken)) / forgotten["rows"])
    for row in broken:
        assert _is_right(row["base_answer"], row["expected"]) and not _is_right(row["answer"], row["expected"])


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [("north", "north", True), (" North. ", "north", True), ("north bay", "north", False), ("", "north", False)],
)
def test_exact_match(answer: str, expected: str, right: bool) -> None:
    assert _is_right(answer, expected) == right


def _is_right(answer: str, expected: str) -> bool:
    (metric,) = load_metrics().named([METRIC])
    return score([Prediction(1, answer, (expected,))], metric).aggregate == 1.0


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("family", ["qwen3_vl", "gemma3", "smolvlm", "qwen3_5"])
def test_a_random_model_of_another_family_learns(family: str, tmp_path: Path) -> None:
    """M-RoPE with deepstack, one axis with windows, tiles, recurrent layers: the loss falls, and the table is there."""
    program = Path(sys.executable).with_name("model-garden")
    done = subprocess.run(
        [str(program), "--home", str(tmp_path / "home"), "demo", "--family", family, "--no-dashboard", "--json"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "MODEL_GARDEN_CONFIG": str(tmp_path / "none.toml")},
        capture_output=True,
        text=True,
        timeout=2300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["loss"]["first"] > 4 and report["loss"]["last"] < report["loss"]["first"] / 4
    assert report["scores"]["all"]["before"] == 0.0  # a random model
    assert report["scores"]["all"]["questions"] == 90 and 0.0 <= report["scores"]["all"]["after"] <= 1.0
    print(family, report["loss"], report["scores"]["all"])
