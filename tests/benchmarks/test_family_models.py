"""The models of the comparison beside Qwen2.5-VL: their aims, their section of the page, their tokenizers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def train(benchmark_module: Callable[[str], ModuleType]) -> Any:
    return benchmark_module("train")


def measured(train: Any, peer: str, seconds: float, batch: int = 2) -> Any:
    return train.Measurement(
        peer=peer, kind="vqa", purpose="speed", batch=batch, accumulate=10 // batch, repeat=0, steps_per_epoch=4,
        seconds=[9.0, 9.0, seconds, seconds, seconds / 2, seconds / 2], losses=[11.0, 10.0], supervised=[30, 30],
        first_begun=3.0, first_done=4.0, loaded_mib=1.0, peak_mib=2.0, workers_mib=0.0, others=0.01,
        checkpointing=False, trained=1,
    )  # fmt: skip


def test_the_aim_of_another_family_is_three_times_the_best_peer(train: Any) -> None:
    ours = measured(train, "ours", 1.0)
    peers = [replace(measured(train, "trl", 3.5), seconds=[9.0, 9.0, 3.5, 3.5]), measured(train, "swift", 8.0)]
    titles = {"ours": "Model Garden", "trl": "TRL", "swift": "ms-swift"}
    table = train.targets_table([ours, *peers], titles, train.MODELS["gemma3"])
    first, later, *_others = [line for line in table.splitlines() if "5 questions" in line]
    assert "≥ 3x | TRL 2x5" in first and "| 3.50x | yes |" in first
    assert "| 7.00x | yes |" in later
    assert "captions" not in table and "memory" not in table
    whole = train.targets_table([ours, *peers], titles, train.MODELS["qwen2_5_vl"])
    assert "≥ 5x | TRL 2x5" in whole and "captions" in whole and "memory" in whole


def test_each_model_has_a_section_of_its_own(train: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(train.DEFAULT_PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    before = page.read_text(encoding="utf-8")
    train.docs_page.write_page(page, "NEW", train.MODELS["gemma3"])
    after = page.read_text(encoding="utf-8")
    assert after.count("NEW") == 1 and after.index("NEW") > after.index("### Gemma 3")
    assert after[: after.index("### Gemma 3")] == before[: before.index("### Gemma 3")]
    train.docs_page.write_page(page, "FIRST", train.MODELS["qwen2_5_vl"])
    assert "FIRST" in page.read_text(encoding="utf-8").partition("## Other families")[0]
    assert "NEW" in page.read_text(encoding="utf-8")


def test_special_tokens_have_the_ids_of_the_published_tokenizer(train: Any) -> None:
    """ms-swift looks for Gemma's image token by its number."""
    from harness import family_models  # type: ignore[import-not-found]

    tokenizer = family_models._gemma_tokenizer()
    assert tokenizer.get_vocab_size() == 262_145
    named = ("<bos>", "<start_of_image>", "<image_soft_token>")
    assert [tokenizer.token_to_id(token) for token in named] == [2, 255_999, 262_144]
    text = "<start_of_turn>user\nwhat shape is it?<end_of_turn>"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert (ids[0], ids[-1]) == (105, 106) and tokenizer.decode(ids[1:-1]) == "user\nwhat shape is it?"
