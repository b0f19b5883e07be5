"""The form of a job: a merge, an export, a verification or a push of one model."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType

from mg_tui.tui.actions import bindings
from mg_tui.tui.screens.launch_form import LaunchForm

if TYPE_CHECKING:
    from mg_tui.core.model_job_spec import ModelJobSpec
    from mg_tui.runs.folder import RunFolder
    from mg_tui.tui.jobs.draft import JobDraft


class JobForm(LaunchForm):
    """Starts a job and shows the list of jobs."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("jobform")]
    scope = "jobform"
    starting_text = "looking at the model's name and the output folder"

    def __init__(self, operation: str, model: str, title: str, *, cwd: Path | None = None) -> None:
        """`title`: the model's, for headings and for the name of an output folder."""
        super().__init__(cwd)
        self.operation, self.model, self.title_text = operation, model, title

    def heading(self) -> tuple[str, str]:
        return self.operation, self.model

    def breadcrumb(self) -> str:
        return f"{self.title_text} › {self.operation}"

    def create_draft(self) -> "JobDraft":
        from mg_tui.tui.jobs.draft import JobDraft, first_values

        values = first_values(self.operation, self.title_text, self.dashboard.settings.home)
        return JobDraft(self.operation, self.model, values, cwd=self._cwd)

    def launch(self, spec: "ModelJobSpec") -> "RunFolder":
        from mg_tui.preflight.model_jobs import launch_model_job

        return launch_model_job(spec, self.dashboard.settings, cwd=self._cwd)

    def show_started(self, folder: "RunFolder") -> None:
        from mg_tui.tui.screens.jobs import JobsScreen

        self.app.switch_screen(JobsScreen(folder.id))
