"""The conformance kit on a tiny random checkpoint of the real classes."""

from pathlib import Path

import pytest
from mg_llava_onevision import LLAVA_ONEVISION

from mg_tui.families.testing import check_family, check_family_live
from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint


def test_the_declaration_is_sound() -> None:
    assert check_family(LLAVA_ONEVISION) == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(LLAVA_ONEVISION, tmp_path_factory.mktemp("llava_onevision"))


def test_the_kit_finds_nothing(checkpoint: Path) -> None:
    assert check_family_live(LLAVA_ONEVISION, checkpoint) == []
