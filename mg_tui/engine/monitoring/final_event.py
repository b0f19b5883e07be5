"""The event that ends a run or an evaluation: `finished`, `stopped` or `failed`."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.runs.journal import JournalWriter

_RETRY_SECONDS, _RETRIES = 2.0, 60  # seconds between attempts, and their number
_MAX_JOURNAL_PROBLEMS: Final = 100  # of a dataset whose every row is bad, in the journal; the message counts them all


def write_final_event(journal: JournalWriter, kind: str, **data: Any) -> None:
    """Write the final event; on a full disk, retry for two minutes.

    Raises:
        EnvironmentProblem: there was no room in all that time.
    """
    for wait in (*[_RETRY_SECONDS] * _RETRIES, None):
        try:
            journal.write(kind, **data)
            return
        except EnvironmentProblem as error:
            if wait is None:
                raise
            sys.stderr.write(f"{error.what} {error.why}: {kind} is written later\n")
            time.sleep(wait)


def write_failure(journal: JournalWriter, record: Mapping[str, Any], exit_code: int, **facts: Any) -> int:
    """Write `failed` with the record of an error, and its message to standard error; returns the exit code.

    Args:
        record: as `GardenError.as_dict`; only the first hundred of its problems are journalled.
        facts: what else is known; replaces entries of the record.
    """
    sys.stderr.write(f"{record['what']}\n")
    problems = record.get("problems")
    if isinstance(problems, list) and len(problems) > _MAX_JOURNAL_PROBLEMS:
        record = {**record, "problems": problems[:_MAX_JOURNAL_PROBLEMS], "problem_count": len(problems)}
    write_final_event(journal, "failed", **{**record, **facts}, exit_code=exit_code)
    return exit_code
