import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.runs.result_metadata import read_result_metadata
from tests.recording_channel import RecordingChannel


def run_merge(model: Path, output: Path, **options: Any) -> dict[str, Any]:
    from mg_tui.engine.results.merge import Merger

    listener = RecordingChannel()
    Merger(listener).merge({"model": str(model), "output": str(output), "home": str(output.parent / "home"), **options})
    return listener.events[-1]


def prompt_logits(model: Any, loaded: Any) -> Any:
    import torch

    from mg_tui.engine.inference.generation import make_encoder
    from mg_tui.engine.results.merge_check import make_samples

    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    samples = make_samples(seed=99)
    inputs = encoder.encode_prompts([samples[0].example.messages], [[samples[0].image]])
    with torch.inference_mode():
        return model(**inputs).logits[0, -1]


@pytest.fixture(scope="module")
def merged(result: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("merged") / "out"
    return output, run_merge(result, output)


def test_merged_equals_adapter(result: Path, merged: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import torch

    from mg_tui.engine.inference.loading import load_for_inference

    output, record = merged
    actual = record["comparison"]
    assert actual["top1_agreement"] == 1.0 and actual["clear_disagreements"] == 0
    assert actual["mean_difference"] <= actual["limit"] < actual["adapter_effect"] / 100
    adapter = load_for_inference(str(result), home=tmp_path, device="cpu")
    whole = load_for_inference(str(output), home=tmp_path, device="cpu")
    mine, theirs = prompt_logits(adapter.model, adapter), prompt_logits(whole.model, whole)
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
    assert mine.argmax() == theirs.argmax()


def test_a_merged_folder_is_a_whole_model_with_card_and_contract(merged: tuple[Path, dict[str, Any]]) -> None:
    output, record = merged
    assert record["output"] == str(output)
    contract = read_result_metadata(output)
    assert contract.kind == "merged" and contract.base.name == "tiny" and contract.system_prompt == "Be brief."
    assert contract.merge == record["comparison"]
    assert not (output / "adapter_config.json").exists() and (output / "processor_config.json").is_file()
    card = (output / "README.md").read_text()
    assert 'library_name: "transformers"' in card and "compared with the adapter" in card and "Be brief." in card
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_tied_embeddings_stay_tied_and_are_saved_once(merged: tuple[Path, dict[str, Any]]) -> None:
    with safe_open(merged[0] / "model.safetensors", framework="pt") as file:
        keys = list(file.keys())
    assert "lm_head.weight" not in keys and any(key.endswith("embed_tokens.weight") for key in keys)


def test_an_adapter_of_the_output_layer_unties_it(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="tie"):
        model = make_adapted(target_modules=["lm_head"])
    folder = save(model, tmp_path / "adapter")
    record = run_merge(folder, tmp_path / "out")
    assert record["comparison"]["adapter_effect"] > 0 and record["comparison"]["top1_agreement"] == 1.0
    with safe_open(tmp_path / "out/model.safetensors", framework="pt") as file:
        assert "lm_head.weight" in file.keys()  # noqa: SIM118 - no mapping
    assert json.loads((tmp_path / "out/config.json").read_text())["tie_word_embeddings"] is False


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({}, "bfloat16"),
        ({"use_dora": True}, "float32"),
        ({"use_rslora": True, "strength": 1.0, "target_modules": r".*visual\.blocks.*(qkv|proj)"}, "bfloat16"),
        ({"modules_to_save": ["visual.merger.mlp.0"]}, "float32"),
    ],
    ids=["bfloat16", "dora", "rslora-vision-bfloat16", "modules-to-save"],
)
def test_every_kind_of_adapter_merges(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path, config: dict[str, Any], dtype: str
) -> None:
    folder = save(make_adapted(dtype, **config), tmp_path / "adapter", dtype=dtype)
    result = run_merge(folder, tmp_path / "out")["comparison"]
    assert result["mean_difference"] <= result["limit"] < result["adapter_effect"]
    assert result["clear_disagreements"] == 0


def test_an_adapter_of_a_quantized_run_is_merged_into_the_whole_base(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    """It was trained on 4-bit weights; merged into them, it would be lost in their rounding."""
    import torch

    from mg_tui.engine.inference.loading import load_for_inference

    model = make_adapted()
    run_merge(save(model, tmp_path / "adapter", quantization="nf4"), tmp_path / "out")
    assert read_result_metadata(tmp_path / "out").quantization == "none"
    expected = dict(model.merge_and_unload().named_parameters())
    merged = dict(load_for_inference(str(tmp_path / "out"), home=tmp_path, device="cpu").model.named_parameters())
    assert merged.keys() == expected.keys()
    for name, weights in merged.items():
        assert weights.dtype == torch.float32 and float((weights - expected[name]).detach().abs().max()) < 1e-6, name


def test_a_merge_that_loses_the_adapter_is_not_kept(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.engine.results.merge_layers import LowRankUpdate

    # The layers' weights as they are in the base model.
    monkeypatch.setattr(LowRankUpdate, "add_to", lambda _update, rows, *_place: rows)
    with pytest.raises(RunFailed, match="does not answer like the adapter") as caught:
        run_merge(result, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_losing_an_adapter_that_does_little_is_not_taken_for_rounding() -> None:
    import torch

    from mg_tui.engine.results.merge_check import compare_logits

    torch.manual_seed(0)
    base = torch.randn(20, 500)
    effect, noise = 0.06 * torch.randn(20, 500), 0.004 * torch.randn(20, 500)
    assert compare_logits(base + effect, base + effect + noise, base, "bfloat16").agrees
    assert not compare_logits(base + effect, base, base, "bfloat16").agrees
    assert not compare_logits(base + effect, base + effect + noise, base, "float32").agrees
    assert not compare_logits(base, torch.full_like(base, float("nan")), base, "bfloat16").agrees


MERGE_KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True, "strength": 0.5},
    "dora": {"use_dora": True},
    "patterns": {"rank_pattern": {"q_proj": 2, "down_proj": 7}, "alpha_pattern": {"v_proj": 3}},
    "tower": {"target_modules": r".*visual\.blocks.*(qkv|proj)"},
    "embedding": {"target_modules": r"model\.language_model\.embed_tokens"},
    "output layer": {"target_modules": ["lm_head"]},
    "whole module": {"modules_to_save": ["visual.merger.mlp.0"]},
    "whole embedding": {"modules_to_save": ["embed_tokens"]},
    "tokens": {"trainable_token_indices": {"embed_tokens": [5, 900]}},
    "biases of LoRA": {"target_modules": r"model\.language_model\..*(q|v)_proj", "lora_bias": True},
}


@pytest.mark.filterwarnings("ignore")  # of PEFT, about tied layers
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", MERGE_KINDS)
def test_merging_from_file_to_file_gives_the_weights_of_peft_bit_for_bit(
    make_adapted: Callable[..., Any], tiny_folder: Path, tmp_path: Path, kind: str, dtype: str
) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    from mg_tui.engine.results.merge import merge_weights
    from mg_tui.engine.results.streamed_merge import MergePlan, plan_merge, write_merge

    adapted = make_adapted(dtype, **MERGE_KINDS[kind])
    for name, weights in adapted.named_parameters():
        if "lora_embedding_A" in name:  # PEFT begins with zeros here, and not in B
            weights.data += 0.05 * torch.randn_like(weights)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    base = AutoModelForImageTextToText.from_pretrained(tiny_folder, dtype=getattr(torch, dtype))
    plan = plan_merge(base, tiny_folder, tmp_path / "adapter", dtype)  # type: ignore[arg-type]
    assert isinstance(plan, MergePlan) and plan.layers
    write_merge(plan, tiny_folder, tmp_path)
    expected = merge_weights(adapted).state_dict()
    before = base.state_dict()
    actual = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=getattr(torch, dtype)).state_dict()
    assert actual.keys() == expected.keys()
    assert {key for key in expected if not torch.equal(actual[key], expected[key])} == set()
    assert {key for key in expected if not torch.equal(before[key], expected[key])}, "the adapter does something"


@pytest.fixture
def three_threads() -> Iterator[None]:
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(count)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("scaling", [2.0, 1.3])
def test_blocks_of_rows_made_by_threads_are_the_weights_of_peft_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, three_threads: None, dtype: str, scaling: float
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file

    from mg_tui.engine.results import safetensors_writing as writing
    from mg_tui.engine.results.merge_layers import adapted_layers, low_rank_update
    from mg_tui.engine.results.safetensors_files import read_tensors

    monkeypatch.setattr(writing, "_BLOCK_NUMBERS", 1 << 12)  # forty blocks instead of one
    monkeypatch.setattr(writing, "_COPY_BYTES", 1000)
    torch.manual_seed(5)
    plain = torch.nn.Sequential(torch.nn.Linear(129, 1301), torch.nn.Linear(1301, 40)).to(getattr(torch, dtype))
    save_file(plain.state_dict(), tmp_path / "before.safetensors")
    adapted = get_peft_model(plain, LoraConfig(r=5, lora_alpha=5 * scaling, target_modules=["0"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_()
    update = low_rank_update(adapted_layers(adapted)["0"])
    assert update is not None and update.scaling == scaling
    stored = {tensor.name: tensor for tensor in read_tensors(tmp_path / "before.safetensors")}
    blocks = []

    def make(first: int, end: int, buffers: writing.Buffers) -> torch.Tensor:
        blocks.append((first, end))
        rows = buffers.take("rows", (end - first, 129), getattr(torch, dtype))
        stored["0.weight"].read_into(rows, first)
        return update.add_to(rows, first, end, buffers)

    sources = {"0.weight": writing.RowBlocks(make), "0.bias": lambda: plain[0].bias.data}
    tensors = [
        writing.NewTensor(name, dtype, each.shape, sources.get(name, each))  # type: ignore[arg-type]
        for name, each in stored.items()
    ]
    with writing.TensorWriter() as writer:
        writer.write(tmp_path / "after.safetensors", tensors)
    expected = adapted.merge_and_unload().state_dict()
    actual = load_file(tmp_path / "after.safetensors")
    assert len(blocks) == 40 and min(end - first for first, end in blocks) >= 32
    assert {name for name in expected if not torch.equal(actual[name], expected[name])} == set()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3, "what others compute later is not slower"


def test_a_block_that_fails_ends_the_file_and_every_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, three_threads: None
) -> None:
    import threading

    import torch

    from mg_tui.engine.results import safetensors_writing as writing

    monkeypatch.setattr(writing, "_BLOCK_NUMBERS", 64)
    before, made = threading.active_count(), []

    def make(first: int, end: int, _buffers: writing.Buffers) -> torch.Tensor:
        made.append(first)
        if threading.current_thread().name.endswith("_1"):  # not the one that is waited for first
            raise OSError(28, "No space left on device")
        return torch.zeros(end - first, 2)

    tensors = [writing.NewTensor("weight", "float32", (320_000, 2), writing.RowBlocks(make))]
    with writing.TensorWriter() as writer, pytest.raises(OSError, match="No space left"):
        writer.write(tmp_path / "file", tensors)
    assert threading.active_count() == before and len(made) < 10_000


def test_a_checkpoint_of_several_files_is_merged_file_by_file(
    result: Path, tiny_folder: Path, merged: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The same weights under the same names in the same files, at most one of them read at a time."""
    from transformers import AutoModelForImageTextToText

    base = tmp_path / "base"
    shutil.copytree(tiny_folder, base)
    (base / "model.safetensors").unlink()
    AutoModelForImageTextToText.from_pretrained(tiny_folder).save_pretrained(base, max_shard_size="1MB")
    shutil.copyfile(tiny_folder / "config.json", base / "config.json")
    (base / "notes.txt").write_text("as it was")
    run_merge(result, tmp_path / "out", base_model=str(base))
    index = json.loads((base / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(index.values())) > 3
    assert json.loads((tmp_path / "out/model.safetensors.index.json").read_text())["weight_map"] == index
    assert (tmp_path / "out/notes.txt").read_text() == "as it was"
    with safe_open(merged[0] / "model.safetensors", framework="pt") as whole:
        for name, file in index.items():
            with safe_open(tmp_path / "out" / file, framework="pt") as part:
                assert (part.get_tensor(name) == whole.get_tensor(name)).all(), name


def test_what_merging_does_not_change_is_copied_byte_for_byte(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tiny_folder: Path, tmp_path: Path
) -> None:
    folder = save(make_adapted("bfloat16"), tmp_path / "adapter", dtype="bfloat16")
    run_merge(folder, tmp_path / "out")
    assert (tmp_path / "out/config.json").read_bytes() == (tiny_folder / "config.json").read_bytes()
    with (
        safe_open(tiny_folder / "model.safetensors", framework="pt") as before,
        safe_open(tmp_path / "out/model.safetensors", framework="pt") as after,
    ):
        assert list(before.keys()) == list(after.keys())
        changed = [key for key in before.keys() if (before.get_tensor(key) != after.get_tensor(key)).any()]  # noqa: SIM118
    assert len(changed) == 12 and all(key.split(".")[-2] in ("q_proj", "v_proj", "down_proj") for key in changed)


def test_a_model_that_cannot_be_merged_from_file_to_file_is_merged_in_memory(
    result: Path, merged: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.engine.results import streamed_merge

    monkeypatch.setattr(streamed_merge, "find_odd_layer", lambda _adapted: "ParamWrapper")
    record = run_merge(result, tmp_path / "out")
    assert record["comparison"]["top1_agreement"] == 1.0
    with (
        safe_open(merged[0] / "model.safetensors", framework="pt") as expected,
        safe_open(tmp_path / "out/model.safetensors", framework="pt") as actual,
    ):
        assert set(expected.keys()) == set(actual.keys())
        assert all((expected.get_tensor(k) == actual.get_tensor(k)).all() for k in expected.keys())  # noqa: SIM118


@pytest.fixture(scope="module")
def four_bit(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model as a checkpoint that bitsandbytes quantized to 4 bit."""
    import torch
    from transformers import AutoModelForImageTextToText, BitsAndBytesConfig

    folder = tmp_path_factory.mktemp("four-bit") / "tiny-4bit"
    shutil.copytree(tiny_folder, folder)
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=["model.visual", "lm_head"],
    )
    model = AutoModelForImageTextToText.from_pretrained(tiny_folder, dtype=torch.float32, quantization_config=config)
    model.save_pretrained(folder)
    return folder


def test_a_base_that_is_there_in_4_bit_only_is_dequantized_and_said(
    result: Path, four_bit: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForImageTextToText

    said = RecordingChannel()
    from mg_tui.engine.results.merge import Merger

    request = {
        "model": str(result),
        "output": str(tmp_path / "out"),
        "home": str(tmp_path),
        "base_model": str(four_bit),
    }
    Merger(said).merge(request)
    assert any("its weights are dequantized" in str(event.get("text")) for event in said.events)
    assert "quantization_config" not in json.loads((tmp_path / "out/config.json").read_text())
    layer = "model.language_model.layers.0.mlp.up_proj"
    loaded = AutoModelForImageTextToText.from_pretrained(four_bit, dtype=torch.float32).get_submodule(layer)
    from bitsandbytes.functional import dequantize_4bit

    expected = dequantize_4bit(loaded.weight.data, loaded.weight.quant_state)
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype=torch.float32).get_submodule(layer)
    assert torch.equal(merged.weight.data, expected)


def test_a_4_bit_base_is_replaced_by_the_weights_it_came_from(
    result: Path, four_bit: Path, tiny_folder: Path, merged: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(four_bit, base)
    (base / "README.md").write_text(f"---\nbase_model: {tiny_folder}\n---\n")
    record = run_merge(result, tmp_path / "out", base_model=str(base))
    assert record["base_model"] == str(tiny_folder)
    assert (tmp_path / "out/model.safetensors").read_bytes() == (merged[0] / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "weights are missing"),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\xff" * 64), "damaged"),
        (lambda folder: _truncate(folder / "adapter_model.safetensors"), "damaged"),
        (lambda folder: shutil.rmtree(folder), "does not exist"),
        (lambda folder: _rename_base(folder), "base model is not there"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "adapter"),
    ],
    ids=["missing", "overwritten", "cut", "no folder", "no base", "config"],
)
def test_bad_results_are_one_clear_error(
    result: Path, tmp_path: Path, damage: Callable[[Path], None], expected: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(result, folder)
    damage(folder)
    with pytest.raises(GardenError, match=expected) as caught:
        run_merge(folder, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("in_memory", [False, True], ids=["by file", "in memory"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_adapter_with_a_number_that_is_none_is_not_merged(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: float, in_memory: bool
) -> None:
    from safetensors.torch import load_file, save_file

    from mg_tui.engine.results import streamed_merge

    if in_memory:
        monkeypatch.setattr(streamed_merge, "find_odd_layer", lambda _adapted: "ParamWrapper")
    folder = tmp_path / "copy"
    shutil.copytree(result, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    name = next(name for name in weights if "lora_B" in name)
    weights[name][0, 0] = number
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GardenError, match="no numbers"):
        run_merge(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _rename_base(folder: Path) -> None:
    contract = json.loads((folder / "model_garden.json").read_text())
    contract["base"] = {"name": "/gone/model", "path": "/gone/model"}
    (folder / "model_garden.json").write_text(json.dumps(contract))


def test_a_missing_base_can_be_given(result: Path, tmp_path: Path, tiny_folder: Path) -> None:
    from mg_tui.engine.inference.locator import locate_model
    from mg_tui.families.registry import load_registry

    shutil.copytree(result, tmp_path / "copy")
    _rename_base(tmp_path / "copy")
    actual = locate_model(str(tmp_path / "copy"), home=tmp_path, registry=load_registry(), base_model=str(tiny_folder))
    assert actual.base.source == str(tiny_folder) and actual.is_adapter


def test_an_adapter_of_another_model_is_refused(result: Path, tmp_path: Path) -> None:
    shutil.copytree(result, tmp_path / "copy")
    config = json.loads((tmp_path / "copy/adapter_config.json").read_text())
    config["target_modules"] = r"model\.language_model\..*(q|v|up)_proj"
    (tmp_path / "copy/adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="does not fit") as caught:
        run_merge(tmp_path / "copy", tmp_path / "out")
    assert "up_proj" in str(caught.value) and "down_proj" in str(caught.value)


def test_whole_models_and_full_places_are_refused(result: Path, tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="nothing to merge"):
        run_merge(tiny_folder, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(UsageError, match="not empty"):
        run_merge(result, tmp_path / "full")
    with pytest.raises(UsageError, match="is a file"):
        run_merge(result, tmp_path / "full/file")


def test_a_full_disk_is_seen_before_writing(result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 9, 1))
    with pytest.raises(EnvironmentProblem, match="no room"):
        run_merge(result, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
