"""The bytes of tensors that live in a step of a real model, counted without a GPU, and what the estimate says of it.

The model is built from its configuration with PEFT's LoRA, and with bitsandbytes' layers where it is quantised, of
tensors that have a shape and a dtype and no numbers (torch's FakeTensorMode). A forward and backward pass of it runs
through the engine's own loss, under autocast as accelerate sets it up. A dispatch mode sees every tensor made and every
storage freed, so the peak of living bytes is exact, as an allocator without waste would have it.

Fake tensors on the CPU stand for a GPU's; what differs there is put in as CUDA has it (`fake_cuda`).
"""

import json
import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

# Fake tensors have no numbers that could be compared.
os.environ["TRANSFORMERS_DISABLE_TORCH_CHECK"] = "1"

import numpy
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from harness.fake_cuda import emulate_cuda
from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.memory.phases import phases_of_step
from mg_tui.hardware.memory.training_setup import resolve_setup
from mg_tui.hardware.memory.weights import base_bytes, trainable_bytes, trainable_counts
from mg_tui.hardware.memory.workload import Workload

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "plugins" / "qwen2_5_vl" / "tests" / "configs"


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages alive: `now` and, since it was last set, `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._seen: set[int] = set()

    def track(self, tensor: torch.Tensor) -> None:
        """Count a tensor's storage until it is freed; once, however many tensors share it."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_iter(out):
            if isinstance(value, torch.Tensor):
                self.track(value)
        return out


@dataclass(frozen=True)
class StepCase:
    """A step to measure: `grids` are the rows and columns of patches of its images, `options` fields of the spec."""

    model: str
    rows: int
    length: int
    learned: int
    grids: tuple[tuple[int, int], ...]
    masked: bool = True
    layers: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> TrainingSpec:
        """The run."""
        return TrainingSpec.parse({"base_model": self.model, "dataset": "-", "dtype": "bfloat16", **self.options})

    @property
    def config(self) -> dict[str, Any]:
        """The model's `config.json`, with fewer blocks where the case says so."""
        config = json.loads((CONFIGS / f"Qwen2.5-VL-{self.model}-Instruct.json").read_text())
        if self.layers is not None:
            config["num_hidden_layers"] = config["vision_config"]["depth"] = self.layers
            config["vision_config"]["fullatt_block_indexes"] = [self.layers - 1]
        return config

    @property
    def patches(self) -> int:
        """Patches of all images."""
        return sum(rows * columns for rows, columns in self.grids)


@dataclass(frozen=True)
class PeakMemory:
    """Bytes that stay (weights, adapter, gradients), and those a step has above them at its peak."""

    staying: float
    moving: float

    @property
    def total(self) -> float:
        """Both."""
        return self.staying + self.moving


def estimate_peak(case: StepCase) -> PeakMemory:
    """What the estimate says: without optimizer state, context and margins, none of which is a tensor of the step."""
    from mg_qwen2_5_vl.shape import model_shape

    described, setup = model_shape(case.config), resolve_setup(case.spec, device="cuda")
    work = Workload(case.rows, case.length, case.learned, case.patches, case.rows, case.masked, True)
    numbers = sum(part.numbers for part in trainable_counts(described, setup).values())
    staying = sum(base_bytes(described, setup).values()) + trainable_bytes(described, setup) + 4 * numbers
    return PeakMemory(staying, max(moment.bytes for moment in phases_of_step(described, setup, work)))


def measure_peak(case: StepCase) -> PeakMemory:
    """What a step really has, counted."""
    from accelerate.utils import convert_outputs_to_fp32

    spec = case.spec
    dtype = getattr(torch, spec.dtype)
    model = build_model(case, dtype)
    with emulate_cuda(), FakeTensorMode(allow_non_fake_inputs=True):
        extra = materialize(model)
        model.train()
        live = LiveBytes()
        for tensor in (*model.parameters(), *model.buffers(), *extra):
            live.track(tensor)
        for parameter in model.parameters():
            if parameter.requires_grad:  # from the step's earlier forward passes
                parameter.grad = torch.zeros_like(parameter)
                live.track(parameter.grad)
        staying = live.now
        plain, cast = model.forward, dtype != torch.float32

        def forward(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                return plain(*args, **kwargs)

        model.forward = convert_outputs_to_fp32(forward)
        with patch_objective(case, model) as objective, live:
            positions = torch.zeros(case.learned, dtype=torch.long)
            with objective.restricted_to(positions, (case.rows, case.length)):
                with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                    batch, _held = forward_inputs(case, model, dtype)
                    ids = torch.zeros(case.learned, dtype=torch.long)
                    inputs: Any = (OpaqueTensor(ids), OpaqueTensor(ids)) if objective._head is not None else (ids,)
                    loss = objective.loss_sum(model, batch, positions, *inputs) / case.learned
                loss.backward()
        return PeakMemory(staying, live.peak - staying)


def build_model(case: StepCase, dtype: torch.dtype) -> Any:
    """The model as the engine makes it, without memory for its weights."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    from mg_tui.engine.compute.activation_checkpointing import checkpoint_activations
    from mg_tui.engine.run import trainable_parameters
    from mg_tui.families.registry import load_registry

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(case.config))
        config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
        if case.spec.quantization == "nf4":
            quantize(model, dtype)
        if case.spec.gradient_checkpointing:
            checkpoint_activations(model, case.spec.checkpointing_interval)
        return trainable_parameters.make_trainable(model, load_registry().by_model_type("qwen2_5_vl"), case.spec)


def quantize(model: Any, dtype: torch.dtype) -> None:
    """Put bitsandbytes' 4-bit layers into the language model."""
    from bitsandbytes.nn import Linear4bit

    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and name.startswith("model.language_model"):
            packed = Linear4bit(layer.in_features, layer.out_features, layer.bias is not None, dtype, True, "nf4")
            packed.bias = layer.bias
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, packed)
    model.is_loaded_in_4bit = True


def materialize(model: Any) -> list[torch.Tensor]:
    """Give every weight of a model without memory a fake tensor; returns those that are no parameters or buffers."""
    from bitsandbytes.nn import Linear4bit

    known: dict[int, torch.nn.Parameter] = {}
    extra: list[torch.Tensor] = []
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is None:
                continue
            if name == "weight" and type(module) is Linear4bit:
                module._parameters[name], tables = fake_nf4_weight(module)
                extra += tables
                continue
            if id(weight) not in known:  # a tied weight stays one
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                known[id(weight)] = torch.nn.Parameter(empty, requires_grad=weight.requires_grad)
            module._parameters[name] = known[id(weight)]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return extra


def fake_nf4_weight(layer: Any) -> tuple[torch.nn.Parameter, list[torch.Tensor]]:
    """The weight of a 4-bit layer as loading makes it, and the tables beside it."""
    from bitsandbytes.functional import QuantState

    count = layer.in_features * layer.out_features
    blocks = -(-count // 64)
    scales = torch.empty(blocks, dtype=torch.uint8)
    tables = [scales, torch.empty(-(-blocks // 256)), torch.empty(256), torch.empty(16), torch.empty(())]
    nested = QuantState(absmax=tables[1], code=tables[2], blocksize=256, dtype=torch.float32)
    weight = torch.nn.Parameter(torch.empty(count // 2, 1, dtype=torch.uint8), requires_grad=False)
    weight.quant_state = QuantState(
        absmax=scales,
        shape=torch.Size((layer.out_features, layer.in_features)),
        code=tables[3],
        blocksize=64,
        quant_type="nf4",
        dtype=layer.compute_dtype,
        offset=tables[4],
        state2=nested,
    )
    return weight, tables


class OpaqueTensor:
    """A tensor of which every choice is all of it: what is chosen by content cannot be told without numbers."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor

    def to(self, *_device: Any) -> "OpaqueTensor":
        """Itself."""
        return self

    def numel(self) -> int:
        """Of the tensor."""
        return self.tensor.numel()

    def __getitem__(self, _index: Any) -> "OpaqueTensor":
        return self

    __ge__ = __lt__ = __and__ = __sub__ = __getitem__


@contextmanager
def patch_objective(case: StepCase, model: Any) -> Iterator[Any]:
    """The engine's objective, with everything that looks at numbers answered as it would be.

    Learned positions are distinct. A packed layout is of two trees that share nothing, the worst there is; rows side by
    side have their mask.
    """
    from mg_tui.engine.compute import attention, fused_cross_entropy, objective
    from mg_tui.engine.layout.attention_blocks import AttentionBlock

    def trial(self: Any, _model: Any) -> str | None:
        if self._head is None:
            self.last_layer.close()
        return None

    def chunk(logits: torch.Tensor, *_others: Any) -> torch.Tensor:
        logits -= logits.amax(-1, keepdim=True)
        return logits.exp_().sum(-1).sum()

    def unique(places: torch.Tensor, return_inverse: bool = False) -> Any:
        return (places, OpaqueTensor(places)) if return_inverse else places

    half = case.length // 2
    trees = [AttentionBlock((0, half), (), is_causal=True), AttentionBlock((half, case.length), (), is_causal=True)]
    attention.install(model)
    with (
        mock.patch.object(objective.Objective, "_trial", trial),
        mock.patch.object(fused_cross_entropy, "_chunk_loss", chunk),
        mock.patch.object(fused_cross_entropy, "CHUNK_BYTES", fused_cross_entropy.CUDA_CHUNK_BYTES),
        mock.patch.object(torch, "unique", unique),
        mock.patch.object(attention, "cut_blocks", lambda _ends, **_options: trees),
        mock.patch.object(FakeTensor, "tolist", lambda _ends: []),
    ):
        yield objective.Objective(model)


def forward_inputs(case: StepCase, model: Any, dtype: torch.dtype) -> tuple[dict[str, Any], Any]:
    """What the forward pass gets, and the pixels, which live as long as the batch they came in.

    Images are encoded here, without a graph where the tower is frozen.
    """
    from mg_tui.families.image_features import EncoderOutput

    batch: dict[str, Any] = {
        "input_ids": torch.zeros(case.rows, case.length, dtype=torch.long),
        "position_ids": torch.zeros(3, case.rows, case.length, dtype=torch.long),
    }
    if case.masked and case.rows == 1:
        batch["attention_mask"] = torch.zeros(1, 1, 1, case.length, dtype=torch.long)
    elif case.masked:
        batch["attention_mask"] = torch.zeros(case.rows, 1, case.length, case.length, dtype=torch.bool)
    if not case.grids:
        return batch, None
    tower = (model.get_base_model() if hasattr(model, "get_base_model") else model).model.visual
    frozen = case.spec.train_vision == "none" and case.spec.train_projector == "none"
    pixels = torch.zeros(case.patches, 3 * 2 * 14**2)
    with torch.set_grad_enabled(not frozen):
        observed = tower(pixels.type(dtype), grid_thw=None, **vision_layout(case)).pooler_output
    batch["mm_encoder_outputs"] = {"image": EncoderOutput([observed])}
    return batch, pixels


def vision_layout(case: StepCase) -> dict[str, Any]:
    """What the tower would work out from its images' sizes, which fake tensors cannot tell it."""
    ends, windows = [0], [0]
    for rows, columns in case.grids:
        ends.append(ends[-1] + rows * columns)
        for row in range(0, rows, 8):
            for column in range(0, columns, 8):
                windows.append(windows[-1] + min(8, rows - row) * min(8, columns - column))
    return {
        "position_ids": torch.zeros(case.patches, 2, dtype=torch.long),
        "cu_seqlens": numpy.array(ends),
        "window_index": torch.zeros(case.patches // 4, dtype=torch.long),
        "cu_window_seqlens": numpy.array(windows),
    }
