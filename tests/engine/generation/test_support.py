"""Models without support for batched generation generate one row at a time, with a notice that says why."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.engine.generation import support
from mg_tui.engine.generation.generate import generate_rows
from mg_tui.engine.generation.interface import GenerationCallbacks, GenerationModel
from mg_tui.engine.inference.generation import Sampling
from mg_tui.families import Experimental, Unsupported
from mg_tui.families.collate import ExampleEncoder

SHORT = Sampling(max_new_tokens=6)


def encoder_of(encoder: Any, **changes: Any) -> ExampleEncoder:
    """The encoder of a family like Qwen2.5-VL with some changes."""
    return ExampleEncoder(replace(QWEN2_5_VL, **changes), encoder.processor, encoder.preprocessing)


def test_qwen2_5_vl_is_supported(plain_model: Any, adapted: Any, encoder: Any) -> None:
    assert support.unsupported_reason(GenerationModel(plain_model, encoder)) is None
    assert support.unsupported_reason(GenerationModel(adapted, encoder)) is None


def test_a_family_without_support(
    plain_model: Any, encoder: Any, rows: list[Example], alone: Callable[..., Any]
) -> None:
    no = encoder_of(encoder, capabilities={"batched_generation": Unsupported("its images attend to each other")})
    notes: list[str] = []
    pieces: list[tuple[int, str]] = []
    callbacks = GenerationCallbacks(on_notice=notes.append, on_text=lambda *piece: pieces.append(piece))
    found = list(
        generate_rows(GenerationModel(plain_model, no), rows[:4], Sampling(max_new_tokens=36), callbacks=callbacks)
    )
    assert [one.answer.text for one in found] == [text for _ids, text in alone(plain_model, rows[:4])]
    assert [one.index for one in found] == [0, 1, 2, 3]
    assert notes == ["answers are generated one at a time: its images attend to each other"]
    assert "".join(piece for index, piece in pieces if index == 2) == found[2].answer.text
    unlaid = encoder_of(encoder, layout=None)
    assert "defines no token layout" in str(support.unsupported_reason(GenerationModel(plain_model, unlaid)))


def test_one_at_a_time_seeds_depend_on_the_row_and_bad_rows_are_reported(
    plain_model: Any, encoder: Any, rows: list[Example], row: Callable[..., Example]
) -> None:
    no = GenerationModel(plain_model, encoder_of(encoder, layout=None))
    sampling = Sampling(max_new_tokens=8, temperature=3.0, seed=2)
    whole = [one.answer.text for one in generate_rows(no, rows[:4], sampling)]
    assert [one.answer.text for one in generate_rows(no, rows[3::-1], sampling)] == whole[::-1]
    bad = row(77, [99], "?")
    with pytest.raises(DataError, match="row 77"):
        list(generate_rows(no, [bad]))
    problems: list[int] = []
    callbacks = GenerationCallbacks(on_problem=lambda index, _error: problems.append(index))
    found = list(generate_rows(no, [bad, rows[1]], SHORT, callbacks=callbacks))
    assert problems == [0] and [one.index for one in found] == [1]


def test_logits_are_compared_if_the_family_does_not_declare_support(
    plain_model: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    undeclared = encoder_of(encoder, capabilities={"batched_generation": Experimental("not known")})
    assert support.unsupported_reason(GenerationModel(plain_model, undeclared)) is None
    # A layout with other positions than the model uses by default.
    layout = QWEN2_5_VL.layout
    assert layout is not None
    right = layout.positions
    wrong = replace(layout, positions=lambda runs: [[2 * at for at in axis] for axis in right(runs)])
    off = encoder_of(encoder, capabilities={"batched_generation": Experimental("not known")}, layout=wrong)
    assert "its logits differed by" in str(support.unsupported_reason(GenerationModel(plain_model, off)))

    def refuses(*_given: Any, **_others: Any) -> Any:
        raise TypeError("unexpected keyword argument 'logits_to_keep'")

    with monkeypatch.context() as patch:
        patch.setattr(plain_model, "forward", refuses)
        reason = support.unsupported_reason(GenerationModel(plain_model, undeclared))
    assert "a check of its logits failed: TypeError" in str(reason)
    assert plain_model.config.get_text_config()._attn_implementation == "sdpa"


def build_model(config: Any) -> Any:
    """A model of this configuration, without memory for its weights."""
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 64,
}


def test_architectures_with_other_attention() -> None:
    """Sliding windows, bidirectional image tokens and recurrent layers are rejected, a plain one is not."""
    from transformers import Gemma3Config, LlavaConfig, PaliGemmaConfig, Qwen2Config, Qwen3_5Config

    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"image_size": 28, "patch_size": 14}
    tower = {"model_type": "clip_vision_model", **vision, **sizes}
    llava = build_model(LlavaConfig(text_config=Qwen2Config(**SMALL), vision_config=tower))
    assert support.inspect_model(llava) is None
    sliding = Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=8, max_window_layers=2)
    windows = build_model(LlavaConfig(text_config=sliding, vision_config=tower))
    assert "layers of type sliding_attention" in str(support.inspect_model(windows))
    gemma = build_model(Gemma3Config(text_config={**SMALL, "head_dim": 16}, vision_config={**vision, **sizes}))
    assert support.inspect_model(gemma) is not None
    pali = build_model(
        PaliGemmaConfig(text_config={"model_type": "gemma", **SMALL, "head_dim": 16}, vision_config={**vision, **sizes})
    )
    assert "not causal everywhere" in str(support.inspect_model(pali))
    recurrent = build_model(Qwen3_5Config(text_config={**SMALL, "head_dim": 16}))
    assert "linear_attention" in str(support.inspect_model(recurrent))
