"""The GPU benchmark goes through everything on a CPU with the tiny model, and says what it could not do."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu"


def run_benchmark(out: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, str(GPU / "all.py"), "--dry-run", "--repeats", "1", "--out", str(out), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert (out / "gpu.json").exists(), done.stderr[-2000:]
    return done.returncode, json.loads((out / "gpu.json").read_text()), (out / "gpu.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dry_run_of_steps_and_attention(tmp_path: Path) -> None:
    code, result, page = run_benchmark(tmp_path, "--pieces", "nvml", "attention", "grid")
    assert code == 1
    assert result["dry_run"] is True and "no figure" in page.splitlines()[0]
    assert [(case["size"], case["quantization"]) for case in result["grid"]] == [("tiny", "nf4"), ("tiny", "none")]
    for case in result["grid"]:
        assert case["how"] == "at supervised positions"
        assert all(0 < loss < 20 for loss in case["losses"])
        assert case["estimate"]["loaded"] < case["estimate"]["tensors"] < case["estimate"]["held"]
        assert case["name"] in page
    (layout,) = result["attention"]["cases"]
    assert layout["blocks"]["difference"] < 1e-5
    assert "flex attention" in result["not_done"] and "flex attention" in page.partition("## Not done")[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dry_run_of_the_ladder(tmp_path: Path) -> None:
    code, result, page = run_benchmark(tmp_path, "--pieces", "ladder")
    assert (code, result["not_done"]) == (0, {})
    assert result["ladder"]["relaid"] and result["ladder"]["largest_relative_difference"] < 1e-4
    assert "laid out its steps smaller" in page and "Everything was done." in page


def test_nothing_is_begun_without_a_device_or_after_the_time(tmp_path: Path) -> None:
    code, result, page = run_benchmark(tmp_path, "--minutes", "0")
    assert code == 1
    assert result["grid"] == [] and len(result["not_done"]) >= 4
    assert all("minutes were over" in why for why in result["not_done"].values())
    assert page.count("minutes were over") == len(result["not_done"])


def test_the_page_says_how_far_off_the_estimate_is() -> None:
    actual = importlib.util.spec_from_file_location("gpu_page", GPU / "page.py")
    assert actual is not None and actual.loader is not None
    module = importlib.util.module_from_spec(actual)
    actual.loader.exec_module(module)
    gib = 2**30
    case = {
        "name": "7B QLoRA nf4",
        "laid_out": 2048,
        "seconds": 0.5,
        "samples_per_second": 8.0,
        "tokens_per_second": 4096.0,
        "peak": {"allocated": 8 * gib, "reserved": 9 * gib},
        "estimate": {"held": 9.9 * gib},
    }
    about = dict.fromkeys(("device", "torch", "transformers", "peft", "bitsandbytes", "python"), "x")
    result = {"dry_run": False, "date": "today", "machine": about, "grid": [case], "not_done": {"NVML": "no driver"}}
    text = module.page(result)
    assert "| 7B QLoRA nf4 | 2,048 | 0.500 | 8.00 | 4,096 | 8.00 | 9.00 | 9.90 | +10.0% |" in text
    assert "Largest difference: 10.0%" in text
    assert "- NVML: no driver" in text
