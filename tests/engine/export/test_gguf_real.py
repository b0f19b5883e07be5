"""The real llama.cpp: converter, llama-quantize and llama-mtmd-cli on the tiny model with llama.cpp's windows.

It has to be built already: `model-garden export --setup gguf`, or LLAMA_CPP_DIR.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from mg_tui.config import APP_NAME
from mg_tui.core.errors import GardenError, UsageError
from mg_tui.engine.export.gguf.gguf_file import read_gguf
from mg_tui.engine.results.safetensors_files import read_tensors
from mg_tui.runs.llama_cpp import LlamaCpp, find_llama_cpp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROWS = 6


class RecordingChannel:
    """Stands in for a Channel: keeps what was said."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def send_notice(self, text: str) -> None:
        self.send("notice", text=text)


@pytest.fixture(scope="module")
def llama() -> LlamaCpp:
    cache = Path(os.environ.get("GARDEN_TEST_CACHE") or platformdirs.user_cache_path(APP_NAME))
    try:
        return find_llama_cpp(cache)
    except GardenError as error:
        pytest.skip(f"{error.what}: {error.hint}")


@pytest.fixture(scope="module")
def base(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with the windows that llama.cpp has."""
    folder = tmp_path_factory.mktemp("base") / "tiny-112"
    shutil.copytree(tiny_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["window_size"] = 112
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions about drawn images; those of rows 1, 3 and 5 have to be resized, those of 2, 4 and 6 not.

    Each image has a shape of its own, which is the answer that `trained` learns.
    """
    from mg_tui.data.synthetic.drawings import SHAPES, draw_image

    folder = tmp_path_factory.mktemp("rows")
    lines = []
    for number in range(ROWS):
        kind = SHAPES[number % len(SHAPES)]
        size = (112, 112) if number % 2 else (150, 170)
        image, _facts = draw_image(random.Random(number), size=size, shapes=[(kind, "red")], background="white")
        image.save(folder / f"{number}.png")
        lines.append(json.dumps({"question": "Which shape?", "image": f"{number}.png", "response": f"it is a {kind}"}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"


@pytest.fixture(scope="module")
def trained(base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result that answers these rows otherwise than its base model, and surely: it has learned them by training."""
    home = tmp_path_factory.mktemp("trained")
    values = {"base-model": base, "dataset": rows, "output-dir": home / "mine", "max-pixels": 12544, "epochs": 100}
    values |= {"batch-size": ROWS, "learning-rate": 3e-3, "lora-r": 16, "save-steps": 10_000, "text-field": "question"}
    flags = [str(word) for name, value in values.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-c", "from mg_tui.cli.main import main; main()", "--home", str(home), "train-vision"]
    done = subprocess.run([*command, *flags, "--gradient-accumulation-steps", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return home / "mine"


@pytest.fixture(scope="module")
def export(base: Path, rows: Path, llama: LlamaCpp, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    folder = tmp_path_factory.mktemp("exports")

    def run(model: Path, name: str, **options: Any) -> tuple[Path, dict[str, Any]]:
        from mg_tui.engine.export.gguf.export import GgufExporter

        channel = RecordingChannel()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LLAMA_CPP_DIR", str(llama.source))
            places = {"home": str(folder), "cwd": str(folder), "cache": str(folder / "cache")}
            values = {"dataset": str(rows), "max_new_tokens": 16, "base_model": str(base), "min_agreement": 0.5}
            request = {"model": str(model), "output": str(folder / name), **values, **places, **options}
            GgufExporter(channel).export(request)
        return folder / name, channel.events[-1]

    return run


@pytest.fixture(scope="module")
def exported(trained: Path, export: Callable[..., Any]) -> tuple[Path, dict[str, Any]]:
    return export(trained, "mine", quantizations=["F16", "Q8_0", "Q4_K_M"])


def verify(model: Path, against: Path, rows: Path, base: Path, llama: LlamaCpp, **options: Any) -> dict[str, Any]:
    from mg_tui.engine.export.verify import Verifier

    channel = RecordingChannel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMA_CPP_DIR", str(llama.source))
        places = {name: str(rows.parent) for name in ("home", "cwd", "cache")}
        values = {"dataset": str(rows), "max_new_tokens": 16, "base_model": str(base), "device": "cpu", **places}
        Verifier(channel).verify({"model": str(model), "against": str(against), **values, **options})
    return channel.events[-1]


def test_the_files_answer_as_the_model_does(
    exported: tuple[Path, dict[str, Any]], trained: Path, rows: Path, base: Path, llama: LlamaCpp
) -> None:
    folder, record = exported
    figures = {each["quantization"]: each for each in record["variants"]}
    assert list(figures) == ["F16", "Q8_0", "Q4_K_M"]
    # llama.cpp resizes images in another way; where there is nothing to resize, answers are the same.
    assert all(each["row"] % 2 for each in figures["F16"]["differences"]) and figures["Q8_0"]["similarity"] > 0.7
    assert figures["F16"]["adapter_changes"] > 0, "the rows show whether the adapter is applied"
    heads = {each.name: read_gguf(each) for each in folder.glob("*.gguf")}
    assert len(heads["mine-F16.gguf"].tensors) == 50 and len(heads["mmproj-mine-F16.gguf"].tensors) == 71
    assert "Q8_0" in heads["mine-Q8_0.gguf"].types() and heads["mmproj-mine-F16.gguf"].is_projector
    # Rows of 128 numbers are no multiple of 256, which Q4_K needs.
    assert figures["Q4_K_M"]["fallback_tensors"] > 0
    assert all(each["model_exact_match"] == 1.0 for each in record["variants"]), "the rows were learned"
    # A model this small has little to spare: quantization may turn single answers over, conversion none.
    assert figures["F16"]["alike"] == ROWS and figures["Q8_0"]["other_exact_match"] >= 0.5
    assert verify(trained, folder / "mine-F16.gguf", rows, base, llama)["agrees"]


def test_the_tower_of_another_model_is_reported_with_figures(
    exported: tuple[Path, dict[str, Any]],
    make_adapted: Callable[..., Any],
    save: Callable[..., Path],
    export: Callable[..., Any],
    trained: Path,
    rows: Path,
    base: Path,
    llama: LlamaCpp,
    tmp_path: Path,
) -> None:
    # Of the projector the two linear layers; what is between them has no weights.
    parts = r".*visual\.(blocks\..*(qkv|proj)|merger\.mlp\.[02])"
    tower = save(make_adapted(target_modules=parts, strength=3.0), tmp_path / "tower")
    other, _record = export(tower, "other", quantizations=["F16"], min_agreement=0.01)
    record = verify(
        trained, exported[0] / "mine-F16.gguf", rows, base, llama, mmproj=str(other / "mmproj-other-F16.gguf")
    )
    assert not record["agrees"] and record["alike"] < ROWS and record["similarity"] < 1


def test_an_adapter_of_the_language_part_is_a_file_of_its_own(
    trained: Path, export: Callable[..., Any], exported: tuple[Path, dict[str, Any]]
) -> None:
    folder, record = export(trained, "beside", quantizations=["F16"], adapter=True)
    weights = [tensor.name for tensor in read_tensors(trained / "adapter_model.safetensors")]
    assert len(read_gguf(folder / "beside-adapter.gguf").tensors) == len(weights) > 0
    assert all(each["row"] % 2 for each in record["variants"][0]["differences"])
    assert record["variants"][0]["adapter_changes"] == ROWS
    assert "--lora beside-adapter.gguf" in (folder / "run.sh").read_text()


def test_an_adapter_with_the_names_of_older_libraries_is_refused(
    trained: Path, export: Callable[..., Any], tmp_path: Path
) -> None:
    """Its weights would not be applied: the file would answer as the base model does."""
    from safetensors.torch import load_file, save_file

    old = tmp_path / "old"
    shutil.copytree(trained, old)
    weights = load_file(old / "adapter_model.safetensors")
    renamed = {name.replace(".language_model.layers.", ".layers."): tensor for name, tensor in weights.items()}
    assert renamed.keys() != weights.keys()
    save_file(renamed, old / "adapter_model.safetensors")
    for options in ({}, {"adapter": True}):
        with pytest.raises(UsageError) as caught:
            export(old, "refused", **options)
        assert "they would fit with" in str(caught.value.why)
    assert not (tmp_path / "refused").exists()


def test_a_tower_adapter_and_an_unknown_tokenizer_are_refused(
    make_adapted: Callable[..., Any],
    save: Callable[..., Path],
    export: Callable[..., Any],
    base: Path,
    result: Path,
    tmp_path: Path,
) -> None:
    tower = save(make_adapted(target_modules=r".*visual\.blocks.*(qkv|proj)"), tmp_path / "tower")
    with pytest.raises(UsageError, match=r"llama\.cpp cannot have this adapter"):
        export(tower, "refused", adapter=True)
    other = tmp_path / "other"
    shutil.copytree(base, other)
    record = json.loads((other / "tokenizer.json").read_text())
    record["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+"
    (other / "tokenizer.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="does not know this tokenizer"):
        export(result, "refused", base_model=str(other))
