"""`--preset`: built-in and user presets; flags override them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mg_tui.cli import train
from mg_tui.cli.estimate import estimate
from mg_tui.config import Settings
from mg_tui.core.errors import SpecError, UsageError
from mg_tui.core.presets import BUILT_IN_PRESETS, find_preset
from mg_tui.core.spec import TrainingSpec


def _estimate(tmp_path: Path, *words: str) -> dict:
    settings = Settings(
        home=tmp_path, cache=tmp_path, train={"lora_r": 8}, presets={"mine": {"lora_r": 64, "quantization": "none"}}
    )
    done = CliRunner().invoke(
        estimate, ["--base-model", "tiny", "--json", *words], obj=settings, catch_exceptions=False
    )
    return json.loads(done.stdout)


def test_flags_win_over_a_preset_and_a_preset_over_garden_toml(tmp_path: Path) -> None:
    assert _estimate(tmp_path)["setup"]["rank"] == 8
    assert _estimate(tmp_path, "--preset", "mine")["setup"]["rank"] == 64
    assert _estimate(tmp_path, "--preset", "mine", "--lora-r", "4")["setup"]["rank"] == 4
    assert _estimate(tmp_path, "--preset", "mine")["setup"]["quantization"] == "none"
    full = _estimate(tmp_path, "--preset", "Full fine-tuning")["setup"]
    assert set(full["methods"].values()) == {"full"} and full["quantization"] == "none"


def test_a_run_is_started_with_the_flags_over_a_preset_over_garden_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[TrainingSpec] = []

    def start_and_follow(spec: TrainingSpec, _settings: Settings, **_options: object) -> int:
        started.append(spec)
        return 0

    monkeypatch.setattr(train, "start_and_follow", start_and_follow)
    settings = Settings(home=tmp_path, cache=tmp_path, train={"lora_r": 8, "seed": 5}, presets={"mine": {"lora_r": 64}})
    required = ["--base-model", "tiny", "--dataset", "d.jsonl"]
    for words in ([], ["--preset", "mine"], ["--preset", "mine", "--lora-r", "4"], ["--lora-r", "4", "--seed", "0"]):
        done = CliRunner().invoke(train.train_vision, [*required, *words], obj=settings, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert [(spec.lora_r, spec.seed) for spec in started] == [(8, 5), (64, 5), (4, 5), (4, 0)]


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ([], "/etc/garden.toml"),
        (["--preset", "bad"], "[presets.bad]"),
        (["--preset", "bad", "--lora-r", "0"], None),
    ],
)
def test_invalid_values_name_their_source(tmp_path: Path, words: list[str], where: str | None) -> None:
    settings = Settings(
        home=tmp_path,
        cache=tmp_path,
        train={"lora_r": 0},
        presets={"bad": {"lora_r": -1}},
        origins={"train.lora_r": "/etc/garden.toml"},
    )
    with pytest.raises(SpecError, match="lora_r") as caught:
        CliRunner().invoke(estimate, ["--base-model", "tiny", *words], obj=settings, catch_exceptions=False)
    assert caught.value.where == where


def test_unknown_preset_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown preset 'qlora'") as caught:
        find_preset("qlora", {"mine": {}})
    hint = caught.value.hint or ""
    assert all(f'"{name}"' in hint for name in (*BUILT_IN_PRESETS, "mine"))
    assert find_preset(next(iter(BUILT_IN_PRESETS)), {next(iter(BUILT_IN_PRESETS)): {"lora_r": 1}}) == {"lora_r": 1}
