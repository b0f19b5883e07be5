"""The conformance kit on a tiny random checkpoint of the real classes."""

from pathlib import Path

import pytest
from mg_mistral3 import MISTRAL3

from mg_tui.core.errors import FamilyError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run.setup import load_run_context
from mg_tui.families.testing import check_family, check_family_live
from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint


def test_the_declaration_is_sound() -> None:
    assert check_family(MISTRAL3) == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(MISTRAL3, tmp_path_factory.mktemp("mistral3"))


def test_the_kit_finds_nothing(checkpoint: Path) -> None:
    assert check_family_live(MISTRAL3, checkpoint) == []


def test_limits_without_a_setting_are_refused_with_the_own_one_named(checkpoint: Path) -> None:
    fields = {"base_model": str(checkpoint), "dataset": "none.jsonl", "output_dir": "none"}
    with pytest.raises(FamilyError, match="min_pixels would have no effect") as caught:
        load_run_context(TrainingSpec.parse({**fields, "min_pixels": 10_000}))
    assert "`size`" in str(caught.value.hint)
    settings = load_run_context(TrainingSpec.parse({**fields, "max_pixels": 10_000})).processor.image_processor
    assert settings.size["longest_edge"] == 84  # three merged patches of 28 pixels
