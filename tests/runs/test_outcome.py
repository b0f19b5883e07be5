"""What is said of a run that did not end well: what, where, on which rows and images, and what to try."""

from typing import Any

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.current_step import CurrentStepWriter
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.outcome import Outcome, describe_outcome
from mg_tui.runs.store import summarize_run

NAN_FAILURE = {
    "error": "StepFailed",
    "cause": "not finite",
    "what": "the loss became nan at step 8",
    "where": "step 8, rows 3, 4",
    "why": "usually the learning rate",
    "hint": "lower it",
    "step": 8,
    "rows": [3, 4],
    "images": ["cat.png"],
}


def outcome_of(folder: RunFolder, *said: tuple[str, dict[str, Any]], steps: int = 7) -> Outcome:
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, attempt=1)
        for step in range(1, steps + 1):
            journal.write("step", step=step, loss=1.0, host_memory=3 << 30)
        for kind, data in said:
            journal.write(kind, **data)
    run = summarize_run(folder)
    found = describe_outcome(folder, run.view, run.state)
    assert found is not None
    return found


def test_a_loss_that_is_no_number(folder: RunFolder) -> None:
    folder.log_file.write_text("step 7/9: loss 1\nthe loss became nan at step 8\n")
    saved = ("checkpoint", {"step": 5, "path": "checkpoints/step-000005", "bytes": 1, "eval_loss": 1.0, "best": True})
    later = ("checkpoint", {"step": 6, "path": "checkpoints/step-000006", "bytes": 1})
    found = outcome_of(folder, saved, later, ("failed", NAN_FAILURE))
    assert found.what == "failed: the loss became nan at step 8", "the step is said once"
    assert dict(found.facts) == {
        "rows": "3, 4",
        "images": "cat.png",
        "why": "usually the learning rate",
        "checkpoint": "latest: step 6; the best is step 5",
    }
    assert found.log == ("step 7/9: loss 1",), "what was said is not said again"
    assert found.next == ("lower it", f"model-garden runs rerun {folder.id} --learning-rate 7e-06")


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"cause": "no memory"}, "rerun {} --max-pixels 501760"),
        ({"cause": "nothing to learn"}, "rerun {}"),
        ({"cause": None}, "rerun {}"),
    ],
)
def test_what_to_try_fits_the_cause(folder: RunFolder, changes: dict[str, Any], command: str) -> None:
    assert (
        outcome_of(folder, ("failed", {**NAN_FAILURE, **changes})).next[-1]
        == f"model-garden runs {command.format(folder.id)}"
    )


def test_an_error_of_another_kind_is_gone_on_with(folder: RunFolder) -> None:
    saved = ("checkpoint", {"step": 5, "path": "checkpoints/step-000005", "bytes": 1})
    found = outcome_of(folder, saved, ("failed", {"what": "no room", "step": 7, "where": "/disk", "exit_code": 3}))
    assert found.what == "failed at step 7: no room"
    assert ("where", "/disk") in found.facts
    assert found.next == (f"model-garden runs resume {folder.id}",)


def test_before_the_first_step(folder: RunFolder) -> None:
    found = outcome_of(folder, ("failed", {"what": "row 3 is bad", "step": 0}), steps=0)
    assert found.what == "failed before the first step: row 3 is bad"
    assert found.next == (f"model-garden runs rerun {folder.id}",)


def test_many_rows_are_counted(folder: RunFolder) -> None:
    found = outcome_of(
        folder, ("failed", {**NAN_FAILURE, "rows": list(range(1, 41)), "images": [f"{n}.png" for n in range(9)]})
    )
    facts = dict(found.facts)
    assert facts["rows"].endswith("11, 12 and 28 more")
    assert facts["images"] == "0.png, 1.png, 2.png, 3.png and 5 more"


def test_a_crash_in_the_middle_of_a_step_names_its_rows(folder: RunFolder) -> None:
    CurrentStepWriter(folder).write(8, [14, 3], ["dog.png"])
    found = outcome_of(folder)
    assert found.what == "crashed during step 8"
    facts = dict(found.facts)
    assert (facts["rows"], facts["images"], facts["checkpoint"]) == ("14, 3", "dog.png", "none")
    assert facts["memory"].startswith("3.0 GiB")
    assert found.next[0] == f"model-garden runs resume {folder.id} --from-start"


def test_a_crash_elsewhere_blames_no_row(folder: RunFolder) -> None:
    CurrentStepWriter(folder).write(7, [14], ["dog.png"])
    assert outcome_of(folder).what == "crashed after step 7"
    (folder.checkpoints_dir / ".writing-step-000007").mkdir()
    again = outcome_of(folder, steps=0)
    assert again.what == "crashed while writing a checkpoint after step 7"
    assert "rows" not in dict(again.facts)


def test_a_crash_while_loading(folder: RunFolder) -> None:
    found = outcome_of(folder, ("phase", {"name": "loading model"}), steps=0)
    assert found.what == "crashed before the first step, while loading model"


def test_an_interruption_says_what_ended(folder: RunFolder) -> None:
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, lifetime={"boot": "another", "container": "another"})
        journal.write("step", step=3)
    run = summarize_run(folder)
    found = describe_outcome(folder, run.view, run.state)
    assert found is not None and found.what == "interrupted at step 3"
    assert "restarted" in dict(found.facts)["why"]


def test_nothing_is_said_of_what_goes_on_or_ended_well(folder: RunFolder, spec: TrainingSpec) -> None:
    run = summarize_run(folder)
    assert describe_outcome(folder, run.view, run.state) is None
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1)
        journal.write("stopped", step=1, checkpoint=None, by="me")
    run = summarize_run(folder)
    assert describe_outcome(folder, run.view, run.state) is None
