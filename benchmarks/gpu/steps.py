"""Steps of a model on the device: how long they take, what memory they have at the peak, and what was estimated."""

import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from machine import Device
from model import build, config_of

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching import packed_layout
from mg_tui.engine.batching.batches import MicroBatch
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute.objective import Objective
from mg_tui.engine.layout.trie import build_trie
from mg_tui.hardware.memory.assumptions import CUBLAS_WORKSPACE, CUDA_CONTEXT, FRAGMENTATION
from mg_tui.hardware.memory.phases import phases_of_step
from mg_tui.hardware.memory.training_setup import resolve_setup
from mg_tui.hardware.memory.weights import base_bytes, optimizer_bytes, trainable_bytes, trainable_counts
from mg_tui.hardware.memory.workload import Workload

ANSWER_TOKENS = 32  # tokens of an answer
QUESTION_TOKENS = 32


@dataclass(frozen=True, slots=True)
class GpuCase:
    """A model, how it is trained, and its passes: of `tokens`, packed, with square images of `side` patches."""

    size: str
    quantization: str
    side: int
    tokens: int
    checkpointing: bool = True
    per_image: int = 1

    @property
    def name(self) -> str:
        """In words."""
        kept = "" if self.checkpointing else ", no checkpointing"
        asked = f", {self.per_image} questions an image" if self.per_image > 1 else ""
        method = "QLoRA nf4" if self.quantization == "nf4" else "LoRA bf16"
        pixels = self.side * 14
        return f"{self.size} {method}, {pixels} x {pixels} pixels, {self.tokens:,} tokens{asked}{kept}"

    def spec(self, *, cuda: bool) -> TrainingSpec:
        """The run."""
        return TrainingSpec.parse(
            {
                "base_model": self.size,
                "dataset": "-",
                "quantization": self.quantization,
                "dtype": "bfloat16" if cuda else "float32",
                "gradient_checkpointing": self.checkpointing,
            }
        )


def list_cases(*, dry: bool) -> list[GpuCase]:
    """What is measured, small things first."""
    if dry:
        return [GpuCase("tiny", "nf4", 8, 128), GpuCase("tiny", "none", 8, 256, checkpointing=False, per_image=3)]
    cases = []
    for size in ("3B", "7B"):
        for quantization in ("nf4", "none"):
            for side, lengths in ((32, (1024, 2048, 4096, 8192)), (72, (2048, 4096, 8192))):
                cases += [GpuCase(size, quantization, side, tokens) for tokens in lengths]
            cases.append(GpuCase(size, quantization, 32, 2048, checkpointing=False))
            cases.append(GpuCase(size, quantization, 72, 4096, per_image=5))
    return cases


def make_batch(case: GpuCase, config: dict[str, Any], device: Device) -> MicroBatch:
    """A packed pass of made-up examples that fill the tokens: an image, a question, an answer."""
    text = config.get("text_config", config)
    vocabulary = int(text["vocab_size"])
    shown, image = (case.side // 2) ** 2, config["image_token_id"]
    keys: list[list[int]] = []
    chosen, total, number = torch.Generator().manual_seed(0), 0, 0
    words = min(vocabulary, image)  # no image or other special token among them
    while True:
        group = []
        for _ in range(case.per_image):
            drawn = torch.randint(1, words - 1, (QUESTION_TOKENS + ANSWER_TOKENS,), generator=chosen).tolist()
            group.append([-1 - number] * shown + drawn)
        more = shown + case.per_image * (QUESTION_TOKENS + ANSWER_TOKENS)
        if keys and total + more > case.tokens:
            break
        keys, total, number = keys + group, total + more, number + 1
    trie = build_trie(keys)
    ids, positions = torch.zeros(trie.length, dtype=torch.long), torch.zeros(trie.length, dtype=torch.long)
    places: list[int] = []
    targets: list[int] = []
    for index, key in enumerate(keys):
        at = trie.layout_indices(index)
        ids[at] = torch.tensor([image if token < 0 else token for token in key])
        positions[at] = torch.arange(len(key))
        places += at[-ANSWER_TOKENS - 1 : -1]
        targets += key[-ANSWER_TOKENS:]
    vision = config["vision_config"]
    values = 3 * vision.get("temporal_patch_size", 2) * vision.get("patch_size", 14) ** 2
    inputs = {
        "input_ids": ids[None],
        "position_ids": positions[None, None].expand(3, 1, -1).contiguous(),
        packed_layout.SUBTREE_ENDS: torch.tensor(trie.subtree_ends()),
        packed_layout.IMAGE_ORDER: torch.arange(number),
        packed_layout.IMAGE_DIGESTS: [None] * number,
        packed_layout.IMAGE_SIZES: [(case.side * 14, case.side * 14)] * number,
        "pixel_values": torch.randn(number * case.side**2, values, generator=chosen),
        "image_grid_thw": torch.tensor([[1, case.side, case.side]] * number),
    }
    moved = {name: one.to(device.name) if torch.is_tensor(one) else one for name, one in inputs.items()}
    return MicroBatch(
        inputs=moved,
        positions=torch.tensor(places, device=device.name),
        targets=torch.tensor(targets, device=device.name),
        rows=tuple(range(1, len(keys) + 1)),
        tokens=trie.tokens,
        images=len(keys),
        laid_out=trie.length,
    )


def estimate_memory(case: GpuCase, config: dict[str, Any], part: MicroBatch, *, cuda: bool) -> dict[str, float]:
    """Bytes by the estimate for exactly this pass: of tensors, what the allocator holds, and of the whole device."""
    from mg_qwen2_5_vl.shape import model_shape

    described, setup = model_shape(config), resolve_setup(case.spec(cuda=cuda), device="cuda" if cuda else "cpu")
    images = len(part.inputs["image_grid_thw"])
    work = Workload(1, part.laid_out or 0, part.targets.numel(), images * case.side**2, len(part.rows), True, True)
    numbers = sum(one.numbers for one in trainable_counts(described, setup).values())
    staying = sum(base_bytes(described, setup).values()) + trainable_bytes(described, setup) + 4 * numbers
    staying += optimizer_bytes(numbers, setup)
    moving = max(moment.bytes for moment in phases_of_step(described, setup, work))
    held = staying + moving * (1 + FRAGMENTATION)
    return {
        "loaded": staying,
        "tensors": staying + moving,
        "held": held,
        "device": held + CUDA_CONTEXT + CUBLAS_WORKSPACE,
    }


def measure(case: GpuCase, device: Device, scratch: Path, repeats: int) -> dict[str, Any]:
    """Whole optimizer steps of one pass each.

    Raises:
        torch.OutOfMemoryError: it does not fit.
        RuntimeError: the estimate says beforehand that it does not, by a quarter.
    """
    cuda = not device.dry
    config, spec = config_of(case.size), case.spec(cuda=cuda)
    part = make_batch(case, config, device)
    expected = estimate_memory(case, config, part, cuda=cuda)
    if expected["device"] > 1.25 * device.free():
        raise RuntimeError(
            f"estimated at {expected['device'] / 2**30:.1f} GiB, and {device.free() / 2**30:.1f} are free"
        )
    dtype = torch.bfloat16 if cuda else torch.float32
    model = build(case.size, spec, device, dtype, scratch)
    objective, vision = Objective(model), VisionInputs(frozen=True)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-4, fused=cuda)
    kind = device.name.partition(":")[0]

    def step() -> tuple[float, float]:
        started = time.perf_counter()
        with objective.restricted_to(part.positions, tuple(part.inputs["input_ids"].shape)):
            with torch.autocast(kind, torch.bfloat16, enabled=cuda):
                given = vision(model, part.inputs)
                total = objective.loss_sum(model, given, part.positions, part.targets)
                loss = total / part.targets.numel()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # gradients stay, as they do between the passes of a step
        device.wait()
        return float(loss.detach()), time.perf_counter() - started

    step()  # makes the optimizer's state, and compiles and loads kernels
    device.settle()
    found = [step() for _ in range(repeats)]
    seconds = statistics.median(one for _loss, one in found)
    return {
        **asdict(case),
        "name": case.name,
        "how": objective.method[0],
        "rows": len(part.rows),
        "laid_out": part.laid_out,
        "seconds": seconds,
        "samples_per_second": len(part.rows) / seconds,
        "tokens_per_second": part.tokens / seconds,
        "losses": [loss for loss, _one in found],
        "peak": device.peaks(),
        "estimate": expected,
    }
