"""Two processes over gloo do the step that one does: the same loss, the same gradients, and nobody waits in vain."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mg_tui.engine.layout.partition import World
from mg_tui.engine.run import distributed
from mg_tui.engine.run.rank_supervisor import STORE_ENV

SCRIPT = Path(__file__).with_name("rank_worker.py")


def load_script() -> Any:
    result = importlib.util.spec_from_file_location("rank_worker", SCRIPT)
    assert result is not None and result.loader is not None
    module = importlib.util.module_from_spec(result)
    result.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.socket() as item:
        item.bind(("127.0.0.1", 0))
        return int(item.getsockname()[1])


def run_two_processes(folder: Path, kind: str) -> list[dict[str, Any]]:
    common = {STORE_ENV: f"127.0.0.1:{free_port()}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), kind],
            env={**os.environ, **common, **World(rank, 2, rank, 2).as_environment()},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _out, messages = process.communicate(timeout=240)
            assert process.returncode == 0, messages[-3000:]
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


class OtherRank:
    """Stands in for torch.distributed: a second rank whose numbers are all 10, with a gradient for `owned` weights."""

    def __init__(self, owned: list[bool]):
        self._owned = torch.tensor(owned, dtype=torch.int32)

    def all_reduce(self, tensor: torch.Tensor, kind: Any = torch.distributed.ReduceOp.SUM) -> None:
        if kind == torch.distributed.ReduceOp.MAX:
            tensor.copy_(torch.maximum(tensor, self._owned))
        else:
            tensor += 10


@pytest.mark.parametrize("bucket", [1, 2**25])
def test_gradients_are_summed_over_ranks(monkeypatch: pytest.MonkeyPatch, bucket: int) -> None:
    """In one process, so that it runs every time; below is the same of two."""
    layers = torch.nn.ModuleList(torch.nn.Linear(2, 3, bias=False) for _ in range(5))
    layers[4].weight.requires_grad_(False)
    layers[1].to(torch.bfloat16)
    for number in (0, 1):
        layers[number].weight.grad = torch.full_like(layers[number].weight, number + 1.0)
    monkeypatch.setattr(torch.distributed, "all_reduce", OtherRank([True, True, True, False]).all_reduce)
    monkeypatch.setattr(distributed, "_BUCKET_ELEMENTS", bucket)
    sync = distributed.GradientSync(World(0, 2))
    sync.all_reduce_gradients(layers)
    gradients = [layer.weight.grad for layer in layers]
    assert [None if g is None else sorted(set(g.flatten().tolist())) for g in gradients] == [
        [11.0],  # on both ranks
        [12.0],
        [10.0],  # on the other one only
        None,  # on none: the optimizer skips it, as in one process
        None,  # not trained
    ]
    assert gradients[1] is not None and gradients[1].dtype == torch.bfloat16
    assert sync.all_reduce_sums(1, 2.5) == [11.0, 12.5]


def test_one_process_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *_given: pytest.fail("there is nobody to ask"))
    layer = torch.nn.Linear(2, 3)
    layer.weight.grad = torch.ones_like(layer.weight)
    sync = distributed.GradientSync(World())
    sync.all_reduce_gradients(layer)
    assert sync.all_reduce_sums(1, 2.5) == [1, 2.5]
    assert bool((layer.weight.grad == 1).all()) and layer.bias.grad is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["packed", "padded", "out of memory on rank 1"])
def test_two_processes_do_the_step_of_one(tmp_path: Path, kind: str) -> None:
    alone = load_script().train(tmp_path, kind, World())
    ranks = run_two_processes(tmp_path, kind)

    for result in ranks:
        assert result["passes"][0] >= 1
        for step, expected in zip(result["steps"], alone["steps"], strict=True):
            assert step["loss"] == pytest.approx(expected["loss"], rel=1e-5)
            assert step["supervised_tokens"] == expected["supervised_tokens"]
            assert (step["tokens"], step["images"]) == (expected["tokens"], expected["images"])
            assert sorted(step["rows"]) == sorted(expected["rows"])
        gradients = result["gradients"]
        assert gradients.keys() == alone["gradients"].keys()
        size = torch.stack([item.norm() for item in alone["gradients"].values()]).norm()
        off = torch.stack([(gradients[name] - item).norm() for name, item in alone["gradients"].items()]).norm()
        assert float(off / size) < 1e-5
        # The second step has no image anywhere: the tower has no gradient, and not one of zeros.
        assert result["without"] == alone["without"]
        assert result["without"] and all(".visual." in name for name in result["without"])
    assert alone["steps"][0]["images"] == 3
    if kind == "out of memory on rank 1":  # smaller on both, and both know where it did not fit
        for result in ranks:
            (relaid,) = result["relaid"]
            assert (relaid["rank"], relaid["step"]) == (1, 1) and len(relaid["rows"]) > 1
            assert result["budget"] == relaid["budget"] == 75
