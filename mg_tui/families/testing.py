"""The conformance kit: a plugin's author calls these functions in a test.

    from mg_tui.families.testing import check_family, check_family_live

    def test_family() -> None:
        assert check_family(MY_FAMILY) == []
        assert check_family_live(MY_FAMILY) == []

The checks depend on what is available. From the family's data alone, without torch: that it is well formed. With a
checkpoint's folder but without its weights (`weights=False`, as in `model-garden plugins --check`): images, labels,
batches, and that the parts cover the model. With the weights of a small checkpoint: that every capability that the
family has works. `check_family_live` makes a tiny random checkpoint from the family's recipe (`ModelFamily.tiny`) if
none is given, and adds the checks that need the engine: that no layout of a step changes its loss or a gradient.
"""

import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.text import first_line
from mg_tui.families.family import ModelFamily
from mg_tui.families.validation import declaration_problems, offline_problems

if TYPE_CHECKING:
    from mg_tui.families.conformance import ConformanceFixture

__all__ = ["check_family", "check_family_live", "live_folder", "live_results"]

_LIVE_CHECKS: Final = "mg_tui.engine.conformance.checks"


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


def check_family_live(family: ModelFamily, checkpoint: Path | None = None, *, names: tuple[str, ...] = ()) -> list[str]:
    """All findings with weights: those of `check_family`, and of the checks that need the engine.

    Args:
        family: the family.
        checkpoint: folder of a small checkpoint; by default a bundled one, else a random one of the family's recipe.
        names: of checks of the engine, to run no others.
    """
    with tempfile.TemporaryDirectory() as work:
        folder = live_folder(family, Path(work), checkpoint)
        findings = [] if names else check_family(family, folder)
        results = live_results(family, folder, names=names)
        return findings + [
            f"{family.key}: {result.name}: {finding}"
            for result in results
            if result.status == "failed"
            for finding in result.findings
        ]


def live_results(family: ModelFamily, checkpoint: Path | None = None, *, names: tuple[str, ...] = ()) -> "list[Any]":
    """The checks that need the engine, each with its status and findings, or why it does not apply.

    Arguments as of `check_family_live`.
    """
    # The kit stands beside the tests, above every layer: it is the one thing here that runs the engine, which is looked
    # up by name so that no layer depends on it.
    checks = import_module(_LIVE_CHECKS)
    with tempfile.TemporaryDirectory() as work:
        images = Path(work) / "images"
        images.mkdir()
        results: list[Any] = checks.run_live_checks(family, live_folder(family, Path(work), checkpoint), images, names)
        return results


def live_folder(family: ModelFamily, work: Path, checkpoint: Path | None = None) -> Path:
    """A small checkpoint: the given one, a bundled one, or one made from the family's recipe in the folder `work`."""
    folder = checkpoint or next((item.path for item in family.checkpoints if item.path and item.path.is_dir()), None)
    if folder is None:
        from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint

        folder = make_tiny_checkpoint(family, work / "checkpoint")
    return folder


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
