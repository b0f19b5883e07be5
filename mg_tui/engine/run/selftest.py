"""`python -m mg_tui.engine.run.selftest`: does what runs do on this machine, in small, in answer to JSON lines.

    {"op": "device"}   torch computes on the device                            -> result
    {"op": "flex"}     flex attention is compiled and right                    -> result
    {"op": "flash"}    flash-attn runs                                         -> result
    {"op": "nf4"}, {"op": "int8"}   bitsandbytes quantizes, and a gradient passes through  -> result
    {"op": "unsloth"}  unsloth can be imported                                 -> result
    {"op": "nccl"}     the GPUs add numbers together                           -> result

`result` has level (ok, warning, problem), text and hint. The protocol is that of `mg_tui.runs.engine_process`. A check
may end the process (a library that crashes), which its reader reports.
"""

import importlib
import importlib.util
import os
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from mg_tui.core.text import first_line
from mg_tui.engine.inference.channel import Channel, exit_process, serve

_WIDTH: Final = 256  # of the layers that are tried
_TOLERANCE: Final = {"nf4": 0.25, "int8": 0.05}  # relative error of a product with quantized weights
_NCCL_SECONDS: Final = 60.0

Result = tuple[str, str, str | None]


def main() -> None:
    """Answer requests until standard input closes."""
    channel = Channel.from_stdio()

    def answer(check: Callable[[], Result]) -> Callable[[dict[str, Any]], None]:
        def operation(_request: dict[str, Any]) -> None:
            started = time.perf_counter()
            try:
                level, text, hint = check()
            except Exception as error:  # whatever a library raises is what was to be found out
                level, text, hint = "problem", f"{type(error).__name__}: {first_line(error)[:300]}", None
            channel.send("result", level=level, text=text, hint=hint, seconds=round(time.perf_counter() - started, 2))

        return operation

    serve(channel, {name: answer(check) for name, check in CHECKS.items()})
    exit_process()


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device() -> Result:
    """A product and its gradient on the device that a run would choose."""
    import torch

    device = _device()
    x = torch.randn(_WIDTH, _WIDTH, device=device, requires_grad=True)
    (x @ x).square().mean().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())
    if device == "cpu":
        return "ok", f"torch {torch.__version__} computes on the CPU; it sees no GPU", None
    names = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
    return "ok", f"torch {torch.__version__} computes on {names}", None


def check_flex() -> Result:
    """The attention kernel of packed layouts, as a run tries it before its first step."""
    import torch

    from mg_tui.engine.compute import flex_attention

    if _device() == "cpu":
        return _compile_on_cpu()
    weight = torch.nn.Linear(64, 64, device="cuda", dtype=torch.bfloat16)
    config = SimpleNamespace(num_attention_heads=4, num_key_value_heads=2, head_dim=64)
    model = SimpleNamespace(
        get_output_embeddings=lambda: weight,
        parameters=weight.parameters,
        config=SimpleNamespace(get_text_config=lambda: config),
    )
    problem = flex_attention.try_attention(model)
    if problem is not None:
        hint = "runs use attention by blocks instead, which is slower; usually a C compiler is missing"
        return "problem", problem, hint
    return "ok", "compiled forward and backward, and right", None


def _compile_on_cpu() -> Result:
    """The same without a gradient, which torch does not have on the CPU; runs there use attention by blocks anyway."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def sees(_batch: Any, _head: Any, query: Any, key: Any) -> Any:
        return key <= query

    q, k, v = (torch.randn(1, 2, 256, 64) for _ in range(3))  # torch 2.10 refuses one tensor for all three
    mask = create_block_mask(sees, None, None, 256, 256, device="cpu")
    try:
        with torch.no_grad():
            output = torch.compile(flex_attention, fullgraph=True)(q, k, v, block_mask=mask)
    except Exception as error:  # any error of the compiler; nothing that runs here needs it
        text = f"cannot be compiled here: {type(error).__name__}: {first_line(error)[:200]}; only GPUs use it"
        return "warning", text, "see the lines on the C compiler; install g++"
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    if not torch.allclose(output, expected, atol=1e-3):
        return "warning", "compiled, and its results differ; only GPUs use it", None
    return "ok", "compiled for the CPU, and right; runs use it on GPUs only", None


def check_flash() -> Result:
    """flash-attn's kernel, where it is installed."""
    import torch

    if importlib.util.find_spec("flash_attn") is None:
        return "ok", "not installed; only attention flash_attention_2 needs it", None
    if _device() == "cpu":
        return "ok", "installed; not tried without a GPU", None
    flash = importlib.import_module("flash_attn")
    x = torch.randn(1, 128, 4, 64, device="cuda", dtype=torch.float16)
    expected = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2),) * 3, is_causal=True)
    difference = (flash.flash_attn_func(x, x, x, causal=True).transpose(1, 2) - expected).abs().max().item()
    if difference > 0.05:
        return "problem", f"its results are off by {difference:.3g}", "install a build for this torch and CUDA"
    return "ok", "runs, and is right", None


def check_quantized(kind: str) -> Result:
    """A layer with quantized weights, forward and backward, against the same one in full."""
    import torch

    if importlib.util.find_spec("bitsandbytes") is None:
        return (
            "warning",
            "bitsandbytes is not installed",
            "runs on a GPU are not quantized; uv pip install bitsandbytes",
        )
    import bitsandbytes as bnb

    device = _device()
    dtype = torch.float16 if device == "cuda" else torch.float32
    torch.manual_seed(0)
    full = torch.nn.Linear(_WIDTH, _WIDTH, bias=False)
    if kind == "nf4":
        layer = bnb.nn.Linear4bit(_WIDTH, _WIDTH, bias=False, quant_type="nf4", compute_dtype=dtype)
    else:
        layer = bnb.nn.Linear8bitLt(_WIDTH, _WIDTH, bias=False, has_fp16_weights=False)
    layer.load_state_dict(full.state_dict())
    layer, full = layer.to(device), full.to(device, dtype)
    x = torch.randn(16, _WIDTH, device=device, dtype=dtype, requires_grad=True)
    output, expected = layer(x), full(x.detach())
    output.float().square().mean().backward()
    error = float((output.detach().float() - expected.float()).norm() / expected.float().norm())
    if x.grad is None or not bool(torch.isfinite(x.grad).all()) or not error < _TOLERANCE[kind]:
        return "problem", f"its results are off by {error:.0%}", "install a bitsandbytes that fits this torch and CUDA"
    where = "the GPU" if device == "cuda" else "the CPU"
    return "ok", f"bitsandbytes {bnb.__version__} runs on {where}, and a gradient passes through", None


def check_unsloth() -> Result:
    """Whether the backend unsloth can be imported."""
    if importlib.util.find_spec("unsloth") is None:
        return "ok", "not installed; only the backend unsloth needs it", None
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.engine.run.placement import choose_placement
    from mg_tui.engine.run.unsloth_backend import import_unsloth

    placement = choose_placement(TrainingSpec(base_model="tiny", dataset="none"))
    if not placement.cuda:  # its import raises without one
        return "ok", "installed, not imported: it needs a CUDA device, and runs without one use transformers", None
    why = import_unsloth(placement)
    if why is None:
        return "ok", "can be imported", None
    return "problem", why, "runs with it fall back to transformers"


def check_nccl() -> Result:
    """A sum over all GPUs."""
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return "ok", f"not tried: {'one GPU' if count else 'no GPU'}", None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.spawn(add_over_gpus, args=(count, port), nprocs=count, join=False)
    deadline = time.monotonic() + _NCCL_SECONDS
    hint = "set NCCL_DEBUG=INFO and run it again; NCCL_P2P_DISABLE=1 helps where GPUs cannot reach each other's memory"
    while not context.join(timeout=1.0):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            return "problem", f"{count} GPUs did not answer each other within {_NCCL_SECONDS:.0f} s", hint
    return "ok", f"{count} GPUs added numbers together", None


def add_over_gpus(rank: int, count: int, port: int) -> None:
    """One process of `check_nccl`."""
    import torch
    import torch.distributed as dist

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", rank=rank, world_size=count)
    value = torch.tensor([float(rank)], device=f"cuda:{rank}")
    dist.all_reduce(value)
    dist.destroy_process_group()
    if value.item() != count * (count - 1) / 2:
        raise RuntimeError(f"the sum over {count} GPUs was {value.item()}")


CHECKS: Final[dict[str, Callable[[], Result]]] = {
    "device": check_device,
    "flex": check_flex,
    "flash": check_flash,
    "nf4": lambda: check_quantized("nf4"),
    "int8": lambda: check_quantized("int8"),
    "unsloth": check_unsloth,
    "nccl": check_nccl,
}

if __name__ == "__main__":
    main()
