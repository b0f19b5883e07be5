"""The conformance kit on tiny random checkpoints of the real classes."""

from dataclasses import replace
from pathlib import Path

import pytest
from mg_smolvlm import SMOLVLM

from mg_tui.families.testing import check_family, check_family_live
from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint


def test_the_declaration_is_sound() -> None:
    assert check_family(SMOLVLM) == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(SMOLVLM, tmp_path_factory.mktemp("smolvlm"))


def test_the_kit_finds_nothing(checkpoint: Path) -> None:
    assert check_family_live(SMOLVLM, checkpoint) == []


@pytest.mark.slow
def test_the_kit_finds_nothing_with_the_classes_of_idefics3() -> None:
    assert SMOLVLM.tiny is not None
    tiny = replace(
        SMOLVLM.tiny,
        processor=("Idefics3Processor", SMOLVLM.tiny.processor[1]),
        image_processor=("Idefics3ImageProcessor", SMOLVLM.tiny.image_processor[1]),
        others={},
    )
    assert check_family_live(replace(SMOLVLM, model_types=("idefics3",), tiny=tiny)) == []
