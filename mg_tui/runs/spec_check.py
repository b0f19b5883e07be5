"""Whether a run's spec.json is still the one the run was created with.

The journal has its digest and its values. One changed bit in a number would otherwise train another model than the
first half of the run, without a word.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.text import first_few
from mg_tui.runs.folder import RunFolder, values_digest
from mg_tui.runs.journal import JournalWriter

_MAX_LISTED: Final = 5


def require_unchanged_spec(folder: RunFolder, digest: str | None, then: Mapping[str, Any]) -> None:
    """Compare spec.json with what the journal has of it; `digest` None: the journal has nothing, and anything passes.

    Args:
        folder: the run.
        digest: of the spec's values, from the journal.
        then: these values; empty in journals of older versions.

    Raises:
        UsageError: it was changed, or cannot be read.
    """
    now = folder.spec_values()
    if digest is None or values_digest(now) == digest:
        return
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)] if then else []
    listed = [f"{name} was {then.get(name)!r} and is {now.get(name)!r}" for name in changed]
    raise UsageError(
        "The run's spec was changed after the run was created.",
        where=str(folder.spec_file),
        why=first_few(listed, _MAX_LISTED) if listed else "its values have another digest than the journal",
        hint=f"undo the change, or accept it: model-garden runs resume {folder.id} --accept-spec",
    )


def change_spec(folder: RunFolder, changed: Mapping[str, Any], by: str) -> None:
    """Let a run resume with other values of some options, on the word of `by`. Only with the run's lock held.

    Raises:
        UsageError: spec.json cannot be read.
        EnvironmentProblem: spec.json or the journal cannot be written.
    """
    values = {**folder.spec_values(), **changed}
    try:
        write_atomic(folder.spec_file, (json.dumps(values, indent=2) + "\n").encode())
    except OSError as error:
        raise EnvironmentProblem("Cannot write the spec.", where=str(folder.spec_file), why=error.strerror) from error
    accept_spec(folder, by)


def accept_spec(folder: RunFolder, by: str) -> None:
    """Write into the journal that spec.json counts as it is now. Only with the run's lock held.

    Raises:
        UsageError: spec.json cannot be read.
        EnvironmentProblem: the journal cannot be written.
    """
    values = folder.spec_values()
    with JournalWriter(folder.journal_file) as journal:
        journal.write("spec_accepted", spec_digest=values_digest(values), spec=values, by=by)
