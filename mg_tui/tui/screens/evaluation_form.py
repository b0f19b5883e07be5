"""The form of a new evaluation, made from the spec that `evaluate-vision` has too."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import BindingType

from mg_tui.tui.actions import bindings
from mg_tui.tui.evaluations.listing import EvaluationSubject
from mg_tui.tui.form_row import FieldHelp
from mg_tui.tui.screens.launch_form import LaunchForm

if TYPE_CHECKING:
    from mg_tui.core.evaluation_spec import EvaluationSpec
    from mg_tui.runs.folder import RunFolder
    from mg_tui.tui.evaluations.draft import EvaluationDraft


class EvaluationForm(LaunchForm):
    """Evaluates one model. Starting takes a moment: names, paths and metrics are looked at first."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("evaluate")]
    scope = "evaluate"
    starting_text = "looking at the model's name, the dataset and the metrics"

    def __init__(
        self, subject: EvaluationSubject, values: Mapping[str, Any] | None = None, *, cwd: Path | None = None
    ) -> None:
        """`values`: what the form begins with; without, that of the subject's last evaluation or its run."""
        super().__init__(cwd)
        assert subject.model is not None
        self.subject, self._values = subject, values

    def heading(self) -> tuple[str, str]:
        return "evaluate", str(self.subject.model)

    def breadcrumb(self) -> str:
        return f"{self.subject.title} › new evaluation"

    def create_draft(self) -> "EvaluationDraft":
        from mg_tui.tui.evaluations.draft import EvaluationDraft, first_values

        home = self.dashboard.settings.home
        values = self._values if self._values is not None else first_values(self.subject, home)
        return EvaluationDraft(str(self.subject.model), values, cwd=self._cwd)

    def field_help(self, id: str, group: bool) -> FieldHelp:
        described = super().field_help(id, group)
        if id == "metrics" and not group:
            return replace(described, accepted="enter chooses; none takes those that fit the references.")
        return described

    def launch(self, spec: "EvaluationSpec") -> "RunFolder":
        from mg_tui.preflight.evaluation import launch_evaluation

        return launch_evaluation(spec, self.dashboard.settings, cwd=self._cwd)

    def show_started(self, folder: "RunFolder") -> None:
        from mg_tui.runs.evaluations import EvaluationFolder
        from mg_tui.tui.screens.evaluation import ResultScreen

        self.app.switch_screen(ResultScreen(EvaluationFolder(folder.path)))
