"""The estimate: what a run needs, by part, at the moment of its peak."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.memory.assumed import CUBLAS_WORKSPACE, CUDA_CONTEXT, FRAGMENTATION, HOST_PROCESS
from mg_tui.hardware.memory.phases import Moment, moments
from mg_tui.hardware.memory.setup import PARTS, Device, Setup, settle
from mg_tui.hardware.memory.weights import base_bytes, optimizer_bytes, trained, trained_bytes
from mg_tui.hardware.memory.workload import (
    PictureTokens,
    Row,
    Workload,
    assumed_rows,
    by_area,
    largest_forward,
)
from mg_tui.hardware.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the memory: its name, its bytes at the peak, and why it is there and so large, in one sentence."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run needs.

    Attributes:
        parts: by part, at the peak; they add up to `peak`.
        peak: bytes on the device.
        moment: when the peak is, in words.
        setup: how the run computes.
        work: the largest forward pass.
        parameters, trained: numbers in the model, and those that learn.
        assumed: what was not known and has been assumed, in sentences.
    """

    parts: tuple[Part, ...]
    peak: int
    moment: str
    setup: Setup
    work: Workload
    parameters: int
    trained: int
    assumed: tuple[str, ...] = ()

    @property
    def loaded(self) -> int:
        """Bytes of the model as loaded, before anything is trained."""
        return sum(part.bytes for part in self.parts if part.name in _LOADED)

    @property
    def moving(self) -> int:
        """Bytes of what comes and goes with a forward and backward pass."""
        return sum(part.bytes for part in self.parts if part.name in _MOVING)

    @property
    def tensors(self) -> int:
        """Bytes of tensors at the peak: without context, workspaces and margin."""
        return self.peak - sum(part.bytes for part in self.parts if part.name in _OUTSIDE)

    def bytes_of(self, name: str) -> int:
        """Bytes of the part called `name`; 0 when there is none."""
        return sum(part.bytes for part in self.parts if part.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"loaded": self.loaded}


_LOADED = ("language model", "embeddings and output layer", "vision tower", "projector")
_MOVING = ("activations", "block at work", "vision", "logits", "embedding gradients")
_OUTSIDE = ("CUDA context and libraries", "Python and torch", "margin for fragmentation")


def estimate(
    shape: ModelShape,
    spec: TrainingSpec,
    *,
    rows: Sequence[Row] = (),
    picture_tokens: PictureTokens | None = None,
    device: Device = "cuda",
    can_pack: bool = True,
) -> Estimate:
    """What a run of `spec` needs on one device.

    Args:
        shape: the model.
        spec: the run.
        rows: the dataset, or its rows that matter (`condensed`); without, a row is assumed.
        picture_tokens: counts a picture's tokens; without, its area does.
        device: the kind of device; "cpu" gives the memory of the training process.
        can_pack: the family lays out pictures apart from text.
    """
    setup = settle(spec, device=device, can_pack=can_pack)
    assumed: list[str] = []
    if not rows:
        rows = assumed_rows(shape, spec)
        assumed.append(
            f"no dataset was given: rows are taken to show one picture of {spec.max_pixels:,} pixels and to have "
            f"{rows[0].text} tokens of text, {rows[0].learned} of them learned"
        )
    if not shape.exact:
        assumed.append("the family describes no shape of its models: it was read off the checkpoint in a general way")
    work = largest_forward(shape, setup, spec, rows, picture_tokens or by_area(shape))
    moment = max(moments(shape, setup, work), key=lambda one: one.bytes)
    parts = [*_static(shape, setup, work), *_moving(moment, setup, work, spec)]
    parts += _outside(setup, moment)
    parts = [part for part in parts if part.bytes]
    learning = sum(one.numbers for one in trained(shape, setup).values())
    return Estimate(
        parts=tuple(parts),
        peak=sum(part.bytes for part in parts),
        moment=moment.name,
        setup=setup,
        work=work,
        parameters=shape.parameters,
        trained=learning,
        assumed=tuple(assumed),
    )


def _static(shape: ModelShape, setup: Setup, work: Workload) -> list[Part]:
    loaded = base_bytes(shape, setup)
    blocks = {
        "nf4": "4 bits a weight, with a scale for every 64 weights",
        "int8": "8 bits a weight, with a scale for every row",
        "none": f"{shape.language.parameters:,} parameters",
    }[setup.quantization]
    learned = trained(shape, setup)
    numbers = sum(one.numbers for one in learned.values())
    adapted = ", ".join(part for part in PARTS if learned[part].adapter)
    copied = ", ".join(part for part in PARTS if learned[part].whole and setup.lora_anywhere)
    how = [f"LoRA of rank {setup.rank} on {adapted}"] if adapted else []
    how += [f"a trained copy of {copied}"] if copied else []
    state = {
        "adamw": "two moments in float32 for each trained number",
        "adamw_8bit": "two moments in 8 bits for each trained number",
        "paged_adamw_8bit": "",
    }[setup.optimizer]
    kept = {part: "float32, as it is trained" if learned[part].whole and not copied else setup.dtype for part in PARTS}
    tied = "one matrix for both" if shape.tied_head else "two matrices"
    return [
        _part("language model", loaded["language"], f"the blocks: {blocks}"),
        _part("embeddings and output layer", loaded["embedding"], f"{tied}, in {kept['language']}, never quantised"),
        _part("vision tower", loaded["vision"], f"{shape.vision.parameters:,} parameters in {kept['vision']}"),
        _part("projector", loaded["projector"], f"{shape.projector_parameters:,} parameters in {kept['projector']}"),
        _part("adapter", trained_bytes(shape, setup), f"{' and '.join(how)}, in float32"),
        _part("gradients", 4 * numbers, f"float32, one for each of {numbers:,} trained numbers"),
        _part("optimizer state", optimizer_bytes(numbers, setup), state),
    ]


def _moving(moment: Moment, setup: Setup, work: Workload, spec: TrainingSpec) -> list[Part]:
    laid = f"{work.tokens:,} tokens in a forward pass"
    laid += f" ({work.examples} example{'s' if work.examples > 1 else ''}, {'packed' if setup.packed else 'padded'})"
    kept = "what every block saves"
    if setup.checkpointing:
        kept = "the input of each block; the rest is computed again"
        if setup.interval > 1:
            kept = f"what blocks save, but of one in {setup.interval} its input only: it is computed again"
    if setup.fused_head:
        logits = f"of {work.learned:,} supervised positions, some at a time, and the gradient of their hidden states"
    else:
        logits = f"{work.learned:,} supervised positions, in float32, and their gradients"
    again = "one block computed again, and its" if setup.checkpointing else "a block's"
    pictures = "encoded without a graph" if setup.vision_frozen else "kept for their backward pass"
    return [
        _part("activations", moment.kept, f"of {laid}: {kept}"),
        _part("block at work", moment.running, f"{again} widest layer at work, with casts of trained weights"),
        _part("vision", moment.vision, f"pictures of {work.patches:,} patches, {pictures}"),
        _part("logits", moment.logits, logits),
        _part("embedding gradients", moment.gradients, "of the token embedding and output layer, on their way"),
    ]


def _outside(setup: Setup, moment: Moment) -> list[Part]:
    if setup.device == "cpu":
        return [_part("Python and torch", HOST_PROCESS, "the process and its libraries (assumed)")]
    return [
        _part(
            "CUDA context and libraries",
            CUDA_CONTEXT + CUBLAS_WORKSPACE,
            "the driver's context, kernels and cuBLAS workspaces (assumed)",
        ),
        _part(
            "margin for fragmentation",
            FRAGMENTATION * moment.bytes,
            f"{FRAGMENTATION:.0%} of what comes and goes: the allocator holds more than its tensors (assumed)",
        ),
    ]


def _part(name: str, count: float, why: str) -> Part:
    return Part(name, round(count), why)
