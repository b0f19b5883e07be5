"""The base of forms that start detached work from a spec: the draft, its problems, and the start in a thread."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from mg_tui.core.errors import GardenError, describe_exception
from mg_tui.core.text import one_line
from mg_tui.runs.recents import RecentItem
from mg_tui.tui.actions import actions_in
from mg_tui.tui.form_row import FieldHelp, FormRow
from mg_tui.tui.screens.form import FieldDescription, FormScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.form.field_help import FieldHelpPane
from mg_tui.tui.widgets.job_line import JobLine
from mg_tui.tui.widgets.lines import line

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.tui.new.draft import SpecDraft


class SpecDraftReady(Message):
    """The draft is ready; or why it cannot be made."""

    def __init__(self, draft: "SpecDraft[Any] | None", why: str = "") -> None:
        super().__init__()
        self.draft, self.why = draft, why


class WorkLaunched(Message):
    """The work was started; or why it was not."""

    def __init__(self, folder: "RunFolder | None", error: GardenError | None = None) -> None:
        super().__init__()
        self.folder, self.error = folder, error


class LaunchForm(FormScreen):
    """Subclasses make the draft and start the work, both in a thread, and show what was started.

    Attributes:
        scope: that of its actions.
        starting_text: what the start does.
    """

    scope: ClassVar[str]
    starting_text: ClassVar[str]

    def __init__(self, cwd: Path | None = None) -> None:
        super().__init__()
        self._cwd = cwd or Path.cwd()
        self.draft: SpecDraft[Any] | None = None
        self.expanded_groups: set[str] = set()
        self._starting = False

    # --- for subclasses

    def heading(self) -> tuple[str, str]:
        """What the form is for: a verb, and the model."""
        raise NotImplementedError

    def breadcrumb(self) -> str:
        """Where it is."""
        raise NotImplementedError

    def create_draft(self) -> "SpecDraft[Any]":
        """The draft; called in a thread."""
        raise NotImplementedError

    def launch(self, spec: Any) -> "RunFolder":
        """Start the work; called in a thread.

        Raises:
            GardenError: it cannot be started.
        """
        raise NotImplementedError

    def show_started(self, folder: "RunFolder") -> None:
        """The work was started."""
        raise NotImplementedError

    # --- the screen

    def compose(self) -> ComposeResult:
        yield TopBar()
        verb, model = self.heading()
        yield Static(line((f"{verb} ", tone("dim")), (one_line(model, limit=300), "bold")), id="subject")
        yield Static(Content.styled("preparing the form …", tone("dim")), id="empty")
        yield ErrorBand()
        yield JobLine()
        yield from self.compose_form()
        yield FieldHelpPane()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = self.breadcrumb()
        self.table.focus_actions += (f"{self.scope}.command",)
        self._show_form(False)
        self.run_worker(self._create_draft, thread=True, exit_on_error=False)

    def _create_draft(self) -> None:
        try:
            self.post_message(SpecDraftReady(self.create_draft()))
        except Exception as error:  # the other screens go on
            self.post_message(SpecDraftReady(None, describe_exception(error)))

    def _show_form(self, ready: bool) -> None:
        self.query_one("#empty").display = not ready
        self.query_one(".form-box").display = ready
        self.query_one(FieldHelpPane).display = ready

    def on_spec_draft_ready(self, message: SpecDraftReady) -> None:
        if message.draft is None:
            self.query_one("#empty", Static).update(line(("The form cannot be shown: ", tone("failed")), message.why))
            return
        self.draft = message.draft
        self._show_form(True)
        self.set_focus(self.table)
        self._draft_changed()
        if self.draft.missing:
            self.table.go_to_field(next(iter(self.draft.missing)))

    def _draft_changed(self) -> None:
        draft = self._draft
        self.draw_form()
        parts = [line((f"● {len(changed)} changed", tone("eval")))] if (changed := draft.changed_fields()) else []
        if draft.problems:
            parts.append(line((f"✗ {len(draft.problems)} wrong", tone("failed"))))
        elif draft.missing:
            parts.append(line((f"{len(draft.missing)} needed", tone("eval"))))
        self.query_one(TopBar).right = Content("  ").join(parts)
        self.refresh_bindings()

    # --- the form

    @property
    def _draft(self) -> "SpecDraft[Any]":
        assert self.draft is not None
        return self.draft

    def form_rows(self) -> list[FormRow]:
        from mg_tui.tui.new import form_rows

        return form_rows.build_rows(self._draft, self.expanded_groups)

    def field(self, id: str) -> FieldDescription:
        return self._draft.options[id]

    def value_text(self, id: str) -> str:
        return self._draft.text(id)

    def validate_value(self, id: str, text: str) -> str:
        from mg_tui.tui.new.draft import format_problem

        problem = self._draft.problem_if_set(id, text)
        return format_problem(problem) if problem is not None else ""

    def set_value(self, id: str, value: Any) -> None:
        self._draft.set(id, value)
        self._draft_changed()

    def reset(self, id: str) -> None:
        self._draft.reset(id)
        self._draft_changed()

    def field_help(self, id: str, group: bool) -> FieldHelp:
        from mg_tui.tui.new import form_rows

        if group:
            described = form_rows.describe_group(self._draft, id)
            return replace(described, accepted="enter unfolds and folds it.")
        return form_rows.describe_field(self._draft, id, None)

    def toggle_group(self, id: str) -> None:
        self.expanded_groups ^= {id}
        self.draw_form()

    @property
    def base_folder(self) -> Path:
        return self._cwd

    def open_picker(self, row: FormRow) -> bool:
        if self._draft.options[row.id].known is None:
            return False
        self.run_worker(partial(self._list_known_names, row.id), thread=True, exit_on_error=False)
        return True

    def _list_known_names(self, id: str) -> None:
        from mg_tui.tui.new.choices import known_names

        names = known_names(str(self._draft.options[id].known), self.dashboard.settings)
        self.app.call_from_thread(self._open_picker, id, names)

    def _open_picker(self, id: str, names: list[RecentItem]) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        current = self._draft.text(id)
        title = self._draft.options[id].title + (f" · now {one_line(current, limit=50)}" if current else "")

        def take(chosen: str | None) -> None:
            if chosen is not None:
                self.set_value(id, chosen)

        self.push_over_form(PickScreen("dataset", title, names), take)

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in {item.name for item in actions_in(self.scope)} - {"back"}:
            return self.draft is not None and not self._starting
        return True

    def action_start(self) -> None:
        draft = self._draft
        if draft.spec is None:
            self._go_to_first_problem()
            return
        self._starting = True
        self.query_one(ErrorBand).error = None
        self.query_one(JobLine).start(self.starting_text)
        self.refresh_bindings()
        self.run_worker(partial(self._launch, draft.spec), thread=True, exit_on_error=False)

    def _go_to_first_problem(self) -> None:
        draft = self._draft
        name = next((name for name in draft.options if name in draft.problems or name in draft.missing), None)
        if name is None:
            return
        if not draft.options[name].basic:
            self.expanded_groups.add(draft.options[name].group)
        self.draw_form()
        self.table.go_to_field(name)
        problem = "is needed first" if name in draft.missing else "cannot be used as it is"
        self.notify(f"{draft.options[name].title} {problem}.", severity="warning", markup=False)

    def _launch(self, spec: Any) -> None:
        try:
            folder = self.launch(spec)
        except GardenError as error:
            self.post_message(WorkLaunched(None, error))
        except Exception as error:  # a bug must not leave the form waiting for ever
            self.post_message(WorkLaunched(None, GardenError(describe_exception(error))))
        else:
            self.post_message(WorkLaunched(folder))

    def on_work_launched(self, message: WorkLaunched) -> None:
        self._starting = False
        self.query_one(JobLine).finish()
        self.refresh_bindings()
        if message.folder is None:
            self.query_one(ErrorBand).error = message.error
        elif self.is_current:
            self.show_started(message.folder)
        else:
            self.notify(f"{message.folder.noun.capitalize()} started: {message.folder.id}", markup=False)

    def action_advanced(self) -> None:
        self.expanded_groups = set() if self.expanded_groups else set(self._draft.advanced_groups)
        self.draw_form()

    def action_command(self) -> None:
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        self.push_over_form(PlainTextScreen("The same from the command line", self._draft.command(lines=True)))

    def action_back(self) -> None:
        self.dashboard.pop_screen()
