"""The conformance kit: a plugin's author calls `check_family` in a test.

    from mg_tui.families.testing import check_family

    def test_family() -> None:
        assert check_family(MY_FAMILY, checkpoint=SMALL_CHECKPOINT) == []

The checks depend on what is available. From the family's data alone: that it is well formed. With a checkpoint's folder
but without its weights (`weights=False`, as in `model-garden plugins --check`): images, labels, batches, and that the
parts cover the model. With the weights of a small checkpoint: that every capability declared as Supported works.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mg_tui.core.text import first_line
from mg_tui.families.family import ModelFamily
from mg_tui.families.validation import declaration_problems, offline_problems

if TYPE_CHECKING:
    from mg_tui.families.conformance import ConformanceFixture

__all__ = ["check_family"]


def check_family(family: ModelFamily, checkpoint: Path | None = None, *, weights: bool = True) -> list[str]:
    """All findings about a family, as sentences; an empty list when it conforms.

    Args:
        family: the family.
        checkpoint: folder of a small checkpoint of it; by default the first one bundled with the plugin. Without
            one, only the family's data is checked.
        weights: load the checkpoint's weights, on the CPU.
    """
    problems = [*declaration_problems(family), *offline_problems(family)]
    folder = checkpoint or next((item.path for item in family.checkpoints if item.path and item.path.is_dir()), None)
    if problems or folder is None:
        return problems
    from mg_tui.families import conformance

    findings, bench = _catch(family, "the processor", lambda: conformance.ConformanceFixture(family, folder))
    if bench is None:
        return findings
    tried = conformance.INPUT_CHECKS + (conformance.WEIGHT_CHECKS if weights else ())
    for trial in tried:
        findings += _run_conformance_check(family, trial, bench)
    return findings


def _run_conformance_check(
    family: ModelFamily, trial: "Callable[[ConformanceFixture], Iterator[str]]", bench: "ConformanceFixture"
) -> list[str]:
    name = trial.__name__.replace("_", " ")
    problems, findings = _catch(family, name, lambda: list(trial(bench)))
    return [*problems, *(f"{family.key}: {name}: {finding}" for finding in findings or ())]


def _catch(family: ModelFamily, name: str, action: Callable[[], Any]) -> tuple[list[str], Any]:
    """The action's result; or None, and the exception as a finding: a check must not end the others."""
    try:
        return [], action()
    except Exception as error:
        return [f"{family.key}: {name}: raises {type(error).__name__}: {first_line(error)}"], None
