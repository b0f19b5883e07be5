"""`model-garden estimate`: table and JSON, local and other GPUs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.estimate import estimate
from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem, SpecError, UsageError
from mg_tui.hardware import sampler
from mg_tui.hardware.types import DeviceSnapshot, Gpu, Host

GIB = 2**30
BASE = ("--base-model", "Qwen/Qwen2.5-VL-7B-Instruct")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpus = (
        Gpu(0, "Great \x1b[31mGPU", memory_used=GIB, memory_total=24 * GIB),
        Gpu(1, "Small GPU", memory_used=0, memory_total=6 * GIB),
        Gpu(2, "Mute GPU"),
    )
    snapshot = DeviceSnapshot(gpus, Host(0.0, 2 * GIB, 16 * GIB, "cpu", 2), None, 0.0)
    monkeypatch.setattr(sampler.DeviceSampler, "sample", lambda self: snapshot)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


def invoke(*arguments: str, columns: int = 160) -> Result:
    settings = Settings(Path("/h"), Path("/c"))
    return CliRunner().invoke(estimate, arguments, obj=settings, catch_exceptions=False, env={"COLUMNS": str(columns)})


def test_json_has_every_component_and_device() -> None:
    result = invoke(*BASE, "--json")
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert record["peak"] == sum(part["bytes"] for part in record["parts"])
    assert record["parameters"] == 8_292_166_656
    assert record["work"]["learned"] > 0
    places = {place["name"]: place for place in record["places"]}
    small, great = places["Small GPU (GPU 1)"], places["Great \x1b[31mGPU (GPU 0)"]
    assert (great["free"], great["fits"], great["here"]) == (23 * GIB, True, True)
    assert great["largest_batch"] > 1
    assert (small["fits"], small["largest_batch"]) == (False, None)
    assert "Mute GPU (GPU 2)" not in places
    assert {"T4 16 GB", "A100 80 GB"} <= places.keys()
    assert all(place["source"] for place in places.values())
    assert json.loads(invoke(*BASE, "--json").stdout) == record


def test_several_processes_are_estimated_for_each_device() -> None:
    alone = json.loads(invoke(*BASE, "--json").stdout)
    several = json.loads(invoke(*BASE, "--json", "--processes", "4", "--parallel", "fsdp").stdout)
    assert several["ranks"] == {"count": 4, "parallel": "fsdp"} and several["peak"] < alone["peak"]
    places = {place["name"]: place for place in several["places"]}
    assert places["T4 16 GB"]["parallel"] == "fsdp" and places["T4 16 GB"]["peak"] == several["peak"]
    assert {place["parallel"] for place in alone["places"]} == {None}
    text = invoke(*BASE, "--processes", "2", "--nodes", "2", "--rendezvous", "host:29500", "--parallel", "ddp").stdout
    assert "on each of 4 devices (ddp)" in " ".join(text.split()) and "communication" in text


def test_a_table_of_how_many_gpus_it_takes() -> None:
    big = ("--base-model", "Qwen/Qwen2.5-VL-72B-Instruct", "--quantization", "nf4", "--table")
    lines = invoke(*big).stdout.splitlines()
    assert lines[0].split() == ["EACH", "DEVICE", "HAS", "1", "GPU", "2", "GPUS", "4", "GPUS", "8", "GPUS"]
    marks = {line.split("  ")[0]: [cell for cell in line if cell in "✓✗"] for line in lines[1:]}
    assert marks["H100 80 GB"] == ["✓"] * 4
    assert marks["L40S / RTX 6000 Ada 48 GB"] == ["✗", "✓", "✓", "✓"]
    assert marks["RTX 3090 / 4090 24 GB"] == ["✗", "✗", "✓", "✓"]
    records = json.loads(invoke(*big, "--json").stdout)
    h100 = next(record for record in records if record["device"] == "H100 80 GB")
    assert [entry["parallel"] for entry in h100["counts"]] == [None, "ddp", "ddp", "ddp"]


def test_named_gpus_are_looked_at_together(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = (
        Gpu(0, "Great GPU", memory_used=0, memory_total=80 * GIB),
        Gpu(1, "Small GPU", memory_used=9 * GIB, memory_total=48 * GIB),
        Gpu(2, "Great GPU", memory_used=0, memory_total=80 * GIB),
    )
    monkeypatch.setattr("mg_tui.hardware.nvml.Nvml.sample", lambda self: (gpus, None))
    result = invoke(*BASE, "--gpus", "0,1")
    assert "GPU 0 and 1 of this machine" in result.stdout and "39.0 GiB" in result.stdout  # the smaller one's
    assert "GPU 1 is used by a process not visible here (9.0 GiB)" in result.stderr
    assert "GPU 0: Great GPU, 80.0 GiB; GPU 1: Small GPU, 48.0 GiB" in result.stderr
    assert "warning" not in invoke(*BASE, "--gpus", "0,2").stderr
    assert "on each of 3 devices" in " ".join(invoke(*BASE, "--gpus", "all").stdout.split())
    with pytest.raises(EnvironmentProblem, match="GPU 7 not found"):
        invoke(*BASE, "--gpus", "0,7")
    with pytest.raises(UsageError, match="3 with 2 GPUs"):
        invoke(*BASE, "--gpus", "0,2", "--processes", "3")


@pytest.mark.parametrize("columns", [80, 160])
def test_table_shows_which_devices_fit(columns: int) -> None:
    result = invoke(*BASE, "--batch-size", "4", columns=columns)
    words = " ".join(result.stdout.split())
    assert "vision tower" in words
    assert "✓ yes" in words
    assert "✗ no" in words
    assert "\x1b[31m" not in result.output
    assert max(len(line) for line in result.stdout.splitlines()) <= columns
    assert "assumed: no dataset given" in result.stderr


def test_suggested_flags_reach_the_estimated_peak() -> None:
    flags = (*BASE, "--quantization", "none")
    record = json.loads(invoke(*flags, "--json").stdout)
    (tight,) = (place for place in record["places"] if place["name"] == "T4 16 GB")
    assert not tight["fits"]
    suggestion = tight["remedies"][0]
    changed = json.loads(invoke(*BASE, *suggestion["flags"].split(), "--json").stdout)
    assert changed["peak"] == suggestion["peak"] <= tight["free"]


def test_on_the_cpu_the_ram_of_this_machine_counts() -> None:
    record = json.loads(invoke("--base-model", "tiny", "--device", "cpu", "--json").stdout)
    assert [place["free"] for place in record["places"]] == [14 * GIB]
    assert record["setup"]["dtype"] == "float32"


def test_a_dataset_is_read(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (448, 448)).save(tmp_path / "a.png")
    (tmp_path / "d.jsonl").write_text('{"text": "what?", "image": "a.png", "response": "a square"}\n')
    record = json.loads(invoke(*BASE, "--dataset", str(tmp_path / "d.jsonl"), "--json").stdout)
    assert record["assumed"] == []
    assert record["work"]["patches"] == record["work"]["examples"] * 1024


def test_bad_rows_are_ignored_with_a_message(tmp_path: Path) -> None:
    good = '{"text": "what?", "image": null, "response": "a square"}\n'
    (tmp_path / "d.jsonl").write_text(good + '{"text": "", "image": null, "response": "\\u001b[31m"}\n')
    result = invoke(*BASE, "--dataset", str(tmp_path / "d.jsonl"))
    assert result.exit_code == 0
    assert "ignoring 1 bad row; first: row 2" in result.stderr
    assert "\x1b[31m" not in result.stderr


def test_invalid_values_raise_the_specs_error() -> None:
    with pytest.raises(SpecError, match="lora_r"):
        invoke(*BASE, "--lora-r", "0")
    with pytest.raises(SpecError, match="base_model"):
        invoke("--json")


def test_help_shows_the_dataset_as_optional() -> None:
    text = " ".join(invoke("--help").stdout.split())
    assert "without it, a typical row is assumed" in text
    assert "--lora-r" in text


def test_every_published_checkpoint_is_estimated_however_its_parts_are_trained() -> None:
    """Gemma 3's projector has no linear layer, which is no reason to fail."""
    from mg_tui.families.registry import load_registry

    for family in load_registry().families:
        name = next((item.name for item in family.checkpoints if item.config is not None), None)
        if name is None:
            continue
        frozen = json.loads(invoke("--base-model", name, "--json").stdout)["peak"]
        parts = ("--train-projector", "full", "--train-vision", "full")
        trained = json.loads(invoke("--base-model", name, *parts, "--json").stdout)["peak"]
        assert trained > frozen, name
