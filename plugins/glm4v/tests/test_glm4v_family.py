"""The conformance kit on tiny random checkpoints of the real classes."""

from dataclasses import replace
from pathlib import Path

import pytest
from mg_glm4v import GLM4V

from mg_tui.families.testing import check_family, check_family_live
from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint


def test_the_declaration_is_sound() -> None:
    assert check_family(GLM4V) == []


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_checkpoint(GLM4V, tmp_path_factory.mktemp("glm4v"))


def test_the_kit_finds_nothing(checkpoint: Path) -> None:
    assert check_family_live(GLM4V, checkpoint) == []


@pytest.mark.slow
@pytest.mark.parametrize("model_type", GLM4V.model_types[1:])
def test_the_kit_finds_nothing_with_the_other_classes(model_type: str) -> None:
    assert check_family_live(replace(GLM4V, model_types=(model_type,))) == []
