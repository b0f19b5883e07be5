"""The form of a new run, made from the spec, and its estimate. Its values are kept for the next session."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from mg_tui.core.errors import describe_exception
from mg_tui.core.text import first_few, one_line
from mg_tui.runs.recents import RecentItem
from mg_tui.tui.form_row import FieldHelp, FormRow
from mg_tui.tui.new.estimator import EstimateReady, EstimateRequest, RunEstimator
from mg_tui.tui.screens.form import FieldDescription, FormScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.form.field_help import FieldHelpPane
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.new.estimate_pane import EstimatePane

if TYPE_CHECKING:
    from mg_tui.tui.new.draft import RunDraft


SAVE_SECONDS: Final = 0.5  # after a change; the end of the dashboard does not wait for it


class DraftReady(Message):
    """The draft is ready; or why it cannot be made. `restored`: it has values of an earlier session."""

    def __init__(self, draft: "RunDraft | None", why: str = "", *, restored: bool = False) -> None:
        super().__init__()
        self.draft, self.why, self.restored = draft, why, restored


class NewRunForm(FormScreen):
    """Holds the draft; `NewRunScreen` has the actions."""

    def __init__(self) -> None:
        super().__init__()
        self.draft: RunDraft | None = None
        self.expanded_groups: set[str] = set()
        self.only_changed = False
        self.filter_text = ""
        self.unsaved = False  # values were changed here since the form was filled in, or started a run
        self._request_number = 0
        self._saved_values: dict[str, Any] = {}  # as kept for the next session
        # Arguments of calls to `fill` before the draft was ready.
        self._pending_option: str | None = None
        self._pending_values: list[tuple[Mapping[str, Any], Path | None, bool]] = []

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Static(Content.styled("preparing the form …", tone("dim")), id="empty")
        with Horizontal(id="new-upper"):
            yield from self.compose_form()
            yield EstimatePane()
        yield FieldHelpPane()
        yield KeyBar()

    def on_mount(self) -> None:
        self._show_form(False)
        self.table.focus_actions += tuple(
            f"new.{name}"
            for name in ("start", "queue", "presets", "save", "forget", "find", "command", "memory", "anew")
        )
        self.estimator = RunEstimator(self, self.dashboard.settings)
        # Imports pydantic, which takes a moment: not before it is needed, and not in the thread that draws.
        self.run_worker(self._create_draft, thread=True, exit_on_error=False)

    def _create_draft(self) -> None:
        try:
            from mg_tui.tui.new.draft import RunDraft
            from mg_tui.tui.new.saved_draft import restore_draft

            draft = RunDraft(self.dashboard.settings.train)
            restored = restore_draft(self.dashboard.settings.home, draft)
            self.post_message(DraftReady(draft, restored=restored))
        except Exception as error:  # the other places go on
            self.post_message(DraftReady(None, describe_exception(error)))

    def on_unmount(self) -> None:
        self.estimator.stop()
        self._save_draft()

    def _save_draft(self) -> None:
        if self.draft is not None and self.draft.typed_values != self._saved_values:
            from mg_tui.tui.new.saved_draft import save_draft

            self._saved_values = self.draft.typed_values
            save_draft(self.dashboard.settings.home, self.draft)

    def on_screen_suspend(self) -> None:
        if self.is_mounted:
            self.estimator.pause()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self.estimator.resume()

    def _show_form(self, ready: bool) -> None:
        self.query_one("#empty").display = not ready
        self.query_one("#new-upper").display = ready
        self.query_one(FieldHelpPane).display = ready

    def on_draft_ready(self, message: DraftReady) -> None:
        if message.draft is None:
            self.query_one("#empty", Static).update(line(("Cannot show the form: ", tone("failed")), message.why))
            return
        self.draft = message.draft
        self._saved_values = self.draft.typed_values
        self._show_form(True)
        if message.restored and not self._pending_values:
            self.notify("The form as you left it; X empties it.", markup=False)
        if not isinstance(self.focused, Input):
            self.set_focus(self.table)
        for values, cwd, anew in self._pending_values:
            self._fill(values, cwd, anew)
        self._pending_values = []
        self.draft_changed()
        if self._pending_option is not None:
            self.go_to_option(self._pending_option)

    # --- filling the form in

    def fill(self, values: Mapping[str, Any], *, cwd: Path | None = None, anew: bool = False) -> None:
        """Give fields values; with `anew`, reset every other field to its default."""
        if self.draft is None:
            self._pending_values.append((values, cwd, anew))
        else:
            self._fill(values, cwd, anew)
            self.draft_changed()

    def _fill(self, values: Mapping[str, Any], cwd: Path | None, anew: bool) -> None:
        assert self.draft is not None
        if anew:
            self.draft.clear()
            self.unsaved = False
        if cwd is not None:
            self.draft.cwd = cwd
        self.draft.set_all(values)

    def go_to_option(self, name: str) -> None:
        """Put the cursor on an option, as soon as the form is ready."""
        if self.draft is None:
            self._pending_option = name
            return
        self.filter_text, self.only_changed = "", False
        self.query("#find").remove()
        if not self.draft.options[name].basic:
            self.expanded_groups.add(self.draft.options[name].group)
        self.draw_form()
        self.set_focus(self.table)
        self.table.go_to_field(name)

    def fill_from_dataset(self, values: Mapping[str, Any]) -> None:
        """Start over with a dataset. Values that were typed here and not used yet are kept, and named."""
        if self.draft is None or not self.unsaved:
            self.fill(values, anew=True)
            return
        read = [name for name in self.draft.options if _is_about_reading(name)]
        kept = [self.draft.options[n].title for n in self.draft.changed_fields() if n not in read and n not in values]
        for name in read:
            self.draft.reset(name)
        self.fill(values)
        if kept:
            self.notify(f"Kept from the form: {first_few(kept, 6)}. X empties it.", markup=False)

    # --- the form

    def draft_changed(self) -> None:
        """Show the draft, and request an estimate."""
        draft = self.draft
        assert draft is not None
        self.draw_form()
        pane = self.query_one(EstimatePane)
        pane.command = draft.command()
        changed, missing = len(draft.changed_fields()), len(draft.missing)
        parts = [line((f"● {changed} changed", tone("eval")))] if changed else []
        if draft.problems:
            parts.append(line((f"✗ {len(draft.problems)} wrong", tone("failed"))))
        elif missing:
            parts.append(line((f"{missing} needed", tone("eval"))))
        self.query_one(TopBar).right = Content("  ").join(parts)
        self.set_timer(SAVE_SECONDS, self._save_draft)
        self._request_number += 1
        if draft.partial_spec is None:
            pane.blocked_by = "Fix the values marked ✗ to see the memory estimate."
            return
        pane.blocked_by = ""
        pane.stale = True
        self.estimator.request(
            EstimateRequest(
                self._request_number,
                draft.partial_spec,
                draft.cwd,
                has_model="base_model" not in draft.missing,
                has_dataset="dataset" not in draft.missing,
            )
        )
        self.refresh_bindings()

    def on_estimate_ready(self, message: EstimateReady) -> None:
        if message.number == self._request_number:
            pane = self.query_one(EstimatePane)
            pane.estimate = message.estimate
            pane.stale = message.estimate.rows_read is not None

    def form_rows(self) -> list[FormRow]:
        from mg_tui.tui.new import form_rows

        assert self.draft is not None
        if self.filter_text:
            return form_rows.search_rows(self.draft, self.filter_text)
        if self.only_changed:
            return form_rows.build_changed_rows(self.draft)
        return form_rows.build_rows(self.draft, self.expanded_groups)

    def field(self, id: str) -> FieldDescription:
        assert self.draft is not None
        return self.draft.options[id]

    def value_text(self, id: str) -> str:
        assert self.draft is not None
        return self.draft.text(id)

    def validate_value(self, id: str, text: str) -> str:
        from mg_tui.tui.new.draft import format_problem

        assert self.draft is not None
        problem = self.draft.problem_if_set(id, text)
        return format_problem(problem) if problem is not None else ""

    def set_value(self, id: str, value: Any) -> None:
        assert self.draft is not None
        self.unsaved = True
        self.draft.set(id, value)
        self.draft_changed()

    def reset(self, id: str) -> None:
        assert self.draft is not None
        self.unsaved = True
        self.draft.reset(id)
        self.draft_changed()

    def field_help(self, id: str, group: bool) -> FieldHelp:
        from mg_tui.tui.new import form_rows

        assert self.draft is not None
        if group:
            return form_rows.describe_group(self.draft, id)
        field_help = form_rows.describe_field(self.draft, id, self.dashboard.settings.train_origins().get(id))
        if id in self.draft.missing and self.draft.options[id].known == "datasets":
            return replace(field_help, accepted="enter chooses one; m creates a sample dataset.")
        return field_help

    def empty_help(self) -> FieldHelp:
        title = "No option matches." if self.filter_text else "No option differs from its default."
        return FieldHelp(title, help="esc shows all options.")

    def toggle_group(self, id: str) -> None:
        self.expanded_groups ^= {id}
        self.draw_form()

    @property
    def base_folder(self) -> Path:
        return self.draft.cwd if self.draft is not None else Path.cwd()

    def open_picker(self, row: FormRow) -> bool:
        """Datasets and models are picked from known names and existing files."""
        assert self.draft is not None
        known = self.draft.options[row.id].known
        if known is None:
            return False
        self.run_worker(partial(self._list_known_names, row.id, known), thread=True, exit_on_error=False)
        return True

    def _list_known_names(self, id: str, known: str) -> None:
        from mg_tui.tui.new.choices import known_names

        names = known_names(known, self.dashboard.settings)
        self.app.call_from_thread(self._open_picker, id, known, names)

    def _open_picker(self, id: str, known: str, names: list[RecentItem]) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        assert self.draft is not None
        current = self.draft.text(id)
        title = self.draft.options[id].title + (f" · now {one_line(current, limit=50)}" if current else "")
        self.push_over_form(
            PickScreen("model" if known == "models" else "dataset", title, names),
            lambda chosen: self.set_value(id, chosen) if chosen is not None else None,
        )


def _is_about_reading(name: str) -> bool:
    """Whether an option says which dataset is read, or how."""
    return name.startswith("dataset") or name.endswith("_field") or name in ("image_root", "ignore_column")
