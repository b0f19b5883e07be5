"""Where the time of some steps goes, by torch's profiler: CUDA kernels, or operations on a CPU, summed by name."""

import re
import time
from typing import Any

import torch
from transformers import TrainerCallback

_KINDS = (  # the first pattern that matches a kernel's name
    ("memory", r"memcpy|memset"),
    ("dequantization", r"dequant|kgemm_4bit|quantize"),
    ("attention", r"flex|flash|fmha|attention|softmax"),
    ("products", r"gemm|cutlass|nvjet|cublas|xmma|wgmma|splitk|addmm|aten::mm|linear"),
    ("optimizer", r"adam|multi_tensor|foreach"),
    ("reductions", r"reduce|norm|sum"),
    ("indexing", r"index|gather|scatter|embedding"),
    ("elementwise", r"elementwise|vectorized|copy|triton|silu|mul|add|cat"),
)


class StepProfile(TrainerCallback):  # type: ignore[misc]
    """Profiles the steps of a range (numbers from 1); afterwards `summary` describes them."""

    def __init__(self, steps: range, names: int = 30):
        self.steps = steps
        self.names = names
        self.summary: dict[str, Any] = {}
        self._profiler: Any = None
        self._started = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start before the first step."""
        if state.global_step + 1 == self.steps.start:
            activity = torch.profiler.ProfilerActivity
            kind = activity.CUDA if torch.cuda.is_available() else activity.CPU
            self._profiler = torch.profiler.profile(activities=[kind])
            self._profiler.__enter__()
            self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop after the last step."""
        if self._profiler is not None and state.global_step + 1 == self.steps.stop:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds = time.perf_counter() - self._started
            self._profiler.__exit__(None, None, None)
            self.summary = summarize(self._profiler, seconds, self.names)
            self._profiler = None


def summarize(profiler: Any, seconds: float, names: int) -> dict[str, Any]:
    """Seconds of work on the device, or on the CPU without one: in total, by kind, and by the `names` largest names."""
    cuda = torch.cuda.is_available()
    totals: dict[str, list[float]] = {}
    for event in profiler.events():
        on_device = event.device_type == torch.autograd.DeviceType.CUDA
        if cuda and (not on_device or getattr(event, "is_user_annotation", False)):
            continue
        microseconds = event.time_range.elapsed_us() if cuda else event.self_cpu_time_total
        if microseconds:
            total = totals.setdefault(event.name, [0.0, 0])
            total[0] += microseconds / 1e6
            total[1] += 1
    ordered = sorted(totals.items(), key=lambda item: -item[1][0])
    kinds: dict[str, float] = {}
    for name, (spent, _count) in ordered:
        kinds[kind_of(name)] = kinds.get(kind_of(name), 0.0) + spent
    busy = sum(kinds.values())
    return {
        "seconds": seconds,
        "busy_seconds": busy,
        "busy": busy / seconds,
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "names": [{"name": name[:160], "seconds": spent, "count": count} for name, (spent, count) in ordered[:names]],
    }


def kind_of(name: str) -> str:
    """The kind of a kernel or operation."""
    return next((kind for kind, pattern in _KINDS if re.search(pattern, name, re.IGNORECASE)), "other")
