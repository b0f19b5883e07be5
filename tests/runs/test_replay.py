"""A journal played as it was."""

import json
from pathlib import Path

import pytest

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.replay import Replay
from mg_tui.runs.state import RunState


class RecordingViewer:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.time = 50.0

    def clock(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def played(folder: RunFolder) -> RunFolder:
    """A run whose steps took ten seconds each, with a night between the last two, and a clock set back."""
    moments = [0.0, 10.0, 20.0, 19.0, 29.0, 50_000.0]
    lines = [{"v": 1, "n": 1, "t": 1000.0, "kind": "started", "pid": 1, "attempt": 1}]
    lines += [
        {"v": 1, "n": n + 2, "t": 1000.0 + t, "kind": "step", "step": n + 1, "loss": 1.0} for n, t in enumerate(moments)
    ]
    lines.append({"v": 1, "n": 8, "t": 51_000.5, "kind": "finished", "steps": 6})
    folder.journal_file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_paced_as_it_was(played: RunFolder) -> None:
    viewer = RecordingViewer()
    replay = Replay(played, speed=10, longest_pause=3, clock=viewer.clock, sleep=viewer.sleep)
    seen, looks = [], 0
    for events in replay.play(frame=0.5):
        looks += 1
        seen += [(event.n, round(viewer.time - 50.0, 2)) for event in events]
    assert [n for n, _ in seen] == list(range(1, 9)), "every event once, in order"
    moments = dict(seen)
    assert moments[1] <= 0.5 and moments[4] == pytest.approx(2.0, abs=0.5)
    assert moments[5] - moments[4] <= 0.5, "a clock that was set back is no pause"
    assert moments[7] - moments[6] == pytest.approx(3.0, abs=0.55), "a night is cut short"
    assert looks >= 12, "the viewer sees time go by"
    assert (replay.state, replay.view.step) == (RunState.FINISHED, 6)


def test_the_moment_shown_is_the_runs_own(played: RunFolder) -> None:
    viewer = RecordingViewer()
    replay = Replay(played, speed=10, clock=viewer.clock, sleep=viewer.sleep)
    shown = []
    for _ in replay.play():
        assert replay.state in (RunState.CREATED, RunState.RUNNING, RunState.FINISHED)
        shown.append(replay.now())
    assert all(1000.0 <= moment <= 51_001 for moment in shown[1:])


def test_a_journal_without_events(folder: RunFolder, tmp_path: Path) -> None:
    folder.journal_file.write_text("")
    viewer = RecordingViewer()
    assert list(Replay(folder, 1, clock=viewer.clock, sleep=viewer.sleep).play()) == [[], []]
