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
    tmux.until("No runs yet")
    tmux.keys("3")
    tmux.until("2 needed")
    tmux.keys("r")  # not yet: it says what is needed
    tmux.until("Base model is needed first")
    tmux.keys("Enter")
    tmux.until(r"↺ tiny|tiny ")
    tmux.type("tiny")
    tmux.keys("Enter")
    tmux.until("1 needed")
    tmux.keys("j", "Enter")
    tmux.until(r"shapes\.jsonl")
    tmux.type("shapes.jsonl")
    tmux.keys("Enter")
    tmux.until("6 examples, 8 a step")
    tmux.type("/max steps")  # at once, as a slow link brings them
    tmux.until("Maximum steps")
    tmux.keys("Enter", "Enter")
    tmux.type("two")
    tmux.until("max_steps: got 'two'; give a whole number of optimizer steps at least 1")
    tmux.keys("BSpace", "BSpace", "BSpace")
    tmux.type("2")
    tmux.keys("Enter", "Escape")
    tmux.until("3 changed")
    tmux.until("a all")  # the whole form is back
    tmux.keys("y")
    tmux.until("--max-steps 2")
    tmux.keys("Escape")
    tmux.until("r start")
    tmux.keys("r")
    tmux.until("finished", seconds=120)
    (run,) = RunStore(tmp_path / "home").refresh()
    assert run.state is RunState.FINISHED and run.view.step == 2
    assert run.spec["base_model"] == "tiny" and run.spec["dataset"] == str(tmp_path / "shapes.jsonl")
    tmux.keys("q")
    tmux.until("left with 0")


def test_who_has_read_nothing_trains_on_a_sample(tmp_path, in_tmux) -> None:
    tmux = in_tmux(tmp_path, 80, 24)
    tmux.until("No runs yet")
    tmux.keys("3")
    tmux.until("m sample data")
    tmux.keys("m")
    tmux.until("20 examples, 8 a step")
    tmux.keys("r")
    tmux.until("finished", seconds=120)
    tmux.keys("q")
    tmux.until("left with 0")
