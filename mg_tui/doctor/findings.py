"""What a check of the machine found."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

Level = Literal["ok", "warning", "problem"]
LEVELS: Final[Sequence[Level]] = ("ok", "warning", "problem")
MARKS: Final = {"ok": "✓", "warning": "!", "problem": "✗"}


@dataclass(frozen=True, slots=True)
class MachineFinding:
    """One line of the doctor.

    Attributes:
        check: what was checked, by a name that does not change: `driver`, `gpu-memory`, `disk`.
        subject: what it was checked of, for people: `GPU 0`, `disk of the home folder`.
        level: ok; warning: runs work, slower or with a risk; problem: runs fail, or lose something.
        text: what was found.
        hint: what to do; None where there is nothing to do.
        fix: the name of the fix that `--fix` applies, in `mg_tui.doctor.fixes`; None without one.
        for_runs: whether it matters to a run that is about to start.
    """

    check: str
    subject: str
    level: Level
    text: str
    hint: str | None = None
    fix: str | None = None
    for_runs: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """Subject, text and hint on one line."""
        return f"{self.subject}: {self.text}" + (f"; {self.hint}" if self.hint else "")


def worst_level(findings: Iterable[MachineFinding]) -> Level:
    """The worst level of some findings; ok for none."""
    return LEVELS[max((LEVELS.index(finding.level) for finding in findings), default=0)]


def guarded(check: Callable[[], Iterable[MachineFinding]], subject: str) -> list[MachineFinding]:
    """The findings of a check; one that breaks is a warning of its own, so that the others are still seen."""
    from mg_tui.core.errors import describe_exception

    try:
        return list(check())
    except Exception as error:
        why = describe_exception(error)
        return [MachineFinding("doctor", subject, "warning", f"this check failed: {why}", "please report it")]
