"""`model-garden plugins`: table, JSON, check."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.plugins import plugins
from mg_tui.config import Settings
from mg_tui.families import Checkpoint, ModelFamily, Parts, Supported, Unsupported
from mg_tui.families import registry as registry_module
from mg_tui.families.registry import PluginStatus, Registry

PARTS = Parts(language=("model",), projector=(), vision=("visual",))


def make_family(**changes: object) -> ModelFamily:
    fields = {
        "key": "sound",
        "title": "Sound",
        "model_types": ("sound_type",),
        "parts": PARTS,
        "checkpoints": (Checkpoint("Owner/Sound-1B", "Sound 1B", 1_000_000_000, "MIT"),),
        "capabilities": {"lora_language": Supported(), "int8": Unsupported("its layers are too small")},
    }
    return ModelFamily(**{**fields, **changes})  # type: ignore[arg-type]


def ok_status(*families: str) -> PluginStatus:
    return PluginStatus("sound", "garden-sound", "1.2", "garden_sound", "/x/garden_sound.py", "ok", None, families)


BROKEN = PluginStatus(
    "wreck", "wreck", "0", "wreck", "/x/wreck.py", "broken", "ImportError: no \x1b[31mluck (/x/wreck.py:3)"
)
DISABLED = PluginStatus("off", None, None, "off", None, "disabled", "by MODEL_GARDEN_DISABLE_PLUGINS")


def invoke(monkeypatch: pytest.MonkeyPatch, registry: Registry, *arguments: str, columns: int = 80) -> Result:
    monkeypatch.setattr(registry_module, "load_registry", lambda: registry)
    monkeypatch.setenv("COLUMNS", str(columns))
    return CliRunner().invoke(plugins, arguments, obj=Settings(Path("/h"), Path("/c")), catch_exceptions=False)


@pytest.mark.parametrize("columns", [80, 200])
def test_the_table_has_every_plugin_and_why_one_is_not_used(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    result = invoke(monkeypatch, Registry((make_family(),), (ok_status("sound"), BROKEN, DISABLED)), columns=columns)
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert all(word in lines["sound"] for word in ("1.2", "Sound", "sound_type", "✓ ok"))
    assert "✗ broken" in result.stdout
    assert "– disabled" in result.stdout
    assert "[31mluck (/x/wreck.py:3)" in result.stdout  # the reason is whole, and on one line
    assert "\x1b[31m" not in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= max(columns, 80)


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, Registry((make_family(),), (ok_status("sound"), BROKEN)), "--json")
    sound, wreck = json.loads(result.stdout)
    assert (sound["name"], sound["version"], sound["status"], sound["problem"]) == ("sound", "1.2", "ok", None)
    (described,) = sound["families"]
    assert described["model_types"] == ["sound_type"]
    assert described["checkpoints"] == [
        {"name": "Owner/Sound-1B", "title": "Sound 1B", "parameters": 1_000_000_000, "note": "MIT"}
    ]
    assert described["capabilities"]["lora_language"] == {"level": "supported"}
    assert described["capabilities"]["int8"] == {"level": "unsupported", "why": "its layers are too small"}
    assert described["capabilities"]["nf4"]["level"] == "experimental"
    assert "findings" not in described
    assert (wreck["status"], wreck["families"]) == ("broken", [])
    assert "wreck.py:3" in wreck["problem"]


def test_check_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, Registry((make_family(),), (ok_status("sound"), DISABLED)), "--check", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)[0]["families"][0]["findings"] == []
    assert "checking Sound" in result.stderr


def test_check_fails_for_a_broken_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke(monkeypatch, Registry((make_family(),), (ok_status("sound"), BROKEN)), "--check").exit_code == 1


def test_check_fails_for_a_failing_conformance_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = Checkpoint("small", "Small", 10, path=tmp_path / "gone")
    registry = Registry((make_family(checkpoints=(gone,), image_tokens=lambda *_: 0),), (ok_status("sound"),))
    result = invoke(monkeypatch, registry, "--check")
    assert result.exit_code == 1
    assert "✗ failed" in result.stdout
    assert "checkpoint small: not a model folder" in result.stdout
    assert "image_tokens(224, 224) is 0" in result.stdout


def test_unknown_disabled_plugin_prints_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, Registry((), (), unknown_disabled=("typo",)))
    assert "names 'typo'" in result.stderr
    assert "No plugins installed" in result.stderr
    assert result.stdout == ""


def test_plugins_that_add_metrics_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from mg_tui.metrics import registry as metrics_module
    from mg_tui.metrics import row_metric

    one = row_metric("contains", lambda answer, references: 1.0)
    facts = {"distribution": "garden-contains", "version": "1.2", "module": "garden_contains", "file": None}
    found = (
        metrics_module.MetricPlugin(name="contains", **facts, status="ok", values=(one,)),  # type: ignore[arg-type]
        metrics_module.MetricPlugin(name="bad", **facts, status="broken", problem="no\x1b[31m luck"),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(metrics_module, "load_metrics", lambda: metrics_module.MetricRegistry((), found))
    result = invoke(monkeypatch, Registry((), ()))
    assert "✓ contains 1.2 metrics contains ok" in result.output
    assert "✗ bad 1.2 metrics none broken: no�[31m luck" in result.output
    records = json.loads(invoke(monkeypatch, Registry((), ()), "--json").stdout)
    assert [(record["name"], record["status"]) for record in records] == [("contains", "ok"), ("bad", "broken")]
    assert records[0]["metrics"] == [{"name": "contains", "version": "1", "title": "contains"}]
    assert invoke(monkeypatch, Registry((), ()), "--check").exit_code == 1


def test_a_disabled_plugin_of_metrics_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {registry_module.DISABLE_ENV: "contains,typo"}
    registry = registry_module.make_registry([], environ, other_plugins=["contains"])
    assert registry.unknown_disabled == ("typo",)
