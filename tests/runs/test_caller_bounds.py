"""Bounds of runs that callers created: written once, kept by whoever starts the process."""

import json
import os
import time

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs import launch
from mg_tui.runs.caller_bounds import CallerBounds, bounded_environment, hide_own_tokens, read_caller_bounds
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch


@pytest.fixture
def bounded(tmp_path, spec):
    bounds = CallerBounds((str(tmp_path / "roots"),), (str(tmp_path / "home"),))
    return RunFolder.create(tmp_path / "home", spec, bounds=bounds), bounds


def test_bounds_are_read_back_and_a_run_of_ones_own_has_none(bounded, folder) -> None:
    run, bounds = bounded
    assert read_caller_bounds(run.path) == bounds
    assert read_caller_bounds(folder.path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"roots": 1, "private": []}'])
def test_damaged_bounds_keep_a_run_from_starting(bounded, text) -> None:
    run, _bounds = bounded
    (run.path / "bounds.json").write_text(text)
    with pytest.raises(EnvironmentProblem, match="may read"):
        launch.start_worker(run)


def test_the_owners_tokens_are_not_in_the_environment_of_a_callers_run(bounded, folder) -> None:
    environ = {"HF_TOKEN": "hf_x", "WANDB_API_KEY": "w", "MODEL_GARDEN_ALLOW_PRIVATE_URLS": "1", "PATH": "/bin"}
    run, _bounds = bounded
    hidden = bounded_environment(run.path, environ)
    assert not {"hf_x", "w"} & set(hidden.values()) and "MODEL_GARDEN_ALLOW_PRIVATE_URLS" not in hidden
    assert hidden["PATH"] == "/bin" and not os.path.exists(hidden["HF_TOKEN_PATH"])  # noqa: PTH110
    assert bounded_environment(folder.path, environ) == environ


def test_a_server_hides_its_own_tokens(monkeypatch) -> None:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "HF_TOKEN_PATH", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "NETRC"):
        monkeypatch.setenv(name, "secret-of-the-owner")
    hide_own_tokens()
    assert "secret-of-the-owner" not in os.environ.values()


def test_an_id_that_was_chosen_before_is_used_once(tmp_path, spec) -> None:
    first = RunFolder.create(tmp_path, spec, run_id="20261130-120000-abcd")
    assert first.id == "20261130-120000-abcd"
    with pytest.raises(EnvironmentProblem):
        RunFolder.create(tmp_path, spec, run_id="20261130-120000-abcd")
    assert json.loads(first.spec_file.read_text())["base_model"] == "tiny"


def test_the_worker_itself_refuses_data_outside_the_bounds(tmp_path) -> None:
    """Whoever starts it, and whatever was checked before: the rows may have changed since."""
    (tmp_path / "roots").mkdir()
    rows = tmp_path / "outside.jsonl"
    rows.write_text(json.dumps({"text": "?", "response": "x"}) + "\n")
    spec = TrainingSpec(base_model="tiny", dataset=str(rows), device="cpu")
    run = RunFolder.create(tmp_path / "home", spec, bounds=CallerBounds((str(tmp_path / "roots"),)))
    launch.start_worker(run, ["cpu"])
    watch, deadline = RunWatch(run), time.monotonic() + 120
    while not watch.state.ended or watch.view.lifecycle == "created":
        assert time.monotonic() < deadline
        time.sleep(0.1)
        watch.refresh()
    assert watch.state is RunState.FAILED
    assert "outside the allowed folders" in str(watch.view.error)
