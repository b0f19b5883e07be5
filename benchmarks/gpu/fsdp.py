"""FSDP2 over a model in nf4, in one process: whether it trains, and with the same losses as without.

Blocks of a frozen nf4 layer and a trained low-rank pair, with checkpointing: for both storage dtypes of the packed
weights, both dtypes of the pair, with and without mixed precision. Then the tiny model as the engine loads it.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import transformers
from equivalence import TinyModel, loss_and_gradients
from tasks import BenchmarkSetting, TaskReport
from torch import nn
from torch.utils.checkpoint import checkpoint
from training_runs import largest_relative_difference

WIDTH, DRY_WIDTH = 2048, 256
LARGEST_DIFFERENCE = 2e-2  # of losses, relative: mixed precision casts the pair


class QuantizedBlock(nn.Module):  # type: ignore[misc]
    """A residual block: norm, nf4 layer, low-rank pair."""

    def __init__(self, width: int, storage: torch.dtype, dtype: torch.dtype):
        from bitsandbytes.nn import Linear4bit

        super().__init__()
        options = {"compute_dtype": torch.bfloat16, "quant_type": "nf4", "compress_statistics": True}
        self.norm = nn.LayerNorm(width, dtype=torch.bfloat16)
        self.base = Linear4bit(width, width, bias=False, quant_storage=storage, **options)
        self.inner, self.outer = nn.Linear(width, 8, False, dtype=dtype), nn.Linear(8, width, False, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """With checkpointing."""
        output: torch.Tensor = checkpoint(self._compute, x, use_reentrant=False)
        return output

    def _compute(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(x)
        low_rank = self.outer(self.inner(hidden.to(self.inner.weight.dtype)))
        output: torch.Tensor = x + self.base(hidden) + low_rank.to(x.dtype)
        return output


def compare_losses(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: the losses of three steps, sharded and not.

    Raises:
        RuntimeError: they differ for every combination.
    """
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    dist.init_process_group("gloo" if setting.dry else "nccl", store=dist.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh(setting.device.partition(":")[0], (1,))
    width = DRY_WIDTH if setting.dry else WIDTH
    inputs = torch.randn(4, width, generator=torch.Generator().manual_seed(1)).to(setting.device, torch.bfloat16)
    storages, same = (torch.bfloat16, torch.uint8), 0
    combinations = itertools.product(storages, (torch.float32, torch.bfloat16), (False, True))
    for storage, dtype, mixed in [next(combinations)] if setting.dry else combinations:
        case: dict[str, Any] = {"storage": _name(storage), "pair": _name(dtype), "mixed_precision": mixed}
        try:
            case["unsharded_losses"] = _train(_make_blocks(width, storage, dtype, setting.device), inputs)
            policy = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32} if mixed else {}
            model = _make_blocks(width, storage, dtype, setting.device)
            for module in (*model, model):
                fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(**policy))
            case["losses"] = _train(model, inputs)
            difference = largest_relative_difference(case["losses"], case["unsharded_losses"])
            case["largest_relative_difference"] = difference
            same += difference < LARGEST_DIFFERENCE
        except Exception as error:  # which combinations work is the question
            case["why_not"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
        report.add("cases", case)
    for storage in storages[:1] if setting.dry else storages:
        try:
            result = _compare_tiny(setting, storage, lambda module: fully_shard(module, mesh=mesh))
        except Exception as error:
            result = {"why_not": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"}
        report.add("tiny", {"storage": _name(storage), **result})
    dist.destroy_process_group()
    if not same:
        raise RuntimeError("no combination has the losses of the unsharded model")


def _compare_tiny(
    setting: BenchmarkSetting, storage: torch.dtype, shard: Callable[[Any], Any]
) -> dict[str, dict[str, float] | int]:
    """The loss of a packed pass and the norm of its gradients, before and after sharding the decoder layers."""
    config = functools.partial(transformers.BitsAndBytesConfig, bnb_4bit_quant_storage=storage)
    with mock.patch.object(transformers, "BitsAndBytesConfig", config):
        tiny = TinyModel(setting, quantization="nf4")
    part = tiny.micro_batch()
    tiny.model.train()
    results: dict[str, Any] = {"unsharded": _loss_and_norm(tiny, part)}
    for layer in tiny.model.get_base_model().get_decoder().layers:
        shard(layer)
    results["sharded_weights"] = sum(hasattr(weight, "full_tensor") for weight in tiny.model.parameters())
    results["sharded"] = _loss_and_norm(tiny, part)
    return results


def _loss_and_norm(tiny: TinyModel, part: Any) -> dict[str, float]:
    loss, gradients = loss_and_gradients(tiny.model, part, tiny.device)
    full = [gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient for gradient in gradients]
    return {"loss": loss, "gradient_norm": float(sum(gradient.norm() ** 2 for gradient in full) ** 0.5)}


def _make_blocks(width: int, storage: torch.dtype, dtype: torch.dtype, device: str) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(*(QuantizedBlock(width, storage, dtype) for _ in range(3))).to(device)
    for block in model:
        block.base.requires_grad_(False)
        block.norm.requires_grad_(False)
    return model


def _train(model: nn.Module, inputs: torch.Tensor) -> list[float]:
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model(inputs).float().pow(2).mean()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
        optimizer.zero_grad()
    return losses


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
