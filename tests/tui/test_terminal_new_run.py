"""By keys alone in a real terminal (tmux): the form is filled in, a run of `tiny` is started, and it finishes."""

import shutil

import pytest

from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.runs.state import RunState
from mg_tui.runs.store import RunStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux"),
]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_the_form_is_filled_in_and_the_run_goes(tmp_path, in_tmux, width, height) -> None:
    create_vision_dataset(tmp_path / "shapes.jsonl", 6)
    tmux = in_tmux(tmp_path, width, height)
    tmux.wait_for("No runs yet")
    tmux.send_keys("3")
    tmux.wait_for("2 needed")
    tmux.send_keys("r")  # not yet: it says what is needed
    tmux.wait_for("Base model is required")
    tmux.send_keys("Enter")
    tmux.wait_for(r"↺ tiny|tiny ")
    tmux.type("tiny")
    tmux.send_keys("Enter")
    tmux.wait_for("1 needed")
    tmux.send_keys("j", "Enter")
    tmux.wait_for(r"shapes\.jsonl")
    tmux.type("shapes.jsonl")
    tmux.send_keys("Enter")
    tmux.wait_for("6 examples, 8/step")
    tmux.type("/max steps")  # at once, as a slow link brings them
    tmux.wait_for("Maximum steps")
    tmux.send_keys("Enter", "Enter")
    tmux.type("two")
    tmux.wait_for("max_steps: got 'two'; give a whole number of optimizer steps at least 1")
    tmux.send_keys("BSpace", "BSpace", "BSpace")
    tmux.type("2")
    tmux.send_keys("Enter", "Escape")
    tmux.wait_for("3 changed")
    tmux.wait_for("a all")  # the whole form is back
    tmux.send_keys("y")
    tmux.wait_for("--max-steps 2")
    tmux.send_keys("Escape")
    tmux.wait_for("r start")
    tmux.send_keys("r")
    tmux.wait_for("finished", seconds=120)
    (run,) = RunStore(tmp_path / "home").refresh()
    assert run.state is RunState.FINISHED and run.view.step == 2
    assert run.spec["base_model"] == "tiny" and run.spec["dataset"] == str(tmp_path / "shapes.jsonl")
    tmux.send_keys("q")
    tmux.wait_for("left with 0")


def test_who_has_read_nothing_trains_on_a_sample(tmp_path, in_tmux) -> None:
    tmux = in_tmux(tmp_path, 80, 24)
    tmux.wait_for("No runs yet")
    tmux.send_keys("3")
    tmux.wait_for("m sample data")
    tmux.send_keys("m")
    tmux.wait_for("20 examples, 8/step")
    tmux.send_keys("r")
    tmux.wait_for("finished", seconds=120)
    tmux.send_keys("q")
    tmux.wait_for("left with 0")
