"""`model-garden demo --family`: which model it starts from, and how that is trained."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli import demo_models
from mg_tui.cli.demo import demo_spec
from mg_tui.cli.demo_models import DemoModel, choose_demo_model
from mg_tui.cli.main import cli
from mg_tui.core.errors import UsageError
from mg_tui.families import ModelFamily, Parts
from mg_tui.families.registry import Registry


def test_the_bundled_model_is_the_one_without_a_family(tmp_path: Path) -> None:
    assert choose_demo_model(None, tmp_path) == choose_demo_model("qwen2_5_vl", tmp_path) == DemoModel("tiny")


def test_a_random_model_is_made_once_and_is_one_of_the_family(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = choose_demo_model("gemma3", tmp_path)
    assert model.random and not model.takes_areas
    folder = Path(model.base_model)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "gemma3"
    assert folder.parent == tmp_path / "demo" / "models" and [*folder.parent.iterdir()] == [folder]
    assert "it knows nothing before it is trained" in capsys.readouterr().err
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert choose_demo_model("gemma3", tmp_path) == model
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    said = capsys.readouterr().err
    assert "making" not in said and "parameters" in said


def test_all_of_a_random_model_is_trained() -> None:
    spec = demo_spec(Path("/rows.jsonl"), DemoModel("/m", random=True, takes_areas=False))
    assert {spec.train_language, spec.train_projector, spec.train_vision} == {"full"}
    assert spec.max_pixels == type(spec).model_fields["max_pixels"].default
    usual = demo_spec(Path("/rows.jsonl"), DemoModel("tiny"))
    assert (usual.train_language, usual.train_vision, usual.max_pixels) == ("lora", "none", 12_544)


def test_families_that_cannot_be_tried_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="there is no model family 'gemma33'") as caught:
        choose_demo_model("gemma33", tmp_path)
    assert caught.value.hint == "did you mean gemma3?"
    bare = ModelFamily("bare", "Bare", ("bare",), Parts(("model",), (), ("tower",)))
    monkeypatch.setattr("mg_tui.families.registry.load_registry", lambda: Registry((bare,), ()))
    with pytest.raises(UsageError, match="no small model of Bare"):
        choose_demo_model("bare", tmp_path)
    with pytest.raises(UsageError) as caught:
        choose_demo_model("x\x1b[31m", tmp_path)
    assert "\x1b" not in str(caught.value) and "installed: bare" in str(caught.value.hint)
    assert not (tmp_path / "demo").exists()


def test_a_random_model_has_nothing_to_forget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_models, "_random_checkpoint", lambda *_arguments: tmp_path / "model")
    command = ["--home", str(tmp_path), "demo", "--family", "gemma3", "--forgetting", "--no-dashboard"]
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, UsageError) and "--forgetting" in done.exception.what
