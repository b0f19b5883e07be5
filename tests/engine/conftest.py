"""A trained result of the tiny model, shared by the tests of what is done with results."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.families.registry import load_registry


@pytest.fixture(scope="session", autouse=True)
def _quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing here may wait for a network, or depend on what other processes keep; threads cost models this small more
    than they bring."""
    from torch import get_num_threads, set_num_threads

    threads = get_num_threads()
    set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MODEL_GARDEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The folder of the checkpoint that comes with the Qwen2.5-VL plugin."""
    return Path(load_registry().resolve("tiny").source)


@pytest.fixture(scope="session")
def make_adapted(tiny_folder: Path) -> Callable[..., Any]:
    """Makes a PEFT model of tiny whose adapter changes answers; arguments are those of LoraConfig."""

    def make(dtype: str = "float32", strength: float = 0.05, **config: Any) -> Any:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForImageTextToText

        torch.manual_seed(1)
        base = AutoModelForImageTextToText.from_pretrained(tiny_folder, dtype=getattr(torch, dtype))
        inputs = {"r": 4, "lora_alpha": 8, "target_modules": r"model\.language_model\..*(q|v|down)_proj", **config}
        model = get_peft_model(base, LoraConfig(**inputs))
        for name, weights in model.named_parameters():
            # What training would have changed; a fresh adapter does nothing.
            if "lora_B" in name or "lora_embedding_B" in name or "modules_to_save" in name:
                weights.data += strength * torch.randn_like(weights)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def spec() -> TrainingSpec:
    return TrainingSpec.parse(
        {
            "base_model": "tiny",
            "dataset": "/data/a | b `odd`.jsonl",
            "system_prompt": "Be brief.",
            "learning_rate": 1e-3,
            "max_pixels": 50176,
            "text_field": "question",
        }
    )


@pytest.fixture(scope="session")
def save(spec: TrainingSpec) -> Callable[..., Path]:
    """Saves a model as the result of `spec`."""

    def save_model(model: Any, folder: Path, **changes: Any) -> Path:
        from mg_tui.engine.results.saving import TrainingSummary, save_result

        base = load_registry().resolve("tiny")
        assert base.family is not None
        used = changes.pop("spec", spec)
        contract = {"max_pixels": used.max_pixels, "min_pixels": used.min_pixels}
        from mg_tui.families.contract import Preprocessing

        processor = base.family.load_processor(base.family, base.source, Preprocessing(**contract))
        facts = TrainingSummary(
            final_loss=0.125, steps=30, examples=1200, seconds=61.2, trained_parts={"language": 4096}
        )
        inputs = {"dtype": "float32", "quantization": "none", "run": "run-1", **changes}
        return save_result(
            model, processor, spec=used, family=base.family, base=base, folder=folder, facts=facts, **inputs
        )

    return save_model


@pytest.fixture(scope="session")
def result(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A saved adapter. Tests that change it copy it first."""
    return save(make_adapted(), tmp_path_factory.mktemp("results") / "my-model")
