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
    language = act.block(
        shape.language, "language", setup, work.tokens, mask=_mask(work) if work.masked else 0, masked=work.masked
    )
    weights = act.eager_attention(shape.language, setup, work)
    depth, casts = max(shape.language.depth, 1), cast_bytes(shape, setup)
    seen = _vision(shape, setup, work)
    logits = _positions(work) * shape.vocabulary
    left = FLOAT * logits  # the logits themselves, to the end of the pass
    kept = _around(shape, setup, work, language.input)
    again = setup.recomputed(depth)
    share = again / depth  # of the blocks
    kept += again * language.input + (depth - again) * (language.saved + weights)
    # What is cast inside blocks is cast again with those that are computed again; the projector is in no block.
    staying = casts["projector"] + (1 - share) * (casts["language"] + casts["vision"])
    going_back = language.returning
    if again:
        # By the time the last of these is computed again, the blocks behind it are done with.
        gone = setup.behind_recomputed(depth) * (language.saved + weights)
        going_back = max(going_back, language.again + weights + casts["language"] / depth - gone)
    later = staying - (1 - share) * casts["language"]  # when the language model is done with
    head, waiting = _head_gradients(shape, setup)
    head_cast = head_cast_bytes(shape, setup)
    every_cast = sum(casts.values())
    forward = (language.running if again < depth else 0.0) + every_cast
    turned = (8 + (2 if setup.autocast else 0)) * logits  # as they come, in float32, and their logarithms
    found = [
        Moment("the forward pass", kept, seen.carried, 0.0, forward),
        Moment("the loss", kept, seen.carried, turned, every_cast + head_cast),
        Moment("the gradient of the loss", kept, seen.carried, 16 * logits, staying + head_cast),
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


def _positions(work: Workload) -> int:
    return work.learned if LOGITS_CHUNK is None else min(work.learned, LOGITS_CHUNK)


def _mask(work: Workload) -> int:
    columns = -(-work.length // _MASK_ALIGNED) * _MASK_ALIGNED
    return work.rows * work.length * columns


def _around(shape: ModelShape, setup: Setup, work: Workload, input_bytes: float) -> float:
    """What the language model keeps besides its blocks: embeddings, sine and cosine, the last norm, the mask itself."""
    language = shape.language
    wide = input_bytes / max(work.tokens * language.width, 1)
    turning = 2 * wide * language.head_dim
    last = FLOAT * language.width + wide * language.width
    return input_bytes + work.tokens * (turning + last) + (_mask(work) if work.masked else 0)


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
