"""`generate-vision last`: the newest run with a result, not one that never ran."""

from pathlib import Path

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.inference.locator import _last_run_with_result, locate_model
from mg_tui.families.registry import load_registry
from mg_tui.runs.folder import RunFolder


def test_last_is_the_newest_run_with_a_result(tmp_path: Path) -> None:
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "rows.jsonl"})
    made = []
    for name in ("20260101-000000-aaaa", "20260102-000000-bbbb"):
        folder = RunFolder.create(tmp_path, spec)
        made.append(RunFolder(folder.path.rename(folder.path.with_name(name))))
    assert _last_run_with_result(tmp_path) is None
    made[0].model_dir.mkdir()
    (made[0].model_dir / "adapter_config.json").write_text("{}")
    assert _last_run_with_result(tmp_path) == made[0]
    with pytest.raises(Exception) as caught:  # the files are not whole, but it is the right folder
        locate_model("last", home=tmp_path, registry=load_registry())
    assert "aaaa" in str(caught.value) and "bbbb" not in str(caught.value)
