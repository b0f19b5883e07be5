"""The phases of a step in which memory can peak, each with its transient memory.

Weights, gradients and optimizer state are allocated throughout and are not included.
"""

from dataclasses import dataclass, field
from typing import Final

from mg_tui.hardware.memory import activations as act
from mg_tui.hardware.memory.assumptions import FLOAT32_BYTES, LOGITS_CHUNK
from mg_tui.hardware.memory.training_setup import TrainingSetup
from mg_tui.hardware.memory.weights import autocast_bytes, head_autocast_bytes
from mg_tui.hardware.memory.workload import Workload
from mg_tui.hardware.model_shape import ModelShape

_MASK_ALIGNMENT: Final = 8  # columns of a mask are padded to a multiple of this


@dataclass(frozen=True, slots=True)
class PhaseMemory:
    """Memory of one phase of a step, in bytes by part: saved activations, vision, logits, running operations."""

    name: str
    activations: float = 0.0
    vision: float = 0.0
    logits: float = 0.0
    transient: float = 0.0
    gradients: float = field(default=0.0)

    @property
    def bytes(self) -> float:
        """All of it."""
        return self.activations + self.vision + self.logits + self.transient + self.gradients


@dataclass(frozen=True, slots=True)
class _VisionMemory:
    encoding: float  # while images are encoded
    retained: float  # from then on, to the end of the pass
    backward: float  # in addition, in the backward pass of tower and projector


def phases_of_step(shape: ModelShape, setup: TrainingSetup, work: Workload) -> list[PhaseMemory]:
    """The phases of the largest forward pass and its backward pass, one of which is the peak."""
    mask = _mask_entries(work) if work.masked and work.rows > 1 else 0  # one packed row has no dense mask
    supervised = work.supervised if setup.fused_cross_entropy else None
    language = act.block_memory(
        shape.language, "language", setup, work.tokens, mask=mask, masked=work.masked, supervised=supervised
    )
    weights = act.eager_attention_bytes(shape.language, setup, work)
    depth, casts = max(shape.language.depth, 1), autocast_bytes(shape, setup)
    vision = _vision_memory(shape, setup, work)
    loss, gradient, left = _logits_bytes(shape, setup, work)
    activations = _outside_blocks_bytes(shape, setup, work, language.input)
    again = setup.count_recomputed(depth)
    share = again / depth  # of the blocks
    activations += again * language.input + (depth - again) * (language.saved + weights)
    if again < depth and not setup.is_recomputed(depth - 1):
        activations += language.last - language.saved
    # Casts inside recomputed blocks are recomputed too; the projector is outside the blocks.
    staying = casts["projector"] + (1 - share) * (casts["language"] + casts["vision"])
    going_back = language.backward_transient
    if again:
        # When the last of these is recomputed, the blocks after it have been freed.
        behind = setup.count_after_recomputed(depth)
        gone = behind * (language.saved + weights) + (language.last - language.saved if behind else 0.0)
        going_back = max(going_back, language.recompute_bytes + weights + casts["language"] / depth - gone)
    later = staying - (1 - share) * casts["language"]  # after the language model's backward pass
    head, waiting = _head_gradient_bytes(shape, setup)
    head_cast = head_autocast_bytes(shape, setup)
    every_cast = sum(casts.values())
    forward = (language.transient if again < depth else 0.0) + every_cast
    phases = [
        PhaseMemory("the forward pass", activations, vision.retained, 0.0, forward),
        PhaseMemory("the loss", activations, vision.retained, loss, every_cast + head_cast),
        PhaseMemory("the gradient of the loss", activations, vision.retained, gradient, staying + head_cast),
        PhaseMemory(
            "the backward pass of the language model", activations, vision.retained, left, staying + going_back, waiting
        ),
    ]
    if work.patches:
        phases.append(PhaseMemory("encoding images", 0.0, vision.encoding))
    if vision.backward:
        phases.append(
            PhaseMemory("the backward pass of the vision tower", 0.0, vision.retained, left, later + vision.backward)
        )
    if head:
        phases.append(
            PhaseMemory("the gradient of the output layer", activations, vision.retained, left, staying, head)
        )
        # The embedding's gradient is as large as the embedding; a tied one is added to the output layer's.
        embedding = float((3 if shape.tied_embeddings else 1) * FLOAT32_BYTES * shape.embedding_parameters)
        phases.append(PhaseMemory("the gradient of the token embedding", 0.0, vision.retained, left, later, embedding))
    return phases


def _logits_bytes(shape: ModelShape, setup: TrainingSetup, work: Workload) -> tuple[float, float, float]:
    """Bytes of logits while the loss is computed, while its gradient is, and from then on.

    With fused cross-entropy a chunk of positions at a time: logits in the output dtype, in float32, and in the compute
    dtype as their gradient; from the second chunk on the previous buffer is still allocated. What remains is the
    gradient of the hidden states. Otherwise all logits exist in the output dtype, in float32, and as log probabilities.
    """
    if not setup.fused_cross_entropy:
        logits = work.supervised * shape.vocabulary
        return (8 + (2 if setup.autocast else 0)) * logits, 16 * logits, FLOAT32_BYTES * logits
    at_once = max(1, LOGITS_CHUNK[setup.device] // (FLOAT32_BYTES * shape.vocabulary))
    numbers = min(work.supervised, at_once) * shape.vocabulary
    again = FLOAT32_BYTES * numbers if work.supervised > at_once else 0
    left = float(FLOAT32_BYTES * work.supervised * shape.language.width)
    return left + again + numbers * (FLOAT32_BYTES + (setup.compute if setup.autocast else 0)), left, left


def _mask_entries(work: Workload) -> int:
    columns = -(-work.length // _MASK_ALIGNMENT) * _MASK_ALIGNMENT
    return work.rows * work.length * columns


def _outside_blocks_bytes(shape: ModelShape, setup: TrainingSetup, work: Workload, input_bytes: float) -> float:
    """Bytes the language model saves outside its blocks: embeddings, sine and cosine, the last norm, the mask."""
    language = shape.language
    wide = input_bytes / max(work.tokens * language.width, 1)
    turning = 2 * wide * language.head_dim
    last = FLOAT32_BYTES * language.width + wide * language.width
    mask = _mask_entries(work) if work.masked and work.rows > 1 else 0
    return input_bytes + work.tokens * (turning + last) + mask


def _head_gradient_bytes(shape: ModelShape, setup: TrainingSetup) -> tuple[float, float]:
    """Bytes of the output layer's gradient when it is trained: while it is made, and while a tied one waits for the
    embedding's."""
    if setup.methods["language"] != "full":
        return 0.0, 0.0
    gradient = float(shape.embedding_parameters * (FLOAT32_BYTES + (setup.compute if setup.autocast else 0)))
    return gradient, float(FLOAT32_BYTES * shape.embedding_parameters) if shape.tied_embeddings else 0.0


def _vision_memory(shape: ModelShape, setup: TrainingSetup, work: Workload) -> _VisionMemory:
    patches, tower = work.patches, shape.vision
    if not patches:
        return _VisionMemory(0.0, 0.0, 0.0)
    pixels = FLOAT32_BYTES * shape.values_per_patch * patches
    features = setup.compute * shape.language.width * patches / shape.patches_per_token
    passing = (
        act.frozen_forward_bytes(tower, setup)
        + setup.compute * shape.values_per_patch
        + 2 * FLOAT32_BYTES * tower.head_dim
    ) * patches
    if setup.vision_frozen:
        return _VisionMemory(pixels + passing, pixels + features, 0.0)
    merging = (FLOAT32_BYTES + 3 * setup.compute) * tower.width * patches
    matrices = 0.0
    if setup.methods["projector"] == "full":
        # A projector of one matrix that is no linear layer has none.
        largest = max((linear.weights for linear in shape.projector), default=shape.projector_other)
        matrices = largest * (FLOAT32_BYTES + (setup.compute if setup.autocast else 0))
    block = act.block_memory(tower, "vision", setup, patches)
    if setup.methods["vision"] == "none":
        # Inside the model's forward the tower runs with autograd on, and checkpointing saves its blocks' inputs.
        held = merging + setup.count_recomputed(tower.depth) * block.input
        return _VisionMemory(pixels + passing + held, pixels + features + held, matrices)
    casts = autocast_bytes(shape, setup)["vision"]
    again = setup.count_recomputed(tower.depth)
    saved = again * block.input + (tower.depth - again) * block.saved + merging
    back = block.backward_transient
    if again:
        released = setup.count_after_recomputed(tower.depth) * block.saved
        back = max(back, block.recompute_bytes + casts / max(tower.depth, 1) - released)
    return _VisionMemory(pixels + saved + passing + casts, pixels + features + saved, max(back, matrices))
