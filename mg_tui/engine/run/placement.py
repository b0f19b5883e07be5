"""The device, dtype, quantization and attention of a run, each choice with its reason."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.layout.partition import World
from mg_tui.hardware.host import cpu_name


@dataclass(frozen=True, slots=True)
class Placement:
    """The choices. `device` is torch's name for it, `device_title` the model of the device; `reasons` by choice."""

    device: str
    device_title: str
    dtype: DTypeName
    quantization: QuantizationName
    attention: str
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def cuda(self) -> bool:
        """Whether the device is a CUDA one."""
        return self.device.startswith("cuda")

    def decisions(self) -> list[tuple[str, Any, str]]:
        """(what, value, why), for the journal."""
        return [(what, getattr(self, what), why) for what, why in self.reasons.items()]


def choose_placement(spec: TrainingSpec) -> Placement:
    """Choose device, dtype, quantization and attention for this machine.

    Raises:
        EnvironmentProblem: a CUDA device was requested and there is none.
        UsageError: the options cannot be combined on this machine.
    """
    reasons: dict[str, str] = {}
    device, title, reasons["device"] = _choose_device(spec)
    cuda = device.startswith("cuda")
    dtype, reasons["dtype"] = _choose_dtype(spec, cuda)
    quantization, reasons["quantization"] = _choose_quantization(spec, cuda)
    attention, reasons["attention"] = _choose_attention(spec, cuda)
    if spec.optimizer != "adamw" and not cuda:
        raise UsageError(f"optimizer: {spec.optimizer} needs a CUDA device", hint="give --optimizer adamw")
    return Placement(device, title, dtype, quantization, attention, reasons)


def _choose_device(spec: TrainingSpec) -> tuple[str, str, str]:
    import torch

    if spec.device != "cpu" and torch.cuda.is_available():
        # A rank sees its own GPU only; without that restriction they are numbered as the ranks are.
        number = min(World.from_environment().local_rank, torch.cuda.device_count() - 1)
        name = torch.cuda.get_device_name(number)
        major, minor = torch.cuda.get_device_capability(number)
        return f"cuda:{number}", name, f"{name}, compute capability {major}.{minor}"
    if spec.device == "cuda":
        raise EnvironmentProblem(
            "device: cuda was requested and there is no CUDA device",
            why=_why_no_cuda(),
            hint="give --device cpu, or let it choose with --device auto",
        )
    why = "requested" if spec.device == "cpu" else _why_no_cuda()
    return "cpu", cpu_name(), why


def _why_no_cuda() -> str:
    import torch

    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    return "torch sees no CUDA device (no NVIDIA driver, or no device made visible)"


def _choose_dtype(spec: TrainingSpec, cuda: bool) -> tuple[DTypeName, str]:
    import torch

    if spec.dtype == "float16" and not cuda:
        raise UsageError("dtype: float16 cannot be trained on the CPU", hint="give --dtype float32 or bfloat16")
    if spec.dtype != "auto":
        return spec.dtype, "requested"
    if not cuda:
        return "float32", "the CPU is exact and no slower in float32"
    major, minor = torch.cuda.get_device_capability(0)
    if major >= 8:
        return "bfloat16", f"compute capability {major}.{minor}"
    return "float16", f"compute capability {major}.{minor} has no bfloat16"


def _choose_quantization(spec: TrainingSpec, cuda: bool) -> tuple[QuantizationName, str]:
    installed = importlib.util.find_spec("bitsandbytes") is not None
    if spec.quantization in ("nf4", "int8"):
        if not installed:
            raise EnvironmentProblem(
                f"quantization: {spec.quantization} needs bitsandbytes, which is not installed",
                hint="install bitsandbytes, or give --quantization none",
            )
        return spec.quantization, "requested"
    if spec.quantization == "none":
        return "none", "requested"
    if not cuda:
        return "none", "without a CUDA device quantized layers are slower"
    if spec.train_language == "full":
        return "none", "the language model is trained in full"
    if not installed:
        return "none", "bitsandbytes is not installed"
    return "nf4", "4-bit frozen weights take a quarter of the memory"


def _choose_attention(spec: TrainingSpec, cuda: bool) -> tuple[str, str]:
    if spec.attention == "flash_attention_2" and importlib.util.find_spec("flash_attn") is None:
        raise EnvironmentProblem(
            "attention: flash_attention_2 needs the flash-attn package, which is not installed",
            hint="give --attention sdpa",
        )
    if spec.attention == "flex":
        if not cuda:
            raise UsageError("attention: flex needs a CUDA device", hint="give --attention sdpa")
        return "sdpa", "flex applies to packed layouts only; torch's own fused attention for all else"
    if spec.attention != "auto":
        return spec.attention, "requested"
    return "sdpa", "torch's own fused attention"
