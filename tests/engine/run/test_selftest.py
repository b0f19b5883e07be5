"""Deep checks of the doctor that need stand-ins for what this machine lacks."""

import dataclasses
import sys
from pathlib import Path

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import placement, selftest


@pytest.fixture
def _unsloth_that_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unsloth.py").write_text('raise NotImplementedError("no accelerator")\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)


@pytest.mark.usefixtures("_unsloth_that_raises")
@pytest.mark.parametrize(
    ("cuda", "level", "text"),
    [
        (False, "ok", "installed, not imported: it needs a CUDA device"),
        (True, "problem", "NotImplementedError: no acc"),
    ],
)
def test_unsloth_is_imported_where_it_can_be(
    cuda: bool, level: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = placement.choose_placement(TrainingSpec(base_model="tiny", dataset="none", device="cpu"))
    there = dataclasses.replace(here, device="cuda") if cuda else here
    monkeypatch.setattr(placement, "choose_placement", lambda _spec: there)
    found, said, hint = selftest.check_unsloth()
    assert found == level and text in said
    assert (hint is not None) == cuda
