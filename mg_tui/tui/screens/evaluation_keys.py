"""Opening evaluations from other screens: of a run, of one of its checkpoints, of a model."""

from pathlib import Path
from typing import TYPE_CHECKING

from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.base_app import BaseApp
from mg_tui.tui.choice import Choice
from mg_tui.tui.evaluations.listing import EvaluationSubject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mg_tui.tui.models.catalog import ModelRow
    from mg_tui.tui.runs.snapshot import RunDetail, RunRow


def run_subject(row: "RunRow", *, adapter: bool, has_weights: bool) -> EvaluationSubject:
    """A run with its checkpoints."""
    folders = [row.folder.path, *([Path(row.result_path)] if row.result_path else [])]
    return EvaluationSubject(
        row.title,
        row.id if has_weights else None,
        names=frozenset({row.id, row.title}),
        folders=tuple(folders),
        checkpoints=True,
        run_folder=row.folder.path,
        adapter=adapter,
    )


def model_subject(row: "ModelRow") -> EvaluationSubject:
    """A model; that of a run also by the run's id."""
    names = {row.reference, *([row.run] if row.run and row.kind != "merged" else [])}
    return EvaluationSubject(
        row.title,
        None if row.kind == "broken" else row.reference,
        names=frozenset(names),
        folders=(row.folder,) if row.folder is not None else (),
        run_folder=row.run_folder,
        adapter=row.kind == "adapter",
    )


def weight_choices(detail: "RunDetail") -> list[Choice]:
    """What of a run can be evaluated: its result, its best checkpoint, and the others, newest first."""
    run, choices = detail.row, []
    if run.state is RunState.FINISHED:
        choices.append(Choice(run.id, "the result", f"step {run.step}"))
    for saved in sorted(detail.checkpoints, key=lambda item: -item.step):
        note = f"{formatting.size(saved.bytes)}" if saved.bytes else ""
        choices.append(Choice(f"{run.id}@{saved.step}", f"checkpoint of step {saved.step}", note))
    return choices


def open_run_evaluations(app: BaseApp, detail: "RunDetail") -> None:
    """Show the evaluations of a run."""
    from mg_tui.tui.screens.evaluations import EvaluationListScreen

    subject = _subject_of(detail)
    app.push_screen(EvaluationListScreen(subject, lambda: evaluate_run(app, detail)))


def evaluate_run(app: BaseApp, detail: "RunDetail") -> None:
    """Open the form of a new evaluation of a run; where there are several, ask which of its weights."""
    choices = weight_choices(detail)
    subject = _subject_of(detail)
    if not choices:
        app.notify("It has no result and no whole checkpoint yet.", severity="warning")
    elif len(choices) == 1:
        _open_form(app, subject, choices[0].id)
    else:
        _choose_weights(app, choices, lambda model: _open_form(app, subject, model))


def _subject_of(detail: "RunDetail") -> EvaluationSubject:
    from mg_tui.tui.widgets.run.checkpoints import is_adapter

    return run_subject(detail.row, adapter=is_adapter(detail.spec), has_weights=bool(weight_choices(detail)))


def _choose_weights(app: BaseApp, choices: "Sequence[Choice]", take: "Callable[[str], None]") -> None:
    from mg_tui.tui.screens.choose import ChooseScreen

    app.push_screen(
        ChooseScreen("Evaluate which weights?", choices, help="The answers are those of the model at that step."),
        lambda ids: take(ids[0]) if ids else None,
    )


def open_model_evaluations(app: BaseApp, row: "ModelRow") -> None:
    """Show the evaluations of a model."""
    from mg_tui.tui.screens.evaluations import EvaluationListScreen

    app.push_screen(EvaluationListScreen(model_subject(row), lambda: evaluate_model(app, row)))


def evaluate_model(app: BaseApp, row: "ModelRow") -> None:
    """Open the form of a new evaluation of a model."""
    if (model := model_subject(row).model) is not None:
        _open_form(app, model_subject(row), model)


def _open_form(app: BaseApp, subject: EvaluationSubject, model: str) -> None:
    from dataclasses import replace

    from mg_tui.tui.screens.evaluation_form import EvaluationForm

    app.push_screen(EvaluationForm(replace(subject, model=model)))
