"""Done once for all tasks: the environment of the engine's worker, and the slowest imports.

The parent must not touch CUDA, or no forked child could use it. Some libraries query torch for the device when they are
imported (bitsandbytes: whether there is one, how many, and its compute capability). So a child queries it first, and
during the imports torch returns the child's answers.
"""

import os
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from tasks import BenchmarkSetting, TaskReport

ComputeCapability = tuple[int, int]


def set_environment(scratch: Path) -> None:
    """Set variables that libraries read when they are imported; nothing may access a network."""
    from mg_tui.engine.__main__ import _set_environment_defaults

    _set_environment_defaults()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["XDG_CACHE_HOME"] = str(scratch / "cache")  # of the feature cache
    warnings.filterwarnings("ignore")
    sys.path.append(str(Path(__file__).parent.parent))  # of `harness`


def query_device(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: use the device, and report its compute capability.

    Raises:
        RuntimeError: there is none, or this process cannot use it.
    """
    import torch

    torch.ones(1, device=setting.device).add(1).item()
    report.put(capability=torch.cuda.get_device_capability(0))


def check_fork(_report: TaskReport, _setting: BenchmarkSetting) -> None:
    """A task for a forked child: check that it could use CUDA, without using it.

    Raises:
        RuntimeError: the parent has touched CUDA.
    """
    import torch

    if torch.cuda._is_in_bad_fork():
        raise RuntimeError("an import has touched CUDA")


def import_libraries(capability: ComputeCapability | None) -> None:
    """Import what most tasks need, with a device of this compute capability, or without one."""
    import torch

    answers = {
        "is_available": lambda: capability is not None,
        "device_count": lambda: int(capability is not None),
        "get_device_capability": lambda _device=None: capability,
    }
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, answer))
        import bitsandbytes  # noqa: F401
        import peft  # noqa: F401
        import torchvision  # noqa: F401
        import transformers.trainer  # noqa: F401
        from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: F401
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl, processing_qwen2_5_vl  # noqa: F401

        from mg_tui.engine.run import setup, trainer, training, worker  # noqa: F401
