"""The check of a dataset and the check before a run give the same verdict about an image."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from mg_tui.cli.datasets.check import check
from mg_tui.config import Settings
from mg_tui.core.errors import DataError
from mg_tui.core.spec import TrainingSpec
from mg_tui.preflight.checks import run_preflight
from mg_tui.tui.datasets.checker import CheckEnded, DatasetChecker
from mg_tui.tui.datasets.open_dataset import OpenDataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rows = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.effect_noise((224, 224), 90).save(path)
        rows.append({"image": path.name, "question": f"What is {number}?", "answer": f"It is {number}."})
    data = (tmp_path / "2.png").read_bytes()
    (tmp_path / "2.png").write_bytes(data[: len(data) // 2])
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_truncated_image_is_an_error_everywhere(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")
    names = {"text_field": "question", "response_field": "answer"}
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(dataset), **names})
    with pytest.raises(DataError, match=r"truncated|damaged|bad row"):
        run_preflight(spec, settings, cwd=tmp_path)

    flags = ["--text-field", "question", "--response-field", "answer"]
    result = CliRunner().invoke(check, [str(dataset), *flags, "--json"], obj=settings)
    assert result.exit_code == 1 and json.loads(result.stdout)["counts"]["image-damaged"] == 1
    result = CliRunner().invoke(check, [str(dataset), *flags, "--headers"], obj=settings)
    assert result.exit_code == 0

    opened = OpenDataset(str(dataset), names, cwd=tmp_path, cache=settings.cache)
    ended: list[CheckEnded] = []

    class Target:
        def post_message(self, message: object) -> None:
            if isinstance(message, CheckEnded):
                ended.append(message)

    DatasetChecker(Target(), opened, settings, "tiny").run()  # type: ignore[arg-type]
    assert ended[0].report is not None and ended[0].report.blocks_run
    assert ended[0].report.counts["image-damaged"] == 1
