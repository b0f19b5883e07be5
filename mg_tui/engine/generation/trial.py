"""A trial of a model whose family does not say that its rows may be answered together: do logits come out the same?

Two short texts that begin alike are read together and continued by a token each; plainly, each is one forward pass of
the model alone. Images are not tried: what makes them different is looked for in the model's build (see `support`).
"""

from typing import Any, Final

import torch
from torch import Tensor

from mg_tui.core.example import Example
from mg_tui.engine.answers.answer import Sampling
from mg_tui.engine.generation.forward import Forward
from mg_tui.engine.generation.images import ImageFeatures
from mg_tui.engine.generation.prefill import GroupOfRows, prefill
from mg_tui.engine.generation.prompts import Prompt
from mg_tui.engine.generation.rows import Row
from mg_tui.engine.generation.scheduler import Decoding
from mg_tui.families.apart import ApartEncoder

_TEXTS: Final = ((1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 7, 8, 9))
_NEXT: Final = (10, 11)
_ROUNDING: Final = {torch.float32: 1e-4}  # relative; of other dtypes 3e-2, as of other trials


def try_out(model: Any, apart: ApartEncoder) -> str | None:
    """What is wrong with answering rows of a model together; None if nothing is found."""
    forward = Forward(model)
    try:
        found = _together(forward, apart)
        plain = torch.cat([_alone(model, text) for text in _texts(model)])
        furthest = float(((found - plain).norm(dim=-1) / plain.norm(dim=-1)).amax())
    except Exception as error:  # whatever a model does not like: it is then asked one row at a time
        return f"its trial failed: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
    finally:
        forward.close()
    # Also where it is no number.
    return None if furthest <= _ROUNDING.get(model.dtype, 3e-2) else f"in a trial its logits were off by {furthest:.1%}"


def _texts(model: Any) -> list[list[int]]:
    """What the texts come to, continued."""
    most = model.config.get_text_config().vocab_size
    return [[token % most for token in (*text, new)] for text, new in zip(_TEXTS, _NEXT, strict=True)]


def _alone(model: Any, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
    return torch.stack([logits[0, -2], logits[0, -1]]).float()


def _together(forward: Forward, apart: ApartEncoder) -> Tensor:
    """Logits (4, vocabulary): before and after the new token of the first text, then of the second."""
    device, texts, first = forward.device, _texts(forward.model), dict[int, Tensor]()

    def each(read: Any, logits: Tensor) -> None:
        first.update({row.prompt.index: one for row, one in zip(read, logits, strict=True)})

    rows = [_row(index, tuple(text[:-1]), apart) for index, text in enumerate(texts)]
    shared = sum(one == other for one, other in zip(*_TEXTS, strict=False))
    with forward.ready():
        group = GroupOfRows(tuple(rows), shared)
        images = ImageFeatures(forward.model, apart)
        block = prefill(forward, [group], images, budget=64, enough=None, each=each)
        ids = torch.tensor([text[-1] for text in texts], device=device)
        positions = torch.tensor([row.prompt.next_position for row in rows], device=device)
        second = forward.step(ids, positions.expand(len(rows[0].prompt.positions), -1), Decoding([block.cache]))
    return torch.stack([one for index in range(len(rows)) for one in (first[index], second[index])]).float()


def _row(index: int, ids: tuple[int, ...], apart: ApartEncoder) -> Row:
    positions = tuple(map(tuple, apart.layout.positions([len(ids)])))
    prompt = Prompt(index, Example(0, ()), ids, positions, ids, (-1,) * len(ids), (), (), (), len(ids))
    return Row(prompt, Sampling(max_new_tokens=2), None)
