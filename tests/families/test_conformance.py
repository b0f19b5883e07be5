"""The conformance kit finds what is wrong: each family here breaks one promise of a sound one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from mg_tui.families import Checkpoint, ModelFamily, Parts, Preprocessing, Supported
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.conformance import ConformanceFixture, forward, merging, quantized_model, training
from mg_tui.families.testing import check_family


def run_check(family: ModelFamily, **options: Any) -> str:
    return "\n".join(check_family(family, weights=False, **options))


def test_a_family_without_a_checkpoint_is_checked_by_its_data(family: ModelFamily) -> None:
    alone = replace(family, checkpoints=())
    assert check_family(alone) == []
    assert "model_types is empty" in run_check(replace(alone, model_types=()))
    assert "title is empty" in run_check(replace(alone, title=" "))
    assert "is in two parts" in run_check(replace(alone, parts=Parts(("a",), ("b",), ("a",))))
    twice = (Checkpoint("a/b", "t", 1), Checkpoint("a/b", "t", 1))
    assert "listed twice" in run_check(replace(alone, checkpoints=twice))
    assert "has 0 parameters" in run_check(replace(alone, checkpoints=(Checkpoint("a/b", "t", 0),)))
    assert "image_tokens(224, 224) raises ZeroDivisionError" in run_check(
        replace(alone, image_tokens=lambda *_: 1 // 0)
    )


def test_a_checkpoint_of_another_family(family: ModelFamily) -> None:
    assert "is of model type qwen2_5_vl, not other" in run_check(replace(family, model_types=("other",)))


def test_a_sound_family(family: ModelFamily, tiny: Path) -> None:
    assert run_check(family) == ""
    assert run_check(replace(family, checkpoints=()), checkpoint=tiny) == ""


def test_wrong_token_counts(family: ModelFamily) -> None:
    real = family.image_tokens
    assert real is not None
    wrong = replace(family, image_tokens=lambda w, h, limits: real(w, h, limits) + 1)
    assert "the processor makes 16, not 17" in run_check(wrong)


def test_limits_that_have_no_effect(family: ModelFamily) -> None:
    def deaf(family: ModelFamily, source: str, preprocessing: Preprocessing, **hub: Any) -> Any:
        from mg_tui.families import defaults

        return defaults.load_processor(family, source, Preprocessing(3_136, 12_544), **hub)

    assert "at 50176 pixels" in run_check(replace(family, load_processor=deaf))


def test_a_layout_that_is_not_the_processors(family: ModelFamily) -> None:
    real = family.layout
    grid = real.grid if real is not None else None
    assert real is not None and grid is not None
    turned = replace(real, grid=lambda w, h, limits: (grid(w, h, limits)[0] + 1, grid(w, h, limits)[1]))
    assert "split encoding: row 1: tokens or labels differ" in run_check(replace(family, layout=turned))
    assert "layout is dict, not TokenLayout" in run_check(replace(family, layout=cast(Any, {})))


class MeddlingEncoder(ExampleEncoder):
    """An encoder whose labels a function spoils."""

    def __init__(self, *arguments: Any, spoil: Callable[[Any], None], **options: Any):
        super().__init__(*arguments, **options)
        self.spoil = spoil

    def __call__(self, examples: Any, images: Any) -> Any:
        batch = super().__call__(examples, images)
        self.spoil(batch)
        return batch


def supervise_everything(batch: Any) -> None:
    batch["labels"] = batch["input_ids"].clone()


def drop_end_token(batch: Any) -> None:
    for row in batch["labels"]:
        row[int((row != -100).nonzero()[-1])] = -100


def shift_labels(batch: Any) -> None:
    batch["labels"] = batch["labels"].roll(1, dims=1)


def drop_token_types(batch: Any) -> None:
    batch["mm_token_type_ids"] = torch.ones_like(batch["input_ids"]) * len(batch["input_ids"])


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (supervise_everything, "supervised labels: row 1: supervised text"),
        (drop_end_token, "1 answers, but 0 end-of-turn tokens are supervised"),
        (shift_labels, "a label differs from its token"),
        (drop_token_types, "batches: row 1: mm_token_type_ids differs"),
    ],
)
def test_a_collator_that_goes_wrong(family: ModelFamily, spoil: Callable[[Any], None], finding: str) -> None:
    def make(
        family: ModelFamily, processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
    ) -> MeddlingEncoder:
        return MeddlingEncoder(family, processor, preprocessing, spoil=spoil, train_on_prompt=train_on_prompt)

    assert finding in run_check(replace(family, make_collator=make))


def test_parts_that_do_not_cover_the_model(family: ModelFamily) -> None:
    parts = replace(family.parts, vision=("model.vision_tower",))
    text = run_check(replace(family, parts=parts))
    assert "vision: there is no module model.vision_tower" in text
    assert "weights belong to no part, e.g. model.visual.patch_embed" in text
    assert "vision: LoRA is declared as supported, but there is no linear layer" in text


@pytest.fixture
def bench(family: ModelFamily, tiny: Path) -> Iterator[ConformanceFixture]:
    yield ConformanceFixture(family, tiny)


def test_a_model_that_mixes_rows(bench: ConformanceFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench.load

    def load(*arguments: Any) -> Any:
        model = real(*arguments)
        model.lm_head.register_forward_hook(lambda _m, _i, out: out + out.mean())
        return model

    monkeypatch.setattr(bench, "load", load)
    assert any("logits in a batch differ" in finding for finding in forward(bench))


def test_promises_to_train_that_are_not_kept(bench: ConformanceFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench.load

    def load(*arguments: Any) -> Any:
        model = real(*arguments)
        model.model.visual.merger.register_forward_pre_hook(lambda _m, inputs: (inputs[0].detach(), *inputs[1:]))
        return model

    monkeypatch.setattr(bench, "load", load)
    findings = "\n".join(training(bench))
    assert "vision: no gradient reaches" in findings
    assert "full: no gradient reaches the vision part" in findings
    assert "language: no gradient" not in findings


def test_quantisation_of_the_wrong_part(bench: ConformanceFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = replace(bench.family, parts=replace(bench.family.parts, vision=()), capabilities={"nf4": Supported()})
    monkeypatch.setattr(bench, "family", moved)
    assert any("nf4: model.visual" in finding and "quantized" in finding for finding in quantized_model(bench))


def test_merging_that_changes_the_model(bench: ConformanceFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft.tuners.lora import Linear

    monkeypatch.setattr(Linear, "get_delta_weight", lambda self, _name: torch.zeros_like(self.weight))
    assert any("after merging" in finding for finding in merging(bench))
