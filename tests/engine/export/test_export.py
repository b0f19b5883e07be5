import json
import shlex
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.runs.result_metadata import read_result_metadata
from tests.recording_channel import RecordingChannel


@pytest.fixture
def run_export(rows: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(model: Path | str, format: str, output: Path, **options: Any) -> dict[str, Any]:
        from mg_tui.engine.export.export import Exporter

        channel = RecordingChannel()
        places = {"home": str(tmp_path / "home"), "cwd": str(tmp_path), "cache": str(tmp_path / "cache")}
        values = {"dataset": str(rows), "max_new_tokens": 12, **places, **options}
        Exporter(channel).export({"model": str(model), "format": format, "output": str(output), **values})
        return channel.events[-1]

    return run


def test_an_adapter_is_exported_for_vllm_with_its_command(
    result: Path, tiny_folder: Path, run_export: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    out = tmp_path / "out" / "my model"
    record = run_export(result, "vllm", out)
    assert record["event"] == "exported" and record["output"] == str(out) and not record["merged"]
    assert record["agreement"]["alike"] == record["agreement"]["rows"] == 4
    words = shlex.split(record["command"])
    assert words[:3] == ["vllm", "serve", str(tiny_folder)]
    options = dict(pairwise(words))
    assert "--enable-lora" in words and "--enable-tower-connector-lora" not in words
    assert options["--max-lora-rank"] == "8" and options["--lora-modules"] == f"my-model={out}"
    assert json.loads(options["--mm-processor-kwargs"]) == {"min_pixels": 3136, "max_pixels": 50176}
    assert options["--host"] == "127.0.0.1" and options["--dtype"] == "float32"
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (out / name).read_bytes() == (result / name).read_bytes()
    assert (out / "tokenizer_config.json").read_bytes() == (tiny_folder / "tokenizer_config.json").read_bytes()
    readme = (out / "README.md").read_text()
    assert "## Serving with vLLM" in readme and "--max-lora-rank 8" in readme and "Be brief." in readme
    assert [path.name for path in out.parent.iterdir()] == ["my model"]


def test_the_script_starts_the_command_in_its_own_folder_wherever_that_is(
    result: Path, run_export: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    record = run_export(result, "vllm", tmp_path / "out")
    moved = (tmp_path / "out").rename(tmp_path / "it's elsewhere")
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "vllm"
    stand_in.write_text('#!/bin/sh\npwd\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    stand_in.chmod(0o755)
    printed = subprocess.run(
        ["sh", str(moved / "serve.sh"), "--port", "9"],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    expected = shlex.split(record["command"].replace(f"out={tmp_path / 'out'}", "out=."))[1:]
    assert printed == [str(moved), *expected, "--port", "9"]


def test_a_tower_adapter_gets_the_tower_option(
    make_adapted: Callable[..., Any],
    save: Callable[..., Path],
    run_export: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    folder = save(make_adapted(target_modules=r".*visual\.blocks.*(qkv|proj)"), tmp_path / "adapter")
    record = run_export(folder, "vllm", tmp_path / "out")
    assert "--enable-tower-connector-lora" in record["command"]
    assert "--enable-tower-connector-lora" in (tmp_path / "out" / "serve.sh").read_text()


@pytest.mark.parametrize("options", [{"format": "merged"}, {"format": "vllm", "merged": True}], ids=["merged", "vllm"])
def test_a_merged_export_has_the_files_of_its_base_byte_for_byte(
    result: Path,
    tiny_folder: Path,
    run_export: Callable[..., dict[str, Any]],
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    out = tmp_path / "out"
    record = run_export(result, output=out, **options)
    assert record["merged"] and record["agreement"]["agreement"] == 1.0
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (tiny_folder / name).read_bytes(), name
    images = json.loads((out / "processor_config.json").read_text())["image_processor"]
    before = json.loads((tiny_folder / "processor_config.json").read_text())["image_processor"]
    # What training changed, and only that.
    assert images == {**before, "size": {"longest_edge": 50176, "shortest_edge": 3136}}
    assert json.loads((out / "config.json").read_text())["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    assert read_result_metadata(out).kind == "merged" and not (out / "adapter_config.json").exists()
    assert (out / "serve.sh").exists() == (options["format"] == "vllm")
    if options["format"] == "vllm":
        assert f"vllm serve {out} --served-model-name out" in record["command"]
        assert "--enable-lora" not in record["command"]


def test_an_export_that_answers_differently_is_not_kept(
    result: Path, run_export: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy loses what training changed: here the file is written with zeros."""
    from safetensors.torch import load_file, save_file

    def copy_zeros(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())
        if target.suffix == ".safetensors":
            save_file({key: 0 * weights for key, weights in load_file(source).items()}, target)

    monkeypatch.setattr(shutil, "copyfile", copy_zeros)
    with pytest.raises(RunFailed, match="does not answer like the model, and was deleted") as caught:
        run_export(result, "vllm", tmp_path / "out" / "x")
    assert "answers are alike" in str(caught.value.why) and "are the base model's" in str(caught.value.why)
    assert "became" in str(caught.value.why)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_refused_adapter_leaves_nothing(
    make_adapted: Callable[..., Any],
    save: Callable[..., Path],
    run_export: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    folder = save(make_adapted(use_dora=True), tmp_path / "dora")
    with pytest.raises(UsageError, match="vLLM cannot serve"):
        run_export(folder, "vllm", tmp_path / "out" / "x")
    assert not (tmp_path / "out").exists()
    assert run_export(folder, "vllm", tmp_path / "out" / "x", merged=True)["merged"]


def test_an_adapter_with_old_keys_is_refused_in_every_format(
    result: Path, run_export: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(result, tmp_path / "old"))
    file = folder / "adapter_model.safetensors"
    renamed = {key.replace(".language_model.layers.", ".layers."): each for key, each in load_file(file).items()}
    save_file(renamed, file)
    with pytest.raises(UsageError, match="vLLM cannot serve"):
        run_export(folder, "vllm", tmp_path / "out")
    with pytest.raises(UsageError, match="does not fit the base model"):
        run_export(folder, "merged", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["merged", "vllm"])
def test_a_full_disk_is_noticed_before_anything_is_written(
    result: Path,
    run_export: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10**6))
    with pytest.raises(EnvironmentProblem, match="there is no room") as caught:
        run_export(result, format, tmp_path / "out" / "x")
    assert "--output" in str(caught.value.hint)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_whole_model_is_copied(result: Path, run_export: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run_export(result, "merged", tmp_path / "whole")
    record = run_export(tmp_path / "whole", "vllm", tmp_path / "out")
    assert record["agreement"]["alike"] == 4 and record["merged"]
    for name in ("model.safetensors", "config.json", "tokenizer.json", "model_garden.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(UsageError, match="nothing to merge"):
        run_export(tmp_path / "whole", "vllm", tmp_path / "other", merged=True)


def test_bad_requests_are_refused_before_a_model_is_loaded(
    result: Path, run_export: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="there is nothing to export"):
        run_export("tiny", "merged", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="not empty"):
        run_export(result, "vllm", tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["file"]


def test_a_run_without_held_out_rows_needs_a_dataset(
    result: Path, run_export: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="there are no rows to ask") as caught:
        run_export(result, "vllm", tmp_path / "out", dataset=None)
    assert "--dataset" in str(caught.value.hint)
