import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import UsageError
from mg_tui.engine.export.vllm_rules import VllmAdapter, require_vllm_adapter
from mg_tui.families.contract import Unsupported
from mg_tui.families.registry import load_registry


def check(folder: Path, model_type: str = "qwen2_5_vl", *, tower: bool = True) -> VllmAdapter:
    family = load_registry().resolve("tiny").family
    assert family is not None
    if not tower:
        family = replace(family, capabilities={"vllm_tower_adapter": Unsupported("vLLM has no LoRA for its tower")})
    return require_vllm_adapter(folder, family, model_type)


@pytest.fixture
def adapter(result: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(result, tmp_path / "adapter"))


def change_config(folder: Path, **values: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def rename_keys(folder: Path, old: str, new: str) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    save_file({key.replace(old, new): weights for key, weights in load_file(file).items()}, file)


def test_a_language_adapter_is_accepted_with_its_rank(adapter: Path) -> None:
    assert check(adapter) == VllmAdapter(rank=4, tower=False)
    assert check(adapter).max_lora_rank == 8


@pytest.mark.parametrize(
    ("values", "expected"), [({"r": 1}, 1), ({"r": 32}, 32), ({"r": 33}, 64), ({"rank_pattern": {"q_proj": 300}}, 320)]
)
def test_the_rank_option_is_the_smallest_choice_that_is_large_enough(
    adapter: Path, values: dict[str, Any], expected: int
) -> None:
    change_config(adapter, **values)
    assert check(adapter).max_lora_rank == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save: embed_tokens"),
        ({"bias": "lora_only"}, "bias: lora_only"),
        ({"lora_bias": True}, "lora_bias"),
        ({"init_lora_weights": "pissa_niter_16"}, "pissa_niter_16"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"use_qalora": True}, "QALoRA"),
        ({"use_bdlora": {"nblocks": 2}}, "BD-LoRA"),
        ({"r": 1024}, "rank is 1024"),
        ({"peft_type": "LOHA"}, "no LoRA adapter but LOHA"),
    ],
)
def test_what_vllm_refuses_is_refused(adapter: Path, values: dict[str, Any], reason: str) -> None:
    change_config(adapter, **values)
    with pytest.raises(UsageError, match="vLLM cannot serve this adapter") as caught:
        check(adapter)
    assert reason in str(caught.value.why) and "--merged" in str(caught.value.hint)


def test_modules_and_inits_that_vllm_takes_are_no_reason(adapter: Path) -> None:
    change_config(adapter, use_rslora=True, modules_to_save=["score"], init_lora_weights="gaussian")
    assert check(adapter).rank == 4


def test_all_reasons_are_given_at_once(adapter: Path) -> None:
    change_config(adapter, use_dora=True, r=1024, bias="all")
    with pytest.raises(UsageError) as caught:
        check(adapter)
    assert all(reason in str(caught.value.why) for reason in ("DoRA", "1024", "bias: all"))


def test_weights_of_dora_are_refused_whatever_the_configuration_says(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save(make_adapted(use_dora=True), tmp_path / "dora")
    change_config(folder, use_dora=False)
    with pytest.raises(UsageError) as caught:
        check(folder)
    assert "not of LoRA" in str(caught.value.why) and "lora_magnitude_vector" in str(caught.value.why)


def test_keys_of_an_older_transformers_are_refused(adapter: Path) -> None:
    """vLLM's Qwen3-VL loads such an adapter and answers as the base model."""
    rename_keys(adapter, ".model.language_model.layers.", ".model.layers.")
    with pytest.raises(UsageError) as caught:
        check(adapter)
    assert "names that the model does not have" in str(caught.value.why)
    assert "base_model.model.model.layers." in str(caught.value.why)


def test_an_adapter_of_the_vision_tower_needs_a_type_whose_tower_vllm_adapts(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    folder = save(make_adapted(target_modules=r".*visual\.blocks.*(qkv|proj)"), tmp_path / "tower")
    assert check(folder).tower
    with pytest.raises(UsageError) as caught:
        check(folder, "smolvlm", tower=False)
    assert "vision tower" in str(caught.value.why) and "smolvlm" in str(caught.value.why)


def test_a_family_that_vllm_has_no_lora_for_is_refused(adapter: Path) -> None:
    family = next(item for item in load_registry().families if item.key == "llava_onevision")
    with pytest.raises(UsageError, match="vLLM cannot serve this adapter") as caught:
        require_vllm_adapter(adapter, family, "llava_onevision")
    assert str(caught.value.why).startswith("vLLM has no LoRA for it")
    assert "--merged" in str(caught.value.hint)
