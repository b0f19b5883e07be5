"""The draft of an evaluation of one model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.evaluation_spec import BASE, EvaluationSpec
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.tui.evaluations.listing import EvaluationSubject, build_item
from mg_tui.tui.new.draft import SpecDraft

if TYPE_CHECKING:
    from mg_tui.core.options import Option

# Fields of the last evaluation of a model that the next one begins with.
_CARRIED_OVER: Final = ("dataset", "split", "limit", "metrics", "group_by", "max_new_tokens")


class EvaluationDraft(SpecDraft[EvaluationSpec]):
    """Values over those of the model's last evaluation, or of its run, over the defaults of the spec.

    Attributes:
        model: what is evaluated.
    """

    spec_class = EvaluationSpec

    def __init__(self, model: str, values: Mapping[str, Any] | None = None, *, cwd: Path | None = None):
        self.model = model
        super().__init__({}, cwd=cwd)
        self.options["metrics"] = _with_names(self.options["metrics"])
        self.set_all(values or {})

    @property
    def command_words(self) -> str:  # type: ignore[override]
        import shlex

        return f"model-garden evaluate-vision {shlex.quote(self.model)}"

    def parse(self, values: Mapping[str, Any]) -> EvaluationSpec:
        return EvaluationSpec.parse({**values, "model": self.model})


def _with_names(metrics: "Option") -> "Option":
    """The option with the names of the metrics that are installed."""
    from mg_tui.metrics.registry import load_metrics

    return replace(metrics, choices=tuple(metric.name for metric in load_metrics().metrics))


def first_values(subject: EvaluationSubject, home: Path) -> dict[str, Any]:
    """What the form of a new evaluation begins with. Reads files; for a thread."""
    from mg_tui.runs.store import list_runs

    values: dict[str, Any] = {"compare": BASE} if subject.adapter else {}
    values |= _held_out_data(subject)
    for summary in list_runs(home, EvaluationFolder):
        item = build_item(summary, 0.0)
        if subject.covers(item):
            given = {name: item.spec[name] for name in _CARRIED_OVER if item.spec.get(name)}
            return {**values, **given}
    return values


def _held_out_data(subject: EvaluationSubject) -> dict[str, Any]:
    """The evaluation dataset of the subject's run, if it has one."""
    from mg_tui.core.errors import GardenError
    from mg_tui.runs.folder import RunFolder

    if subject.run_folder is None:
        return {}
    try:
        spec = RunFolder(subject.run_folder).spec_values()
    except GardenError:
        return {}  # the run's screen shows the problem; the form can be filled in without
    names = {"eval_dataset": "dataset", "eval_dataset_split": "split"}
    return {ours: spec[theirs] for theirs, ours in names.items() if spec.get(theirs)}
