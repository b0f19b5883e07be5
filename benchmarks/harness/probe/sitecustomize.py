"""Put into every peer's process, and into ours, through PYTHONPATH: times steps, reads memory, changes no arithmetic.

When `transformers.trainer` is imported, each Trainer gets one callback more, and its `training_step` counts tokens.
Needs BENCH_OUT, the JSON file to write (beside it a `.pid` when training begins), and BENCH_T0, seconds since the epoch
just before the command was started.
"""

import contextlib
import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def _read_memory() -> dict[str, float]:
    """MiB that are resident now (VmRSS) and were at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    pairs = [line.split(":") for line in lines if line.startswith(("VmHWM", "VmRSS"))]
    return {name: int(value.split()[0]) / 1024 for name, value in pairs}


def _reset_peak() -> None:
    """Count the peak from here on, so that what loading took for a moment is not in it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _install_probe(module: Any) -> None:
    import torch
    from transformers.trainer_callback import TrainerCallback

    trainer = module.Trainer
    start = float(os.environ["BENCH_T0"])
    record: dict[str, Any] = {"pid": os.getpid(), "step_end": [], "tokens": [], "label_tokens": [], "losses": []}
    current = {"tokens": 0, "label_tokens": 0}

    class Probe(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            record["t_train_begin"] = time.time() - start
            record["threads"] = torch.get_num_threads()
            model = kw.get("model")
            if model is not None:
                trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
                record["trained_numbers"] = sum(parameter.numel() for parameter in trained)
                record["dtypes"] = sorted({str(parameter.dtype) for parameter in model.parameters()})
                record["attention"] = getattr(model.config, "_attn_implementation", None)
                # Asked of the model, because not everyone goes through the trainer's arguments; two names over time.
                names = ("gradient_checkpointing", "activation_checkpointing")
                switches = [getattr(module, name, False) for module in model.modules() for name in names]
                record["checkpointing"] = any(switch is True for switch in switches)
            Path(os.environ["BENCH_OUT"]).with_suffix(".pid").write_text(str(os.getpid()))
            _reset_peak()
            record["memory_begin"] = _read_memory()

        def on_step_begin(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            record.setdefault("t_first_step_begin", time.time() - start)

        def on_step_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            record["step_end"].append(time.time() - start)
            for name in current:
                record[name].append(current[name])
                current[name] = 0

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kw: Any) -> None:
            if logs and "loss" in logs:
                record["losses"].append(float(logs["loss"]))

        def on_train_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            record["memory_end"] = _read_memory()
            Path(os.environ["BENCH_OUT"]).write_text(json.dumps(record))

    plain_init, plain_step = trainer.__init__, trainer.training_step

    @functools.wraps(plain_init)  # some peers read the signature
    def init(self: Any, *args: Any, **kw: Any) -> None:
        plain_init(self, *args, **kw)
        self.add_callback(Probe())

    @functools.wraps(plain_step)
    def training_step(self: Any, model: Any, inputs: Any, *args: Any, **kw: Any) -> Any:
        ids, mask, labels = (inputs.get(name) for name in ("input_ids", "attention_mask", "labels"))
        if ids is not None:
            plain_mask = torch.is_tensor(mask) and mask.dim() == 2
            current["tokens"] += int(mask.sum()) if plain_mask else ids.numel()
            current["label_tokens"] += int((labels != -100).sum()) if labels is not None else 0
        return plain_step(self, model, inputs, *args, **kw)

    trainer.__init__, trainer.training_step = init, training_step


class _TrainerFinder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "transformers.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = spec.loader if spec is not None else None
        if loader is None:
            return None
        plain = loader.exec_module

        def run(module: Any) -> None:
            plain(module)
            _install_probe(module)

        loader.exec_module = run
        return spec


if os.environ.get("BENCH_OUT"):
    sys.meta_path.insert(0, _TrainerFinder())
