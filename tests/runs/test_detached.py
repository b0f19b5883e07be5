"""Processes that outlive their starter, and how they are scheduled."""

import os
import sys
import threading
from pathlib import Path

from mg_tui.runs.detached import give_way, start_detached


def test_what_a_background_process_starts_is_scheduled_as_usual(tmp_path: Path) -> None:
    said = tmp_path / "said"
    policies: list[int] = []

    def work() -> None:  # a thread of its own: the tests are not to give way from now on
        give_way()
        policies.append(os.sched_getscheduler(0))
        with said.open("wb") as log:
            command = (sys.executable, "-c", "import os; print(os.sched_getscheduler(0))")
            assert start_detached(command, log=log, cwd=tmp_path).wait(60) == 0
        policies.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert policies == [os.SCHED_BATCH, os.SCHED_BATCH]
    assert int(said.read_text()) == os.SCHED_OTHER == os.sched_getscheduler(0)
