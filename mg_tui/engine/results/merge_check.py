"""Checks a merge: compares the logits of the merged model and the adapter on drawn images, position by position.

Rounding alone moves logits: a merged weight is rounded once more to its dtype, and activations are rounded in another
order. On a model of four layers that is 0.25 eps of the logits' spread on average, in bfloat16 and float16 alike; it
grows like the square root of depth, to about 1.2 eps at eighty layers. Twice eps is therefore always allowed and eight
times eps at most. In between, half of what the adapter does is: losing the adapter must not pass for rounding.
"""

import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.families.collate import IGNORE_INDEX, ExampleEncoder

if TYPE_CHECKING:
    from PIL import Image

_MIN_EPS: Final = 2.0  # times eps times the spread of the logits: indistinguishable from rounding
_MAX_EPS: Final = 8.0  # likewise: more is never due to rounding
_FLOAT32_TOLERANCE: Final = 1e-5  # of the spread: sums over thousands of products differ by the order they are added in
_CLEAR_SHARE: Final = 0.02  # of the positions may have a clearly different best token
_PROMPTS: Final = (
    "Describe the picture.",
    "What colours do you see?",
    "How many shapes are there?",
    "What is on the left?",
)


@dataclass(frozen=True, slots=True)
class MergeSample:
    """A drawn image, a question about it, and an answer whose tokens are compared."""

    example: Example
    image: "Image.Image"


@dataclass(frozen=True, slots=True)
class LogitComparison:
    """How far apart the logits are; all but the counts and shares in units of logits.

    Attributes:
        positions: tokens of answers that were predicted.
        mean_difference, max_difference: of merged and adapter, absolute.
        top1_agreement: share of positions with the same best token.
        clear_disagreements: positions where the best token differs and was no near tie.
        adapter_effect: mean absolute difference of adapter and base: what merging must keep.
        spread: standard deviation of the adapter's logits.
        limit: the mean difference must not be above it.
    """

    positions: int
    mean_difference: float
    max_difference: float
    top1_agreement: float
    clear_disagreements: int
    adapter_effect: float
    spread: float
    limit: float

    @property
    def agrees(self) -> bool:
        """Whether the merged model is the adapted one up to rounding."""
        few = self.clear_disagreements <= _CLEAR_SHARE * self.positions
        return few and self.mean_difference <= self.limit  # NaN is not below any limit

    def as_dict(self) -> dict[str, Any]:
        """For the contract, the card and `--json`; numbers to six digits."""
        return {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in asdict(self).items()}


def make_samples(seed: int = 7) -> list[MergeSample]:
    """Images with a question each; the answers are still to be written (see `add_answers`)."""
    from mg_tui.data.synthetic.drawings import draw_image

    samples = []
    for number, question in enumerate(_PROMPTS):
        image, _facts = draw_image(random.Random(f"{seed}/{number}"), size=(280, 224))
        user = Message("user", (ImagePart(ImageRef("", "drawn")), TextPart(question)))
        samples.append(MergeSample(Example(number + 1, (user,)), image))
    return samples


def add_answers(samples: list[MergeSample], model: Any, encoder: ExampleEncoder) -> list[MergeSample]:
    """The samples, each with the answer of `model`: the tokens that are predicted again."""
    from mg_tui.engine.inference.generation import Sampling, generate_answer

    answered = []
    for sample in samples:
        answer = generate_answer(model, encoder, sample.example.messages, [sample.image], Sampling(max_new_tokens=24))
        # An empty answer has no tokens to compare; any text will do then.
        text = answer.text.strip() or "An image with some shapes."
        turns = (*sample.example.messages, Message("assistant", (TextPart(text),)))
        answered.append(MergeSample(Example(sample.example.row, turns), sample.image))
    return answered


def answer_logits(samples: list[MergeSample], model: Any, encoder: ExampleEncoder) -> Any:
    """Logits that predict the answers' tokens, float32 on the CPU: (positions, vocabulary)."""
    import torch

    logits_of_samples = []
    for sample in samples:
        batch = dict(encoder([sample.example], [[sample.image]]))
        supervised = batch.pop("labels")[0, 1:] != IGNORE_INDEX
        moved = {name: v.to(model.device) if torch.is_tensor(v) else v for name, v in batch.items()}
        with torch.inference_mode():
            logits = model(**moved, use_cache=False).logits[0, :-1]
        logits_of_samples.append(logits[supervised.to(logits.device)].float().cpu())
    return torch.cat(logits_of_samples)


def compare_logits(adapter: Any, merged: Any, base: Any, dtype: str) -> LogitComparison:
    """Compare logits as `answer_logits` gives them; `dtype` is that of the weights."""
    import torch

    difference = (adapter - merged).abs()
    spread, effect = float(adapter.std()), float((adapter - base).abs().mean())
    limit = _difference_limit(float(torch.finfo(getattr(torch, dtype)).eps), spread, effect)
    best, other = adapter.argmax(-1), merged.argmax(-1)
    margin = adapter.gather(-1, best[:, None]) - adapter.gather(-1, other[:, None])
    return LogitComparison(
        positions=len(adapter),
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
        top1_agreement=float((best == other).float().mean()),
        clear_disagreements=int((margin[:, 0] > 4 * limit).sum()),
        adapter_effect=effect,
        spread=spread,
        limit=limit,
    )


def _difference_limit(eps: float, spread: float, effect: float) -> float:
    least, most = (max(times * eps, _FLOAT32_TOLERANCE) * spread for times in (_MIN_EPS, _MAX_EPS))
    return min(max(effect / 2, least), most)
