import json
import random
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, RunFailed, UsageError
from mg_tui.engine.export.gguf.llama_answers import as_questions, image_token_limits
from mg_tui.runs.result_metadata import read_result_metadata
from tests.engine.export.llama_stand_in import make_llama_cpp


class RecordingChannel:
    """Stands in for a Channel: keeps what was said."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def send_notice(self, text: str) -> None:
        self.send("notice", text=text)


@pytest.fixture(scope="module")
def base(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with the windows that llama.cpp has."""
    folder = tmp_path_factory.mktemp("base") / "tiny-112"
    shutil.copytree(tiny_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["window_size"] = 112
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "LICENSE").write_text("free\n")
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mg_tui.data.synthetic.drawings import draw_image

    folder = tmp_path_factory.mktemp("rows")
    lines = []
    for number in range(4):
        image, _facts = draw_image(random.Random(number), size=(112, 112))
        image.save(folder / f"{number}.webp")
        question = f"What is\\n in {number}?"
        lines.append(json.dumps({"question": question, "image": f"{number}.webp", "response": "circle"}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"


@pytest.fixture(scope="module")
def answers(result: Path, base: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Prompt as llama-mtmd-cli gets it -> answer of the model."""
    from mg_tui.engine.export.questions import ask_model, load_rows
    from mg_tui.engine.inference.loading import load_for_inference

    folder = tmp_path_factory.mktemp("answers")
    loaded = load_for_inference(str(result), home=folder, device="cpu", base_model=str(base))
    examples, _source = load_rows(loaded, cwd=folder, cache=folder, dataset=str(rows), count=9)
    questions = as_questions(examples, "Be brief.")
    found = ask_model(loaded, examples, 8)
    return {question.prompt: answer.text for question, answer in zip(questions, found, strict=True)}


@pytest.fixture
def llama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> Callable[..., Path]:
    def make(files: dict[str, dict[str, str]] | None = None, **options: Any) -> Path:
        folder = make_llama_cpp(tmp_path / "llama", **options)
        (folder / "answers.json").write_text(json.dumps({"*": answers, **(files or {})}))
        monkeypatch.setenv("LLAMA_CPP_DIR", str(folder))
        return folder

    return make


@pytest.fixture
def run_export(rows: Path, base: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(model: Path | str, output: Path, **options: Any) -> dict[str, Any]:
        from mg_tui.engine.export.gguf.export import GgufExporter

        channel = RecordingChannel()
        places = {"home": str(tmp_path / "home"), "cwd": str(tmp_path), "cache": str(tmp_path / "cache")}
        values = {"dataset": str(rows), "max_new_tokens": 8, "base_model": str(base), **places, **options}
        GgufExporter(channel).export({"model": str(model), "output": str(output), **values})
        return {**channel.events[-1], "said": [event.get("text") for event in channel.events]}

    return run


def other_answers(answers: dict[str, str], count: int) -> dict[str, str]:
    """The answers with the first `count` changed."""
    return {prompt: f"no {text}" if at < count else text for at, (prompt, text) in enumerate(answers.items())}


def test_a_result_is_exported_with_a_table_of_its_quantizations(
    result: Path, base: Path, answers: dict[str, str], llama: Any, run_export: Any, tmp_path: Path
) -> None:
    folder = llama({"my-model-Q4_K_M.gguf": other_answers(answers, 2)})
    out = tmp_path / "out" / "my model"
    record = run_export(result, out)
    assert record["event"] == "exported" and record["output"] == str(out) and record["merged"]
    figures = {each["quantization"]: (each["alike"], each["fallback_tensors"]) for each in record["variants"]}
    # A quantized file that answers otherwise is reported, not refused: how much is lost is for the user to judge.
    assert figures == {"Q8_0": (4, 0), "Q4_K_M": (2, 1)}
    weights = {"mmproj-my-model-F16.gguf", "my-model-Q4_K_M.gguf", "my-model-Q8_0.gguf"}
    assert {path.name for path in out.iterdir()} == {"LICENSE", "README.md", "model_garden.json", "run.sh", *weights}
    assert [path.name for path in out.parent.iterdir()] == ["my model"]
    assert any("16 bit: 4 of 4 answers alike" in str(text) for text in record["said"])
    readme = (out / "README.md").read_text()
    assert "| `my-model-Q4_K_M.gguf` | Q4_K_M |" in readme and "2 of 4" in readme and "Be brief." in readme
    assert "--image-min-tokens 4 --image-max-tokens 64" in readme
    metadata = read_result_metadata(out)
    assert metadata.kind == "merged" and metadata.base.path == str(base) and metadata.max_pixels == 50176
    calls = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    assert len(calls) == 12 and all("--jinja" in call and "--no-escape" in call for call in calls)
    options = calls[0]
    assert options[options.index("--image-max-tokens") + 1] == "64" and options[options.index("--temp") + 1] == "0"
    assert options[options.index("-sys") + 1] == "Be brief." and options[options.index("--predict") + 1] == "8"
    assert options[-1] == "<__media__>What is\\n in 0?", "text is passed on as it is"


@pytest.mark.slow
def test_the_script_runs_the_command_wherever_the_folder_is(
    result: Path, llama: Any, run_export: Any, tmp_path: Path
) -> None:
    llama()
    run_export(result, tmp_path / "out", quantizations=["F16"])
    moved = (tmp_path / "out").rename(tmp_path / "it's elsewhere")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "llama-mtmd-cli"
    program.write_text('#!/bin/sh\npwd\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    program.chmod(0o755)
    printed = subprocess.run(
        ["sh", str(moved / "run.sh"), "--image", "a.png"],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    words = ["-m", "out-F16.gguf", "--mmproj", "mmproj-out-F16.gguf", "--image-min-tokens", "4"]
    words += ["--image-max-tokens", "64", "--jinja", "--temp", "0", "-sys", "Be brief.", "--image", "a.png"]
    assert printed == [str(moved), *words]
    assert (moved / "out-F16.gguf").is_file()
    assert shlex.split((moved / "run.sh").read_text().splitlines()[-1])[0] == "exec"


@pytest.mark.slow
def test_a_conversion_that_answers_otherwise_is_not_kept(
    result: Path, answers: dict[str, str], llama: Any, run_export: Any, tmp_path: Path
) -> None:
    llama({"x-F16.gguf": other_answers(answers, 1)})
    with pytest.raises(RunFailed, match="in 16 bit does not answer like the model") as caught:
        run_export(result, tmp_path / "out" / "x")
    assert "the conversion is at fault" in str(caught.value.why) and "3 of 4 answers are alike" in str(caught.value.why)
    assert list((tmp_path / "out").iterdir()) == []
    assert run_export(result, tmp_path / "out" / "x", min_agreement=0.75)["variants"][0]["alike"] == 4


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dropped": ("visual.merger.mlp.0.weight",)}, "leaves out 1 of 104 tensors"),
        ({"template": "{# changed #}"}, "another chat template than the model"),
    ],
    ids=["tensor", "template"],
)
def test_what_the_converter_loses_is_noticed(
    result: Path, llama: Any, run_export: Any, tmp_path: Path, options: dict[str, Any], error: str
) -> None:
    llama(**options)
    with pytest.raises(RunFailed, match=error):
        run_export(result, tmp_path / "out" / "x")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_converter_that_fails_has_the_last_word(result: Path, llama: Any, run_export: Any, tmp_path: Path) -> None:
    folder = llama()
    (folder / "fails").touch()
    with pytest.raises(RunFailed, match="converter failed on the text") as caught:
        run_export(result, tmp_path / "out" / "x")
    assert "the converter's last words" in str(caught.value.why)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_llama_cpp_cannot_have_is_refused_before_anything_is_written(
    result: Path, base: Path, tiny_folder: Path, llama: Any, run_export: Any, tmp_path: Path
) -> None:
    llama()
    with pytest.raises(UsageError, match=r"llama\.cpp cannot have this model") as caught:
        run_export(result, tmp_path / "out", base_model=str(tiny_folder))
    assert "windows of 56" in str(caught.value.why)
    other = tmp_path / "other"
    shutil.copytree(base, other)
    record = json.loads((other / "tokenizer.json").read_text())
    record["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+"
    (other / "tokenizer.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="does not know this tokenizer"):
        run_export(result, tmp_path / "out", base_model=str(other))
    (other / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["Another"]}))
    with pytest.raises(UsageError, match="does not know this architecture"):
        run_export(result, tmp_path / "out", base_model=str(other))
    with pytest.raises(UsageError, match="there is nothing to export"):
        run_export("tiny", tmp_path / "out", base_model=None)
    assert not (tmp_path / "out").exists()


def test_a_family_that_llama_cpp_lacks_is_refused_before_llama_cpp_is_looked_for(
    result: Path, run_export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.engine.export.gguf import job
    from mg_tui.families.registry import load_registry

    internvl = next(family for family in load_registry().families if family.key == "internvl")
    monkeypatch.setattr(job, "resolve_family", lambda *_arguments: internvl)
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    with pytest.raises(UsageError, match="cannot be exported to GGUF"):
        run_export(result, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_llama_cpp_and_a_full_disk_are_noticed_first(
    result: Path, llama: Any, run_export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10**6))
    with pytest.raises(EnvironmentProblem, match="there is no room"):
        run_export(result, tmp_path / "out")
    monkeypatch.delenv("LLAMA_CPP_DIR")
    monkeypatch.setenv("PATH", "/nothing")
    with pytest.raises(EnvironmentProblem, match=r"llama\.cpp is not here"):
        run_export(result, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_rows_that_llama_mtmd_cli_cannot_be_asked_are_left_out(
    result: Path, rows: Path, llama: Any, run_export: Any, tmp_path: Path
) -> None:
    """It takes one question about an image; without one it waits for somebody to type."""
    llama()
    mixed = rows.parent / "mixed.jsonl"
    first = rows.read_text().splitlines()[0]
    mixed.write_text(first + "\n" + json.dumps({**json.loads(first), "image": None}) + "\n")
    record = run_export(result, tmp_path / "out", dataset=str(mixed), quantizations=["Q8_0"])
    assert record["variants"][0]["rows"] == 1
    assert any("1 row left out" in str(text) for text in record["said"])


def test_limits_of_pixels_are_whole_numbers_of_tokens_or_said_not_to_be(result: Path, tmp_path: Path) -> None:
    from mg_tui.core.preprocessing import Preprocessing
    from mg_tui.engine.inference.loading import load_processor, resolve_family
    from mg_tui.engine.inference.locator import locate_model
    from mg_tui.families.registry import load_registry

    registry = load_registry()
    located = locate_model(str(result), home=tmp_path, registry=registry)
    processor = load_processor(located, resolve_family(located, registry))
    limits = image_token_limits(processor, Preprocessing(3136, 50176))
    assert limits is not None and (limits.least, limits.most, limits.exact) == (4, 64, True)
    limits = image_token_limits(processor, Preprocessing(3137, 50175))
    assert limits is not None and (limits.least, limits.most, limits.exact) == (5, 63, False)
    assert image_token_limits(SimpleNamespace(image_processor=SimpleNamespace()), Preprocessing(1, 2)) is None


def run_verify(model: Path, against: Path, rows: Path, base: Path, tmp_path: Path, **options: Any) -> dict[str, Any]:
    from mg_tui.engine.export.verify import Verifier

    channel = RecordingChannel()
    places = {"home": str(tmp_path / "home"), "cwd": str(tmp_path), "cache": str(tmp_path / "cache")}
    values = {"dataset": str(rows), "max_new_tokens": 8, "base_model": str(base), "device": "cpu", **places, **options}
    Verifier(channel).verify({"model": str(model), "against": str(against), **values})
    return {**channel.events[-1], "said": [event.get("text") for event in channel.events]}


def test_a_gguf_file_is_verified_with_the_tower_beside_it_or_a_named_one(
    result: Path, base: Path, rows: Path, answers: dict[str, str], llama: Any, run_export: Any, tmp_path: Path
) -> None:
    llama({"other-Q8_0.gguf": other_answers(answers, 3)})
    run_export(result, tmp_path / "out", quantizations=["Q8_0"])
    file = tmp_path / "out" / "out-Q8_0.gguf"
    record = run_verify(result, file, rows, base, tmp_path)
    assert record["event"] == "verified" and record["agrees"] and record["alike"] == 4
    shutil.copytree(tmp_path / "out", tmp_path / "other")
    other = file.parent.parent / "other" / "other-Q8_0.gguf"
    (tmp_path / "other" / file.name).rename(other)
    record = run_verify(result, other, rows, base, tmp_path, min_agreement=0.9)
    assert not record["agrees"] and record["alike"] == 1 and len(record["differences"]) == 3
    shutil.copyfile(tmp_path / "other/mmproj-out-F16.gguf", tmp_path / "other/mmproj-2.gguf")
    with pytest.raises(UsageError, match="which vision tower") as caught:
        run_verify(result, other, rows, base, tmp_path)
    assert "--mmproj" in str(caught.value.hint)
    named = run_verify(result, other, rows, base, tmp_path, mmproj=str(tmp_path / "other/mmproj-2.gguf"))
    assert named["alike"] == 1


@pytest.mark.slow
def test_files_that_are_of_another_kind_are_refused_by_verify(
    result: Path, base: Path, rows: Path, llama: Any, run_export: Any, tmp_path: Path
) -> None:
    llama()
    run_export(result, tmp_path / "out", quantizations=["Q8_0"])
    tower, file = tmp_path / "out/mmproj-out-F16.gguf", tmp_path / "out/out-Q8_0.gguf"
    with pytest.raises(UsageError, match="is a vision tower, not a text model"):
        run_verify(result, tower, rows, base, tmp_path)
    with pytest.raises(UsageError, match="is no vision tower"):
        run_verify(result, file, rows, base, tmp_path, mmproj=str(file))
    with pytest.raises(UsageError, match="--mmproj is the vision tower of a GGUF file"):
        run_verify(result, base, rows, base, tmp_path, mmproj=str(tower))
    file.write_bytes(b"GGUF")
    with pytest.raises(UsageError, match="damaged"):
        run_verify(result, file, rows, base, tmp_path)


@pytest.mark.slow
def test_a_file_that_does_not_load_is_reported_row_by_row(
    result: Path, base: Path, rows: Path, llama: Any, run_export: Any, tmp_path: Path
) -> None:
    llama()
    run_export(result, tmp_path / "out", quantizations=["Q8_0"])
    llama_folder = tmp_path / "llama"
    (llama_folder / "answers.json").write_text(json.dumps({"*": {}}))
    record = run_verify(result, tmp_path / "out/out-Q8_0.gguf", rows, base, tmp_path)
    assert record["alike"] == 0 and "failed to load the model" in record["differences"][0]["error"]


def test_an_adapter_with_old_keys_and_one_of_the_tower_are_refused(
    result: Path,
    make_adapted: Callable[..., Any],
    save: Callable[..., Path],
    llama: Any,
    run_export: Any,
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file, save_file

    llama()
    folder = Path(shutil.copytree(result, tmp_path / "old"))
    file = folder / "adapter_model.safetensors"
    save_file({key.replace(".language_model.layers.", ".layers."): each for key, each in load_file(file).items()}, file)
    with pytest.raises(UsageError, match="does not fit the base model"):
        run_export(folder, tmp_path / "out")
    tower = save(make_adapted(target_modules=r".*visual\.blocks.*(qkv|proj)"), tmp_path / "tower")
    with pytest.raises(UsageError, match=r"llama\.cpp cannot have this adapter"):
        run_export(tower, tmp_path / "out", adapter=True)
    assert not (tmp_path / "out").exists()
