"""Compares the logits of batched generation with the model's own, for families that do not declare support.

Two short texts with a common prefix are prefilled together and continued by one token each; the reference is a forward
pass of the model for each text alone. Images are not compared: `support.inspect_model` looks for what they may change.
"""

from typing import Any, Final

import torch
from torch import Tensor

from mg_tui.core.example import Example
from mg_tui.core.text import first_line
from mg_tui.engine.generation.budget import GenerationBudget
from mg_tui.engine.generation.image_features import ImageFeatures
from mg_tui.engine.generation.model_runner import ModelRunner
from mg_tui.engine.generation.prefill import RowGroup, prefill
from mg_tui.engine.generation.prompts import Prompt
from mg_tui.engine.generation.row_state import RowState
from mg_tui.engine.generation.scheduler import DecodeAttention
from mg_tui.engine.inference.generation import Sampling
from mg_tui.families.split_encoding import SplitEncoder

_TEXTS: Final = ((1, 2, 3, 4, 5, 6, 10), (1, 2, 3, 4, 7, 8, 9, 11))  # token ids; the last one is decoded
_SHARED: Final = 4
_FLOAT32_TOLERANCE: Final = 1e-4  # relative
_TOLERANCE: Final = 3e-2  # of 16-bit dtypes


def compare_logits(model: Any, encoder: SplitEncoder) -> str | None:
    """Why batched generation does not work for a model; None if the logits agree."""
    runner = ModelRunner(model, encoder.encoder.family.vision)
    vocabulary = model.config.get_text_config().vocab_size
    texts = [[token % vocabulary for token in text] for text in _TEXTS]
    try:
        batched = _batched_logits(runner, encoder, texts)
        reference = torch.cat([_reference_logits(model, text) for text in texts])
        difference = float(((batched - reference).norm(dim=-1) / reference.norm(dim=-1)).amax())
    except Exception as error:  # any incompatibility of the model: it is then used one row at a time
        return f"a check of its logits failed: {type(error).__name__}: {first_line(error)}"
    finally:
        runner.close()
    tolerance = _FLOAT32_TOLERANCE if model.dtype == torch.float32 else _TOLERANCE
    # Not `>`, which is false for NaN.
    return None if difference <= tolerance else f"in a check its logits differed by {difference:.1%}"


def _reference_logits(model: Any, ids: list[int]) -> Tensor:
    """Logits (2, vocabulary) at the last two tokens."""
    with torch.inference_mode():
        logits: Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
    return logits[0, -2:].float()


def _batched_logits(runner: ModelRunner, encoder: SplitEncoder, texts: list[list[int]]) -> Tensor:
    """The same for all texts, one after another: (2 x texts, vocabulary)."""
    prefill_logits: dict[int, Tensor] = {}

    def store(pass_rows: Any, logits: Tensor) -> None:
        prefill_logits.update({row.prompt.index: item for row, item in zip(pass_rows, logits, strict=True)})

    rows = [_row_state(index, tuple(text[:-1]), encoder) for index, text in enumerate(texts)]
    budget = GenerationBudget(rows=len(rows), kv_tokens=1_000, prefill_tokens=1_000)
    with runner.active():
        images = ImageFeatures(runner.model, encoder)
        batch = prefill(runner, [RowGroup(tuple(rows), _SHARED)], images, budget, store)
        ids = torch.tensor([text[-1] for text in texts], device=runner.device)
        positions = torch.tensor([row.prompt.next_position for row in rows], device=runner.device)
        by_axis = positions.expand(len(rows[0].prompt.positions), -1)
        decoded = runner.decode_logits(ids, by_axis, DecodeAttention([batch.cache]))
    return torch.stack([x for index in range(len(rows)) for x in (prefill_logits[index], decoded[index])]).float()


def _row_state(index: int, ids: tuple[int, ...], encoder: SplitEncoder) -> RowState:
    positions = tuple(map(tuple, encoder.layout.positions([len(ids)])))
    no_image = (-1,) * len(ids)
    prompt = Prompt(index, Example(0, ()), ids, positions, ids, no_image, (), (), no_image, (), next_position=len(ids))
    return RowState(prompt, Sampling(max_new_tokens=2), None)
