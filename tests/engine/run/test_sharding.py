"""Decoder layers shared among processes compute what whole ones do."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from mg_qwen2_5_vl import QWEN2_5_VL

from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import sharding, trainable_parameters
from mg_tui.engine.run.distributed import GradientSync
from mg_tui.engine.run.placement import Placement
from mg_tui.families.contract import LoadRequest

TINY = str(QWEN2_5_VL.checkpoints[-1].path)


@pytest.fixture
def group() -> Iterator[GradientSync]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield GradientSync()
    dist.destroy_process_group()


def load(quantization: Any = "none", **options: Any) -> Any:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d", "lora_r": 4, **options})
    request = LoadRequest(TINY, dtype="float32", device="cpu", quantization=quantization)
    return trainable_parameters.make_trainable(QWEN2_5_VL.load_model(QWEN2_5_VL, request), QWEN2_5_VL, spec)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model.train()
    ids = torch.arange(24)[None] % 90
    model(input_ids=ids, labels=ids).loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_logits_and_gradients_are_the_same(group: GradientSync, quantization: str) -> None:
    model = load(quantization)
    for number, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
        parameter.data = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) / 50
    before = gradients(model)
    assert sharding.shard_and_test(model, group, "cpu", whole=True) is None
    weights = dict(model.named_parameters())
    shared = [name for name, weight in weights.items() if hasattr(weight, "full_tensor")]
    assert shared and all(".layers." in name or "embed_tokens" in name for name in shared)
    assert not any("lora_" in name or ".visual." in name for name in shared), "what is trained stays whole"
    layers = [name for name in weights if ".language_model.layers." in name and "lora_" not in name]
    assert set(layers) <= set(shared), "every frozen weight of a decoder layer is shared"
    if quantization == "nf4":
        assert any(weights[name].dtype == torch.uint8 for name in shared)
    after = gradients(model)
    assert after.keys() == before.keys()
    for name, gradient in before.items():
        torch.testing.assert_close(after[name], gradient, rtol=1e-5, atol=1e-7)


def test_a_model_that_computes_something_else_is_not_used(group: GradientSync, monkeypatch: pytest.MonkeyPatch) -> None:
    results = itertools.chain([torch.zeros(3)], [torch.tensor([0.0, 0.5, 0.0])])
    monkeypatch.setattr(sharding, "trial_logits", lambda _model: next(results))
    assert sharding.shard_and_test(load(), group, "cpu", whole=True) == "logits differ by 0.5 after sharding"
    monkeypatch.setattr(sharding, "trial_logits", lambda _model: torch.tensor([float("nan")]))
    assert "not finite" in str(sharding.shard_and_test(load(), group, "cpu", whole=False))


def placement(quantization: Any = "none") -> Placement:
    return Placement("cpu", "a CPU", "float32", quantization, "sdpa")


def budget(peak: int, available: int) -> Any:
    return SimpleNamespace(estimate=SimpleNamespace(peak=peak), available_bytes=available)


@pytest.mark.parametrize(
    ("options", "quantization", "token_budget", "chosen", "why"),
    [
        ({}, "none", budget(2 << 30, 3 << 30), "ddp", "a whole model fits each device: 2.0 GiB"),
        ({}, "nf4", budget(4 << 30, 3 << 30), "fsdp", "does not fit each device: here 4.0 GiB"),
        ({}, "int8", budget(4 << 30, 3 << 30), "ddp", "int8 weights have scales"),
        ({"train_vision": "full"}, "none", budget(4 << 30, 3 << 30), "ddp", "trained in full"),
        ({}, "none", None, "ddp", "not estimated"),
        ({"parallel": "fsdp"}, "none", None, "fsdp", "requested"),
        ({"parallel": "ddp"}, "none", budget(4, 3), "ddp", "requested"),
    ],
)
def test_what_auto_chooses(options: Any, quantization: Any, token_budget: Any, chosen: str, why: str) -> None:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d", **options})
    parallel, reason = sharding.choose_parallel(spec, placement(quantization), token_budget, GradientSync())
    assert parallel == chosen and why in reason


@pytest.mark.parametrize(
    ("options", "quantization"),
    [({"train_projector": "full"}, "none"), ({}, "int8"), ({"eval_metrics": "auto", "eval_split": 0.1}, "none")],
)
def test_what_cannot_be_shared_is_refused(options: Any, quantization: Any) -> None:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d", "parallel": "fsdp", **options})
    with pytest.raises(UsageError, match="fsdp is not possible here"):
        sharding.choose_parallel(spec, placement(quantization), None, GradientSync())


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("options", [["--workers", "1"], ["--quantization", "nf4"]], ids=["workers", "nf4"])
def test_two_processes_with_shared_layers_train_as_one(tmp_path: Path, options: list[str]) -> None:
    from scripts.compare_ranks import LOSS_TOLERANCE, WEIGHTS_TOLERANCE, differences, run, write_dataset

    write_dataset(tmp_path / "data")
    one = run(tmp_path, 1, "auto", 4, options)
    for parallel in ("ddp", "fsdp"):
        loss, weights = differences(one, run(tmp_path, 2, parallel, 4, options))
        assert loss < LOSS_TOLERANCE and weights < WEIGHTS_TOLERANCE, parallel
