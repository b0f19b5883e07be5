"""What several training processes change about the memory of each device.

ddp: each device has the whole model; at the end of a step gradients are summed in one flat buffer after the other.
fsdp: each device has its part of the frozen decoder layers and of the token embedding, and the whole of the rest:
what is trained, the vision tower, the projector and the output layer. Layers are gathered when they compute.
"""

from dataclasses import dataclass
from typing import Final, Literal

from mg_tui.hardware.memory.assumptions import FLOAT32_BYTES, MIB
from mg_tui.hardware.memory.training_setup import TrainingSetup
from mg_tui.hardware.memory.weights import base_bytes, quantized_scale_bytes
from mg_tui.hardware.model_shape import ModelShape

Parallel = Literal["ddp", "fsdp"]

# Bytes of the flat buffer in which gradients are summed: `_BUCKET_ELEMENTS` of `mg_tui.engine.run.distributed`, in
# float32 (a test compares them).
GRADIENT_BUCKET: Final = 4 * 2**25

# NCCL's channels and buffers on each device. Assumed: it depends on the number of GPUs and on how they are connected.
COMMUNICATION: Final = 400 * MIB

# Decoder layers that are whole at once: the one that computes; the next, which is gathered meanwhile; and the buffer
# that it is gathered into before it is split into its weights (torch's FSDP2). Not measured on a GPU.
GATHERED_LAYERS: Final = 3


@dataclass(frozen=True, slots=True)
class Ranks:
    """The training processes of a run, one a device: `count` of them on all machines, and how they share the work."""

    count: int = 1
    parallel: Parallel = "ddp"

    @property
    def shares_weights(self) -> bool:
        """Whether each device has only a part of the frozen layers."""
        return self.count > 1 and self.parallel == "fsdp"


ONE_RANK: Final = Ranks()


def why_not_shared(setup: TrainingSetup) -> str | None:
    """Why weights cannot be shared in a run, as `mg_tui.engine.run.sharding` sees it; None when they can."""
    if "full" in setup.methods.values():
        return "only frozen weights are shared, and parts are trained in full"
    if setup.quantization == "int8":
        return "int8 weights have scales that cannot be split"
    return None


@dataclass(frozen=True, slots=True)
class SharedWeights:
    """Bytes on each device: of the language model's blocks, of the embedding and output layer, of gathered layers."""

    language: float
    embedding: float
    gathered: float


def shared_weights(shape: ModelShape, setup: TrainingSetup, ranks: Ranks) -> SharedWeights:
    """The frozen weights of a device whose layers are shared."""
    loaded = base_bytes(shape, setup)
    whole = loaded["language"]
    # The scales of 4-bit weights are not part of the weights: every device has all of them.
    scales = quantized_scale_bytes(shape.language.linears) if setup.quantization == "nf4" else 0.0
    language = (whole - scales) / ranks.count + scales
    embedding = loaded["embedding"]
    if not shape.tied_embeddings:  # a tied one is the output layer too, which stays whole
        part = setup.compute * shape.embedding_parameters
        embedding += part / ranks.count - part
    gathered = GATHERED_LAYERS * (whole - scales) / max(shape.language.depth, 1)
    return SharedWeights(language, embedding, gathered)


def gradient_exchange_bytes(numbers: int, ranks: Ranks) -> float:
    """The flat buffer in which `numbers` gradients are summed over the ranks."""
    return float(min(FLOAT32_BYTES * numbers, GRADIENT_BUCKET)) if ranks.count > 1 else 0.0
