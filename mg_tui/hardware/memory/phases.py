"""A step as the moments in which memory is highest, each with what is there at that moment.

Weights, gradients and optimizer state are there throughout and are not in here.
"""

from dataclasses import dataclass, field
from typing import Final

from mg_tui.hardware.memory import activations as act
from mg_tui.hardware.memory.assumed import LOGITS_CHUNK
from mg_tui.hardware.memory.setup import Setup
from mg_tui.hardware.memory.weights import cast_bytes, head_cast_bytes
from mg_tui.hardware.memory.workload import Workload
from mg_tui.hardware.shape import ModelShape

FLOAT: Final = 4
_MASK_ALIGNED: Final = 8  # columns of a mask are padded to a multiple of this


@dataclass(frozen=True, slots=True)
class Moment:
    """What a step holds at one moment, in bytes by part: activations that are kept, vision, logits, what is running."""

    name: str
    kept: float = 0.0
    vision: float = 0.0
    logits: float = 0.0
    running: float = 0.0
    gradients: float = field(default=0.0)

    @property
    def bytes(self) -> float:
        """All of it."""
        return self.kept + self.vision + self.logits + self.running + self.gradients


@dataclass(frozen=True, slots=True)
class _Vision:
    encoding: float  # while pictures are encoded
    carried: float  # from then on, to the end of the pass
    going_back: float  # beside that, in the backward pass of tower and projector


def moments(shape: ModelShape, setup: Setup, work: Workload) -> list[Moment]:
    """The moments of the largest forward pass and its backward pass, one of which is the peak."""
    mask = _mask(work) if work.masked and work.rows > 1 else 0  # one packed row does without
    learned = work.learned if setup.fused_head else None
    language = act.block(shape.language, "language", setup, work.tokens, mask=mask, masked=work.masked, learned=learned)
    weights = act.eager_attention(shape.language, setup, work)
    depth, casts = max(shape.language.depth, 1), cast_bytes(shape, setup)
    seen = _vision(shape, setup, work)
    loss, gradient, left = _logits(shape, setup, work)
    kept = _around(shape, setup, work, language.input)
    again = setup.recomputed(depth)
    share = again / depth  # of the blocks
    kept += again * language.input + (depth - again) * (language.saved + weights)
    if again < depth and not setup.is_recomputed(depth - 1):
        kept += language.last - language.saved
    # What is cast inside blocks is cast again with those that are computed again; the projector is in no block.
    staying = casts["projector"] + (1 - share) * (casts["language"] + casts["vision"])
    going_back = language.returning
    if again:
        # By the time the last of these is computed again, the blocks behind it are done with.
        behind = setup.behind_recomputed(depth)
        gone = behind * (language.saved + weights) + (language.last - language.saved if behind else 0.0)
        going_back = max(going_back, language.again + weights + casts["language"] / depth - gone)
    later = staying - (1 - share) * casts["language"]  # when the language model is done with
    head, waiting = _head_gradients(shape, setup)
    head_cast = head_cast_bytes(shape, setup)
    every_cast = sum(casts.values())
    forward = (language.running if again < depth else 0.0) + every_cast
    found = [
        Moment("the forward pass", kept, seen.carried, 0.0, forward),
        Moment("the loss", kept, seen.carried, loss, every_cast + head_cast),
        Moment("the gradient of the loss", kept, seen.carried, gradient, staying + head_cast),
        Moment("the backward pass of the language model", kept, seen.carried, left, staying + going_back, waiting),
    ]
    if work.patches:
        found.append(Moment("encoding pictures", 0.0, seen.encoding))
    if seen.going_back:
        found.append(Moment("the backward pass of the vision tower", 0.0, seen.carried, left, later + seen.going_back))
    if head:
        found.append(Moment("the gradient of the output layer", kept, seen.carried, left, staying, head))
        # The embedding's gradient is as large as the embedding; a tied one is added to the output layer's.
        embedding = float((3 if shape.tied_head else 1) * FLOAT * shape.embedding)
        found.append(Moment("the gradient of the token embedding", 0.0, seen.carried, left, later, embedding))
    return found


def _logits(shape: ModelShape, setup: Setup, work: Workload) -> tuple[float, float, float]:
    """Bytes of logits while the loss is computed, while its gradient is, and from then on.

    Where output layer and loss are one function, some positions at a time: their logits as they come, in float32, and
    back in the compute dtype as their own gradient; from the second time on the buffer before is still there. What is
    left is the gradient of the hidden states. Elsewhere logits are there as they come, in float32, and as logarithms.
    """
    if not setup.fused_head:
        logits = work.learned * shape.vocabulary
        return (8 + (2 if setup.autocast else 0)) * logits, 16 * logits, FLOAT * logits
    at_once = max(1, LOGITS_CHUNK[setup.device] // (FLOAT * shape.vocabulary))
    numbers = min(work.learned, at_once) * shape.vocabulary
    again = FLOAT * numbers if work.learned > at_once else 0
    left = float(FLOAT * work.learned * shape.language.width)
    return left + again + numbers * (FLOAT + (setup.compute if setup.autocast else 0)), left, left


def _mask(work: Workload) -> int:
    columns = -(-work.length // _MASK_ALIGNED) * _MASK_ALIGNED
    return work.rows * work.length * columns


def _around(shape: ModelShape, setup: Setup, work: Workload, input_bytes: float) -> float:
    """What the language model keeps besides its blocks: embeddings, sine and cosine, the last norm, the mask itself."""
    language = shape.language
    wide = input_bytes / max(work.tokens * language.width, 1)
    turning = 2 * wide * language.head_dim
    last = FLOAT * language.width + wide * language.width
    mask = _mask(work) if work.masked and work.rows > 1 else 0
    return input_bytes + work.tokens * (turning + last) + mask


def _head_gradients(shape: ModelShape, setup: Setup) -> tuple[float, float]:
    """Bytes of the output layer's gradient when it is trained: while it is made, and while a tied one waits for the
    embedding's."""
    if setup.methods["language"] != "full":
        return 0.0, 0.0
    made = float(shape.embedding * (FLOAT + (setup.compute if setup.autocast else 0)))
    return made, float(FLOAT * shape.embedding) if shape.tied_head else 0.0


def _vision(shape: ModelShape, setup: Setup, work: Workload) -> _Vision:
    patches, tower = work.patches, shape.vision
    if not patches:
        return _Vision(0.0, 0.0, 0.0)
    pixels = FLOAT * shape.patch_values * patches
    features = setup.compute * shape.language.width * patches / shape.patches_per_token
    passing = (act.passing(tower, setup) + setup.compute * shape.patch_values + 2 * FLOAT * tower.head_dim) * patches
    if setup.vision_frozen:
        return _Vision(pixels + passing, pixels + features, 0.0)
    merging = (FLOAT + 3 * setup.compute) * tower.width * patches
    matrices = 0.0
    if setup.methods["projector"] == "full":
        largest = max(linear.weights for linear in shape.projector)
        matrices = largest * (FLOAT + (setup.compute if setup.autocast else 0))
    one = act.block(tower, "vision", setup, patches)
    if setup.methods["vision"] == "none":
        # Inside the model's forward the tower runs with gradients on, and checkpointing holds its blocks' inputs.
        held = merging + setup.recomputed(tower.depth) * one.input
        return _Vision(pixels + passing + held, pixels + features + held, matrices)
    casts = cast_bytes(shape, setup)["vision"]
    again = setup.recomputed(tower.depth)
    saved = again * one.input + (tower.depth - again) * one.saved + merging
    back = one.returning
    if again:
        back = max(back, one.again + casts / max(tower.depth, 1) - setup.behind_recomputed(tower.depth) * one.saved)
    return _Vision(pixels + saved + passing + casts, pixels + features + saved, max(back, matrices))
