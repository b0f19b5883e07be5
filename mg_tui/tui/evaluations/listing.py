"""Evaluations in a list: immutable views built from their journals, and which of them belong to a run or a model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.text import one_line
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.state import RunState

if TYPE_CHECKING:
    from mg_tui.runs.store import RunSummary

_RUN_ID: Final = re.compile(r"^\d{8}-\d{6}-(?=[a-z0-9]{4}\b)")  # the time that a run's id begins with


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """One evaluation. Texts are printable; times are Unix seconds.

    Attributes:
        answered, total: answers there are and will be, those of both models; `total` is None before it is planned.
        progress: share of them; None before it is planned.
        eta, elapsed: seconds.
        score: name and value of the first metric, when finished.
        problem: damage of its folder.
    """

    folder: EvaluationFolder
    state: RunState
    answered: int
    total: int | None
    progress: float | None
    eta: float | None
    elapsed: float | None
    changed_at: float | None
    model: str
    compare: str
    dataset: str
    score: tuple[str, float] | None
    status_text: str
    stop_requested: bool = False
    problem: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """The evaluation's id."""
        return self.folder.id

    @property
    def title(self) -> str:
        """What is evaluated, and what it is compared with."""
        return f"{self.model} and {self.compare}" if self.compare else self.model

    def matches(self, query: str) -> bool:
        """Whether every word of `query` is in the model, the dataset, the id or the state."""
        text = f"{self.title} {self.dataset} {self.id} {self.state.label}".casefold()
        return all(word in text for word in query.casefold().split())


def build_item(summary: "RunSummary", now: float) -> EvaluationItem:
    """The list's view of an evaluation at `now` (Unix seconds)."""
    view, state, spec = summary.view, summary.state, summary.spec
    share = None if not view.total_steps else min(view.step / view.total_steps, 1.0)
    scores = view.result.get("metrics")
    first = next(iter(scores.items()), None) if isinstance(scores, dict) else None
    return EvaluationItem(
        folder=EvaluationFolder(summary.folder.path),
        state=state,
        answered=view.step,
        total=view.total_steps,
        progress=1.0 if state is RunState.FINISHED else share,
        eta=view.eta_seconds(now) if state is RunState.RUNNING else None,
        elapsed=summary.elapsed_seconds(now),
        changed_at=view.ended_at or view.started_at or view.created_at,
        model=short_model(spec.get("model")),
        compare=short_model(spec.get("compare")),
        dataset=_short_dataset(spec.get("dataset")),
        score=(str(first[0]), float(first[1])) if first is not None and _is_number(first[1]) else None,
        status_text=_status(summary),
        stop_requested=state is RunState.RUNNING and view.stop_requested,
        problem=None if summary.problem is None else one_line(summary.problem, limit=400),
        spec=spec,
    )


def short_model(model: object) -> str:
    """A model as shown: a folder by its name, a run by the end of its id, which commands take for the id too."""
    if not isinstance(model, str):
        return ""
    if _RUN_ID.match(model):
        return one_line(_RUN_ID.sub("", model), limit=120)
    path = Path(model)
    name = (path.parent.name if path.name == "model" else path.name) if path.is_absolute() else model
    return one_line(_RUN_ID.sub("", name) or model, limit=120)


def _short_dataset(dataset: object) -> str:
    if not isinstance(dataset, str):
        return ""
    return one_line(Path(dataset).name if dataset.startswith("/") else dataset, limit=120)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _status(summary: "RunSummary") -> str:
    view, state = summary.view, summary.state
    match state:
        case RunState.RUNNING:
            text = ": ".join(part for part in (view.phase, view.phase_detail) if part)
        case RunState.FAILED:
            text = str(view.error.get("what") or view.error.get("error") or "")
        case RunState.CRASHED:
            text = "the evaluation process ended without an error; answers are kept"
        case RunState.INTERRUPTED:
            text = "the machine or the container was shut down; answers are kept"
        case RunState.STOPPED:
            text = f"by {view.result.get('by', 'somebody')}; answers are kept"
        case RunState.FINISHED:
            text = ""
        case _:
            text = "the evaluation process has not started yet"
    return one_line(text, limit=300)


@dataclass(frozen=True, slots=True)
class EvaluationSubject:
    """A run or a model whose evaluations are shown.

    Attributes:
        title: for headings; printable.
        model: what a new evaluation evaluates, as `evaluate-vision` takes it; None when there is nothing yet.
        names: names by which an evaluation may have it as its model.
        folders: folders by which it may.
        checkpoints: whether those of its checkpoints belong to it.
        run_folder: the run whose options a new evaluation begins with.
        adapter: whether there is a base model to compare with.
    """

    title: str
    model: str | None
    names: frozenset[str] = frozenset()
    folders: tuple[Path, ...] = ()
    checkpoints: bool = False
    run_folder: Path | None = None
    adapter: bool = False

    def covers(self, item: EvaluationItem) -> bool:
        """Whether an evaluation is of it, or compares with it."""
        return any(self._is_named(value) for value in (item.spec.get("model"), item.spec.get("compare")))

    def _is_named(self, value: object) -> bool:
        if not isinstance(value, str):
            return False
        if value in self.names or (self.checkpoints and value.partition("@")[0] in self.names):
            return True
        path = Path(value)
        if self.checkpoints:
            return any(value.startswith(f"{name}/") for name in self.names) or any(
                path.is_relative_to(folder) for folder in self.folders
            )
        return path in self.folders
