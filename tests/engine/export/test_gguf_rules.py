import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from mg_tui.config import APP_NAME
from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.engine.export.gguf.convert import require_all_tensors
from mg_tui.engine.export.gguf.converter_child import find_pre_tokenizer
from mg_tui.engine.export.gguf.gguf_file import GgufHead, read_gguf
from mg_tui.engine.export.gguf.programs import last_words, run_program
from mg_tui.engine.export.gguf.rules import require_gguf_family, require_llama_model, require_lora, require_probed
from mg_tui.families import Experimental, ModelFamily, Unsupported
from mg_tui.families.registry import load_registry
from mg_tui.runs.llama_cpp import VERSION, built_folder, find_llama_cpp
from tests.engine.export.llama_stand_in import make_llama_cpp, write_gguf

ARCHITECTURES = Path(__file__).with_name("converter_architectures.json")
WHOLE = {
    "model_type": "qwen2_5_vl",
    "vision_config": {"depth": 32, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]},
}


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(UsageError, match=r"llama\.cpp cannot have this model") as caught:
        require_llama_model(config, "mine")
    return str(caught.value.why)


def test_the_models_of_the_family_are_accepted_as_they_are_published() -> None:
    require_llama_model(WHOLE, "Qwen2.5-VL-3B")
    require_llama_model({"model_type": "smolvlm", "vision_config": {"num_hidden_layers": 12}}, "another")


@pytest.mark.parametrize(
    ("vision", "reason"),
    [
        ({"depth": 2}, "its vision tower has 2 layers, and llama.cpp needs at least 3"),
        ({"window_size": 56}, "windows of 56 pixels, and llama.cpp has 112"),
        ({"fullatt_block_indexes": [7, 15, 24]}, "(7, 15, 24) are not at equal distances"),
        ({"temporal_patch_size": 1}, "temporal_patch_size is 1"),
    ],
)
def test_what_llama_cpp_computes_differently_is_refused(vision: dict[str, Any], reason: str) -> None:
    assert reason in refusal({**WHOLE, "vision_config": {**WHOLE["vision_config"], **vision}})  # type: ignore[dict-item]


def test_a_model_without_a_tower_and_the_bundled_one_are_refused(tiny_folder: Path) -> None:
    assert "no vision tower" in refusal({"model_type": "llama"})
    assert "windows of 56" in refusal(json.loads((tiny_folder / "config.json").read_text()))


def test_what_the_converter_does_not_know_is_named() -> None:
    require_probed({"text": "A", "projector": "A", "tokenizer": "qwen2"}, "mine")
    with pytest.raises(UsageError, match="does not know this architecture") as caught:
        require_probed({"text": "A", "projector": "B", "projector_unknown": True}, "mine")
    assert "vision tower B" in str(caught.value.why) and "LLAMA_CPP_DIR" in str(caught.value.hint)
    with pytest.raises(UsageError, match="does not know this tokenizer"):
        require_probed({"text": "A", "projector": "B", "tokenizer": None}, "mine")


def test_a_tokenizer_is_recognized_by_the_rules_it_splits_text_by(tiny_folder: Path, tmp_path: Path) -> None:
    """Its vocabulary is its own, so llama.cpp's test text is encoded as by no tokenizer that it knows."""
    assert find_pre_tokenizer(tiny_folder) == "qwen2"
    record = json.loads((tiny_folder / "tokenizer.json").read_text())
    for change in (
        lambda r: r["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\s+"),
        lambda r: r["normalizer"].update(type="NFKC"),
        lambda r: r["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
        lambda r: r["model"].update(type="Unigram"),
        lambda r: r.pop("pre_tokenizer"),
    ):
        other = json.loads(json.dumps(record))
        change(other)
        (tmp_path / "tokenizer.json").write_text(json.dumps(other))
        assert find_pre_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{")
    assert find_pre_tokenizer(tmp_path) is None


LANGUAGE = ["base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"]
TOWER = ["base_model.model.model.visual.blocks.0.attn.qkv.lora_A.weight"]


@pytest.mark.parametrize(
    ("config", "keys", "reason"),
    [
        ({}, TOWER, "drops without a word"),
        ({"use_dora": True}, LANGUAGE, "DoRA"),
        ({"use_rslora": True}, LANGUAGE, "rsLoRA"),
        ({"alpha_pattern": {"q_proj": 3}}, LANGUAGE, "alpha_pattern"),
        ({"modules_to_save": ["embed_tokens"]}, LANGUAGE, "modules_to_save"),
        ({"bias": "all"}, LANGUAGE, "bias: all"),
        ({"peft_type": "LOHA"}, LANGUAGE, "LOHA"),
    ],
)
def test_adapters_that_would_lose_something_are_refused(config: dict[str, Any], keys: list[str], reason: str) -> None:
    family = load_registry().resolve("tiny").family
    require_lora({"peft_type": "LORA"}, LANGUAGE, family, "mine")
    with pytest.raises(UsageError, match=r"llama\.cpp cannot have this adapter") as caught:
        require_lora({"peft_type": "LORA", **config}, keys, family, "mine")
    assert reason in str(caught.value.why) and "leave --adapter out" in str(caught.value.hint)


def test_every_tensor_of_the_source_has_to_be_in_a_file() -> None:
    text, tower = {"a": 1, "x.experts.0": 1, "x.experts.1": 0}, {"v": 3}
    heads = {"text": GgufHead({}, dict.fromkeys("ab", "F16")), "projector": GgufHead({}, dict.fromkeys("vwx", "F16"))}
    made = {"text": text, "projector": tower}
    require_all_tensors(["a", "x.experts.0", "x.experts.1", "v", "r.rotary_emb.inv_freq"], made, heads)
    with pytest.raises(RunFailed, match="leaves out 1 of 3 tensors") as caught:
        require_all_tensors(["a", "v", "lost"], made, heads)
    assert caught.value.why == "lost"
    with pytest.raises(RunFailed, match="leaves out 1 of 2"):
        require_all_tensors(["a", "v"], {"text": {"a": 0}, "projector": tower}, heads)
    with pytest.raises(RunFailed, match="projector has 3 tensors, and the converter made 4"):
        require_all_tensors(["a", "v"], {"text": text, "projector": {"v": 4}}, heads)


def test_the_head_of_a_gguf_file_is_read(tmp_path: Path) -> None:
    write_gguf(
        tmp_path / "x.gguf", {"general.architecture": "clip", "n": 7, "tokenizer.chat_template": "é"}, ["a", "b"]
    )
    head = read_gguf(tmp_path / "x.gguf")
    assert head.is_projector and head.values["n"] == 7 and head.values["tokenizer.chat_template"] == "é"
    assert head.tensors == {"a": "F16", "b": "F16"} and head.types() == {"F16": 2}


def test_bad_gguf_files_are_one_error(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    write_gguf(file, {"general.architecture": "qwen2vl"}, ["a", "b"])
    whole = file.read_bytes()
    huge = b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60)
    for content in (
        b"",
        b"PK\x03\x04",
        whole[:30],
        whole[:80],
        whole[:-64],
        huge,
        b"GGUF" + struct.pack("<I", 9) + whole[8:],
    ):
        file.write_bytes(content)
        with pytest.raises(UsageError, match="GGUF file is damaged"):
            read_gguf(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_gguf(tmp_path / "none.gguf")


def test_llama_cpp_is_found_where_it_was_named_built_or_on_the_path(tmp_path: Path) -> None:
    folder, cache = make_llama_cpp(tmp_path / "given"), tmp_path / "cache"
    found = find_llama_cpp(cache, {"LLAMA_CPP_DIR": str(folder), "PATH": ""})
    assert (
        found.source == folder and found.ask == folder / "build/bin/llama-mtmd-cli" and "LLAMA_CPP_DIR" in found.origin
    )
    on_path = find_llama_cpp(cache, {"PATH": str(folder / "build" / "bin")})
    assert on_path.source == folder and on_path.origin == "the PATH"
    with pytest.raises(EnvironmentProblem, match=r"llama.cpp is not here") as caught:
        find_llama_cpp(cache, {"PATH": ""})
    assert "--setup gguf" in str(caught.value.hint)
    built = built_folder(cache)
    shutil.copytree(folder / "build" / "bin", built / "bin")
    shutil.copyfile(folder / "convert_hf_to_gguf.py", built / "convert_hf_to_gguf.py")
    assert find_llama_cpp(cache, {"PATH": ""}).source == built


def test_a_folder_that_lacks_a_program_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    folder = make_llama_cpp(tmp_path / "given")
    (folder / "build/bin/llama-quantize").unlink()
    with pytest.raises(UsageError, match="is not complete") as caught:
        find_llama_cpp(tmp_path, {"LLAMA_CPP_DIR": str(folder)})
    assert caught.value.why == "it lacks llama-quantize"
    with pytest.raises(UsageError) as caught:
        find_llama_cpp(tmp_path, {"LLAMA_CPP_DIR": str(tmp_path / "nothing")})
    assert caught.value.why == "there is no such folder"


def test_a_failing_program_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(RunFailed, match="it did not work") as caught:
        run_program(
            ["sh", "-c", "echo one; echo 'x.cpp:3: error: no such thing' >&2; seq 40; exit 3"],
            "it did not work",
            log=tmp_path / "log",
            on_line=lines.append,
        )
    assert "exit code 3" in str(caught.value.why) and "x.cpp:3: error: no such thing" in str(caught.value.why)
    assert lines[0] == "one" and "no such thing" in (tmp_path / "log").read_text()
    with pytest.raises(EnvironmentProblem, match="it did not work"):
        run_program([tmp_path / "nothing"], "it did not work", log=tmp_path / "log")
    assert last_words(["", " "]) == "it said nothing" and last_words(["a", "b"]) == "a | b"


def test_a_program_that_is_left_is_ended_with_what_it_started(tmp_path: Path) -> None:
    import psutil

    def leave(line: str) -> None:
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt) as caught:
        run_program(["sh", "-c", "sleep 600 & echo $!; wait"], "what", log=tmp_path / "log", on_line=leave)
    child = int(str(caught.value))
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=30)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def architectures_of(family: ModelFamily) -> list[str]:
    """Names of its classes, as a checkpoint's configuration and llama.cpp's converter have them."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as CLASSES

    return [CLASSES[kind] for kind in family.model_types]


@pytest.mark.parametrize("family", load_registry().families, ids=lambda family: family.key)
def test_families_say_what_the_converter_knows(family: ModelFamily) -> None:
    """Its list of the version that is built here; a newer one is written by the slow test below."""
    known = json.loads(ARCHITECTURES.read_text(encoding="utf-8"))
    assert known["version"] == VERSION
    found = [name for name in architectures_of(family) if name in known["projector"]]
    capability = family.capability("gguf")
    assert isinstance(capability, Unsupported) == (not found), architectures_of(family)
    if found and len(found) < len(family.model_types):
        assert isinstance(capability, Experimental)


@pytest.mark.slow
def test_the_list_is_that_of_the_converter() -> None:
    try:
        llama = find_llama_cpp(Path(os.environ.get("GARDEN_TEST_CACHE") or platformdirs.user_cache_path(APP_NAME)))
    except GardenError as error:
        pytest.skip(error.what)
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import conversion as c; "
        "print(json.dumps([sorted(c.TEXT_MODEL_MAP), sorted(c.MMPROJ_MODEL_MAP)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(llama.source)], capture_output=True, text=True, check=True
    )
    text, projector = json.loads(done.stdout.splitlines()[-1])
    known = json.loads(ARCHITECTURES.read_text(encoding="utf-8"))
    assert (known["text"], known["projector"]) == (text, projector)


def test_a_family_that_the_converter_lacks_is_refused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    families = {family.key: family for family in load_registry().families}
    require_gguf_family(families["gemma3"], "mine", {})
    with pytest.raises(UsageError, match=r"InternVL3\.5 cannot be exported to GGUF") as caught:
        require_gguf_family(families["internvl"], "mine", {})
    assert VERSION in str(caught.value.why) and "LLAMA_CPP_DIR" in str(caught.value.hint)
    require_gguf_family(families["internvl"], "mine", {"LLAMA_CPP_DIR": "/newer"})  # whose converter is asked
