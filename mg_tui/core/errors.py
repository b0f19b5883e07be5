"""Every error that users see.

    GardenError                 what, where, why, hint; exit code 1
    ├── UsageError              exit 2: invalid usage: a bad option, file or name
    │   ├── SpecError           a field of a TrainingSpec has a bad value
    │   ├── DataError           rows or images that cannot be used for training
    │   └── FamilyError         no model family, or no usable one, for a checkpoint
    ├── EnvironmentProblem      exit 3: no GPU, no space, no network, no permission
    └── RunFailed               exit 1: the run started and failed

Every front end prints a `GardenError` in full and without a traceback. Any other exception is a bug and is printed with
its traceback.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mg_tui.core.program import runnable
from mg_tui.core.text import one_line


class GardenError(Exception):
    """What happened, where, why, and what to try; each at most one sentence."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | None = None, why: str | None = None, hint: str | None = None):
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The message as lines of plain text: `what`, then where, why and hint when known. Commands work here."""
        hint = runnable(self.hint) if self.hint else None
        labelled = (("where", self.where), ("why", self.why), ("try", hint))
        return [self.what, *(f"  {label}: {text}" for label, text in labelled if text)]

    def as_dict(self) -> dict[str, object]:
        """The error as plain values, for `--json`, the journal and the API."""
        return {
            "error": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "why": self.why,
            "hint": self.hint,
        }


class UsageError(GardenError):
    """Invalid usage: a bad option, file or name."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One bad value of one field: the field's name, the value, what would be accepted, and its file or variable."""

    field: str
    value: object
    accepted: str
    where: str | None = None

    def __str__(self) -> str:
        value = "nothing" if self.value is None else repr(self.value)
        return f"{self.field}: got {value}; {self.accepted}"


class SpecError(UsageError):
    """One or more fields of a spec have invalid values.

    If all of them come from one file or variable, that is the error's `where`; otherwise each problem names its own.
    """

    def __init__(self, problems: Sequence[FieldProblem]):
        self.problems = tuple(problems)
        places = {problem.where for problem in self.problems}
        where = places.pop() if len(places) == 1 else None
        if len(self.problems) == 1:
            what = str(self.problems[0])
        else:
            own = [f"  {p}" + (f" ({p.where})" if p.where and not where else "") for p in self.problems]
            what = "\n".join([f"{len(self.problems)} options are invalid:", *own])
        super().__init__(what, where=where)

    def as_dict(self) -> dict[str, object]:
        listed = [{"field": p.field, "value": p.value, "accepted": p.accepted, "where": p.where} for p in self.problems]
        return {**super().as_dict(), "problems": listed}


class DataError(UsageError):
    """A dataset file, a row of it or an image cannot be used for training."""


class FamilyError(UsageError):
    """A checkpoint belongs to no installed model family, or to one that cannot be used."""


class EnvironmentProblem(GardenError):
    """The machine lacks something: a GPU, disk space, a network, a permission."""

    exit_code = 3


class RunFailed(GardenError):
    """The run started and failed."""


def describe_exception(error: BaseException, *, limit: int = 400) -> str:
    """An exception that is not a `GardenError` as one printable line of at most `limit` characters: type and text."""
    return one_line(f"{type(error).__name__}: {error}", limit=limit)


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and everything it was raised from, or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
