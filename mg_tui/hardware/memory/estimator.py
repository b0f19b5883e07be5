"""The estimate: a run's memory by part, at its peak."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mg_tui.core.model_parts import PARTS
from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.memory.assumptions import CUBLAS_WORKSPACE, CUDA_CONTEXT, FRAGMENTATION, HOST_PROCESS
from mg_tui.hardware.memory.phases import PhaseMemory, phases_of_step
from mg_tui.hardware.memory.ranks import (
    COMMUNICATION,
    ONE_RANK,
    Ranks,
    gradient_exchange_bytes,
    shared_weights,
    why_not_shared,
)
from mg_tui.hardware.memory.training_setup import DeviceKind, TrainingSetup, resolve_setup
from mg_tui.hardware.memory.weights import base_bytes, optimizer_bytes, trainable_bytes, trainable_counts
from mg_tui.hardware.memory.workload import (
    ExampleSize,
    ImageTokenCount,
    Workload,
    assumed_example_sizes,
    image_tokens_by_area,
    largest_forward_pass,
)
from mg_tui.hardware.model_shape import ModelShape


@dataclass(frozen=True, slots=True)
class EstimatePart:
    """A part of the memory: its name, its bytes at the peak, and the reason for its size, in one sentence."""

    name: str
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory of a run.

    Attributes:
        parts: by part, at the peak; they add up to `peak`.
        peak: bytes on the device.
        moment: the phase of the peak, in words.
        setup: how the run computes.
        work: the largest forward pass.
        parameters, trained: numbers of parameters, and of trained parameters.
        ranks: the training processes; the numbers are those of each device.
        assumed: assumptions made for unknown values, in sentences.
    """

    parts: tuple[EstimatePart, ...]
    peak: int
    moment: str
    setup: TrainingSetup
    work: Workload
    parameters: int
    trained: int
    assumed: tuple[str, ...] = ()
    ranks: Ranks = ONE_RANK

    @property
    def loaded_bytes(self) -> int:
        """Bytes of the model as loaded, before anything is trained."""
        return sum(part.bytes for part in self.parts if part.name in _LOADED_PARTS)

    @property
    def transient(self) -> int:
        """Bytes allocated and freed in a forward and backward pass."""
        return sum(part.bytes for part in self.parts if part.name in _TRANSIENT_PARTS)

    @property
    def tensor_bytes(self) -> int:
        """Bytes of tensors at the peak: without context, workspaces and margin."""
        return self.peak - sum(part.bytes for part in self.parts if part.name in _NON_TENSOR_PARTS)

    def bytes_of(self, name: str) -> int:
        """Bytes of the part called `name`; 0 when there is none."""
        return sum(part.bytes for part in self.parts if part.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"loaded": self.loaded_bytes}


_LOADED_PARTS = ("language model", "embeddings and output layer", "vision tower", "projector")
_TRANSIENT_PARTS = ("activations", "active block", "vision", "logits", "embedding gradients")
_NON_TENSOR_PARTS = ("CUDA context and libraries", "communication", "Python and torch", "margin for fragmentation")


def estimate_memory(
    shape: ModelShape,
    spec: TrainingSpec,
    *,
    rows: Sequence[ExampleSize] = (),
    image_tokens: ImageTokenCount | None = None,
    device: DeviceKind = "cuda",
    can_pack: bool = True,
    ranks: Ranks = ONE_RANK,
) -> MemoryEstimate:
    """Estimate the memory of a run of `spec` on one device, or on each device of several.

    Args:
        shape: the model.
        spec: the run.
        rows: the dataset, or its largest rows (`keep_largest`); without them, a typical row is assumed.
        image_tokens: counts an image's tokens; without it, they are derived from the area.
        device: the kind of device; "cpu" gives the memory of the training process.
        can_pack: the family has a token layout.
        ranks: the training processes; where weights cannot be shared, each device has all of them.
    """
    setup = resolve_setup(spec, device=device, can_pack=can_pack)
    assumed: list[str] = []
    if not rows:
        rows = assumed_example_sizes(shape, spec)
        assumed.append(
            f"no dataset given; assuming rows with one image of {spec.max_pixels:,} pixels and "
            f"{rows[0].text} text tokens, {rows[0].supervised} of them supervised"
        )
    if not shape.exact:
        assumed.append("the family defines no model shape; derived from the checkpoint instead")
    work = largest_forward_pass(shape, setup, spec, rows, image_tokens or image_tokens_by_area(shape))
    if ranks.shares_weights and (why := why_not_shared(setup)) is not None:
        ranks = Ranks(ranks.count)
        assumed.append(f"each device has the whole model: {why}")
    trained = sum(counts.numbers for counts in trainable_counts(shape, setup).values())
    phases = phases_of_step(shape, setup, work)
    if exchanged := gradient_exchange_bytes(trained, ranks):
        phases.append(PhaseMemory("the sum of the gradients over the devices", gradients=exchanged))
    moment = max(phases, key=lambda phase: phase.bytes)
    parts = [*_static_parts(shape, setup, work), *_transient_parts(moment, setup, work, spec)]
    if ranks.shares_weights:
        parts = _share_weights(parts, shape, setup, ranks)
    parts += _non_tensor_parts(setup, moment, ranks)
    parts = [part for part in parts if part.bytes]
    return MemoryEstimate(
        parts=tuple(parts),
        peak=sum(part.bytes for part in parts),
        moment=moment.name,
        setup=setup,
        work=work,
        parameters=shape.parameters,
        trained=trained,
        assumed=tuple(assumed),
        ranks=ranks,
    )


def _share_weights(
    parts: list[EstimatePart], shape: ModelShape, setup: TrainingSetup, ranks: Ranks
) -> list[EstimatePart]:
    """The parts of a device that has only its share of the frozen layers."""
    shared, share = shared_weights(shape, setup, ranks), f"1 of {ranks.count} shares"
    sizes = {"language model": shared.language, "embeddings and output layer": shared.embedding}
    changed = [
        _part(part.name, sizes[part.name], f"{share}; {part.why}") if part.name in sizes else part for part in parts
    ]
    gathered = _part("gathered layers", shared.gathered, "decoder layers that are whole while they compute (assumed)")
    return [*changed, gathered]


def _static_parts(shape: ModelShape, setup: TrainingSetup, work: Workload) -> list[EstimatePart]:
    loaded = base_bytes(shape, setup)
    blocks = {
        "nf4": "4 bits per weight plus one scale per 64 weights",
        "int8": "8 bits per weight plus one scale per row",
        "none": f"{shape.language.parameters:,} parameters",
    }[setup.quantization]
    trainable = trainable_counts(shape, setup)
    numbers = sum(counts.numbers for counts in trainable.values())
    adapted = ", ".join(part for part in PARTS if trainable[part].adapter)
    copied = ", ".join(part for part in PARTS if trainable[part].whole and setup.lora_anywhere)
    adapters = [f"LoRA of rank {setup.rank} on {adapted}"] if adapted else []
    adapters += [f"a trained copy of {copied}"] if copied else []
    state = {
        "adamw": "two float32 moments per trained parameter",
        "adamw_8bit": "two 8-bit moments per trained parameter",
        "paged_adamw_8bit": "",
    }[setup.optimizer]
    dtypes = {part: "float32 (trained)" if trainable[part].whole and not copied else setup.dtype for part in PARTS}
    tied = "tied weights" if shape.tied_embeddings else "two matrices"
    return [
        _part("language model", loaded["language"], f"the blocks: {blocks}"),
        _part("embeddings and output layer", loaded["embedding"], f"{tied}, in {dtypes['language']}, never quantized"),
        _part("vision tower", loaded["vision"], f"{shape.vision.parameters:,} parameters in {dtypes['vision']}"),
        _part("projector", loaded["projector"], f"{shape.projector_parameters:,} parameters in {dtypes['projector']}"),
        _part("adapter", trainable_bytes(shape, setup), f"{' and '.join(adapters)}, in float32"),
        _part("gradients", 4 * numbers, f"float32, for {numbers:,} trained parameters"),
        _part("optimizer state", optimizer_bytes(numbers, setup), state),
    ]


def _transient_parts(
    moment: PhaseMemory, setup: TrainingSetup, work: Workload, spec: TrainingSpec
) -> list[EstimatePart]:
    laid = f"{work.tokens:,} tokens in a forward pass"
    laid += f" ({work.examples} example{'s' if work.examples > 1 else ''}, {'packed' if setup.packed else 'padded'})"
    saved = "what every block saves"
    if setup.checkpointing:
        saved = "block inputs only; the rest is recomputed"
        if setup.interval > 1:
            saved = f"saved activations; every {setup.interval}-th block saves its input only and is recomputed"
    if setup.fused_cross_entropy:
        logits = f"of {work.supervised:,} supervised positions, in chunks, and the gradient of their hidden states"
    else:
        logits = f"{work.supervised:,} supervised positions, in float32, and their gradients"
    again = "one recomputed block and its" if setup.checkpointing else "a block's"
    images = "encoded without autograd" if setup.vision_frozen else "with activations saved for backward"
    return [
        _part("activations", moment.activations, f"of {laid}: {saved}"),
        _part("active block", moment.transient, f"{again} widest layer at work, with casts of trained weights"),
        _part("vision", moment.vision, f"images of {work.patches:,} patches, {images}"),
        _part("logits", moment.logits, logits),
        _part("embedding gradients", moment.gradients, "temporary gradients of token embedding and output layer"),
    ]


def _non_tensor_parts(setup: TrainingSetup, moment: PhaseMemory, ranks: Ranks) -> list[EstimatePart]:
    if setup.device == "cpu":
        return [_part("Python and torch", HOST_PROCESS, "the process and its libraries (assumed)")]
    return [
        _part(
            "CUDA context and libraries",
            CUDA_CONTEXT + CUBLAS_WORKSPACE,
            "the driver's context, kernels and cuBLAS workspaces (assumed)",
        ),
        _part(
            "communication",
            COMMUNICATION if ranks.count > 1 else 0,
            "NCCL's buffers for the other devices (assumed)",
        ),
        _part(
            "margin for fragmentation",
            FRAGMENTATION * moment.bytes,
            f"{FRAGMENTATION:.0%} of transient memory for allocator overhead (assumed)",
        ),
    ]


def _part(name: str, count: float, why: str) -> EstimatePart:
    return EstimatePart(name, round(count), why)
