"""The sample dataset trains as it stands, and never harms what is already there."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli.datasets.create import create_vision_dataset as command
from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.data.dataset import load_dataset, require_no_bad_rows
from mg_tui.data.synthetic import drawings
from mg_tui.data.synthetic.vision_dataset import create_vision_dataset


def test_every_row_can_be_trained_on(tmp_path: Path) -> None:
    created = create_vision_dataset(tmp_path / "data" / "s.jsonl", 12)
    assert created.images == tmp_path / "data" / "s_images"
    assert sorted(path.name for path in created.dataset.parent.iterdir()) == ["s.jsonl", "s_images"]
    dataset = load_dataset(created.dataset)
    require_no_bad_rows(dataset)
    assert len(dataset.examples) == created.examples == 12
    assert dataset.image_locations == {"dataset folder": 12}
    assert len({example.response for example in dataset.examples}) > 3
    assert {(info.width, info.height) for info in dataset.image_infos.values()} == {(224, 224)}
    first = json.loads(created.dataset.read_text().splitlines()[0])
    assert list(first) == ["text", "image", "response"]
    again = create_vision_dataset(tmp_path / "again" / "s.jsonl", 12)
    assert again.dataset.read_bytes() == created.dataset.read_bytes()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "s.jsonl"
    output.write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        create_vision_dataset(output, 2)
    assert output.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [output]
    create_vision_dataset(output, 3, force=True)
    create_vision_dataset(output, 2, force=True)
    assert len(list((tmp_path / "s_images").iterdir())) == 2
    (tmp_path / "s_images" / "holiday.jpg").write_text("mine")
    with pytest.raises(UsageError, match="contains other files"):
        create_vision_dataset(output, 2, force=True)
    assert (tmp_path / "s_images" / "holiday.jpg").read_text() == "mine"
    output.unlink()
    with pytest.raises(UsageError, match="image folder already exists"):
        create_vision_dataset(output, 2)
    with pytest.raises(UsageError, match="is a folder"):
        create_vision_dataset(tmp_path, 2)
    with pytest.raises(UsageError, match="cannot create"):
        create_vision_dataset(output, 0)


def test_nothing_is_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawings.draw_image
    drawn = 0

    def fail_on_the_third(*args: object, **options: object) -> object:
        nonlocal drawn
        drawn += 1
        if drawn == 3:
            raise OSError(28, "No space left on device")
        return whole(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(drawings, "draw_image", fail_on_the_third)
    with pytest.raises(EnvironmentProblem, match="cannot write the sample") as caught:
        create_vision_dataset(tmp_path / "s.jsonl", 5)
    assert caught.value.why == "No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_leaves_the_old_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "s.jsonl"
    create_vision_dataset(output, 3)
    before = output.read_bytes()

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(EnvironmentProblem):
        create_vision_dataset(output, 1, force=True)
    assert output.read_bytes() == before
    assert len(list((tmp_path / "s_images").iterdir())) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command, ["--output", "./my data/s.jsonl", "--num-examples", "3"])
    assert done.exit_code == 0
    assert done.stdout == ""
    assert "Wrote 3 examples" in done.stderr
    assert "--dataset 'my data/s.jsonl'" in done.stderr
    assert len(done.stderr.splitlines()) == 2
    recorded = CliRunner().invoke(command, ["--output", "b.jsonl", "--json"])
    assert json.loads(recorded.stdout) == {
        "dataset": str(tmp_path / "b.jsonl"),
        "images": str(tmp_path / "b_images"),
        "examples": 10,
    }
    assert CliRunner().invoke(command, ["--output", "c.jsonl", "--num-examples", "-1"]).exit_code == 2
