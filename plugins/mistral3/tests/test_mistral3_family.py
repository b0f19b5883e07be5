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


def test_limits_that_would_have_no_effect_are_refused_with_the_own_setting(checkpoint: Path) -> None:
    fields = {"base_model": str(checkpoint), "dataset": "none.jsonl", "output_dir": "none", "max_pixels": 10_000}
    with pytest.raises(FamilyError, match="max_pixels would have no effect") as caught:
        load_run_context(TrainingSpec.parse(fields))
    assert "`size`" in str(caught.value.hint)
