"""Models whose rows cannot be answered together are asked one at a time, and why is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.engine.answers.answer import Sampling
from mg_tui.engine.generation import support
from mg_tui.engine.generation.batch import AnsweringModel, Listeners, generate_rows
from mg_tui.families import Experimental, Unsupported
from mg_tui.families.collate import ExampleEncoder

SHORT = Sampling(max_new_tokens=6)


def of(encoder: Any, **changes: Any) -> ExampleEncoder:
    """The encoder of a family that is Qwen2.5-VL but for some changes."""
    return ExampleEncoder(replace(QWEN2_5_VL, **changes), encoder.processor, encoder.preprocessing)


def test_qwen2_5_vl_is_answered_together(plain_model: Any, adapted: Any, encoder: Any) -> None:
    assert support.why_not(AnsweringModel(plain_model, encoder)) is None
    assert support.why_not(AnsweringModel(adapted, encoder)) is None


def test_a_family_that_says_no(plain_model: Any, encoder: Any, rows: list[Example], alone: Callable[..., Any]) -> None:
    no = of(encoder, capabilities={"batched_generation": Unsupported("its images look at each other")})
    notes: list[str] = []
    pieces: list[tuple[int, str]] = []
    listeners = Listeners(note=notes.append, text=lambda *piece: pieces.append(piece))
    found = list(
        generate_rows(AnsweringModel(plain_model, no), rows[:4], Sampling(max_new_tokens=36), listeners=listeners)
    )
    assert [one.answer.text for one in found] == [text for _ids, text in alone(plain_model, rows[:4])]
    assert [one.index for one in found] == [0, 1, 2, 3]
    assert notes == ["rows are answered one at a time: its images look at each other"]
    assert "".join(piece for index, piece in pieces if index == 2) == found[2].answer.text
    unlaid = of(encoder, layout=None)
    assert "how its images are laid out" in str(support.why_not(AnsweringModel(plain_model, unlaid)))


def test_one_at_a_time_rows_draw_by_their_number_and_bad_ones_are_told(
    plain_model: Any, encoder: Any, rows: list[Example], row: Callable[..., Example]
) -> None:
    no = AnsweringModel(plain_model, of(encoder, layout=None))
    sampling = Sampling(max_new_tokens=8, temperature=3.0, seed=2)
    whole = [one.answer.text for one in generate_rows(no, rows[:4], sampling)]
    assert [one.answer.text for one in generate_rows(no, rows[3::-1], sampling)] == whole[::-1]
    bad = row(77, [99], "?")
    with pytest.raises(DataError, match="row 77"):
        list(generate_rows(no, [bad]))
    problems: list[int] = []
    listeners = Listeners(problem=lambda index, _error: problems.append(index))
    found = list(generate_rows(no, [bad, rows[1]], SHORT, listeners=listeners))
    assert problems == [0] and [one.index for one in found] == [1]


def test_a_family_that_does_not_say_is_tried(
    plain_model: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    unsaid = of(encoder, capabilities={"batched_generation": Experimental("not known")})
    assert support.why_not(AnsweringModel(plain_model, unsaid)) is None
    # Positions that are not those the model gives itself: what a wrong layout would come to.
    wrong = replace(
        QWEN2_5_VL.layout,
        positions=lambda runs: [[2 * at for at in axis] for axis in QWEN2_5_VL.layout.positions(runs)],
    )
    off = of(encoder, capabilities={}, layout=wrong)
    assert "its logits were off by" in str(support.why_not(AnsweringModel(plain_model, off)))

    def refuses(*_given: Any, **_others: Any) -> Any:
        raise TypeError("unexpected keyword argument 'logits_to_keep'")

    with monkeypatch.context() as patch:
        patch.setattr(plain_model, "forward", refuses)
        assert "its trial failed: TypeError" in str(support.why_not(AnsweringModel(plain_model, unsaid)))
    assert plain_model.config.get_text_config()._attn_implementation == "sdpa"


def built(config: Any) -> Any:
    """A model of this build, without memory for its weights."""
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


def test_builds_that_keep_something_else() -> None:
    """Windows, images whose tokens see each other, recurrent layers; and one that is as it should be."""
    from transformers import Gemma3Config, LlavaConfig, PaliGemmaConfig, Qwen2Config, Qwen3_5Config

    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"image_size": 28, "patch_size": 14}
    tower = {"model_type": "clip_vision_model", **vision, **sizes}
    llava = built(LlavaConfig(text_config=Qwen2Config(**SMALL), vision_config=tower))
    assert support.of_build(llava) is None
    sliding = Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=8, max_window_layers=2)
    windows = built(LlavaConfig(text_config=sliding, vision_config=tower))
    assert "layers of another kind: sliding_attention" in str(support.of_build(windows))
    gemma = built(Gemma3Config(text_config={**SMALL, "head_dim": 16}, vision_config={**vision, **sizes}))
    assert support.of_build(gemma) is not None
    pali = built(
        PaliGemmaConfig(text_config={"model_type": "gemma", **SMALL, "head_dim": 16}, vision_config={**vision, **sizes})
    )
    assert "see each other" in str(support.of_build(pali))
    recurrent = built(Qwen3_5Config(text_config={**SMALL, "head_dim": 16}))
    assert "linear_attention" in str(support.of_build(recurrent))
