"""The form of a new run, made from the spec and kept for as long as the dashboard is open, and what it would cost."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from mg_tui.core.text import one_line
from mg_tui.tui.new.forecaster import Forecast, Forecaster, Request
from mg_tui.tui.screens.form import Described, FormScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.form.about import About, AboutField
from mg_tui.tui.widgets.form.table import FormRow
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.new.outlook import OutlookPane

if TYPE_CHECKING:
    from mg_tui.tui.new.draft import Draft


class DraftReady(Message):
    """The form can be shown; or why it cannot."""

    def __init__(self, draft: "Draft | None", why: str = "") -> None:
        super().__init__()
        self.draft, self.why = draft, why


class NewForm(FormScreen):
    """Keeps a draft; what is done with it is for `NewScreen`."""

    def __init__(self) -> None:
        super().__init__()
        self.draft: Draft | None = None
        self.unfolded: set[str] = set()
        self.only_changed = False
        self.query_text = ""
        self._asked = 0
        self._waiting: list[tuple[Mapping[str, Any], Path | None, bool]] = []  # values that came before the draft

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield Static(Content.styled("preparing the form …", tone("dim")), id="empty")
        with Horizontal(id="new-upper"):
            yield from self.form()
            yield OutlookPane()
        yield AboutField()
        yield KeyBar()

    def on_mount(self) -> None:
        self._ready(False)
        self.table.opening += tuple(
            f"new.{name}"
            for name in ("start", "queue", "presets", "save", "forget", "find", "command", "memory", "anew")
        )
        self.forecaster = Forecaster(self, self.garden.settings)
        # The spec's library is not imported before it is needed, and not in the thread that draws.
        self.run_worker(self._prepare, thread=True, exit_on_error=False)

    def _prepare(self) -> None:
        try:
            from mg_tui.tui.new.draft import Draft

            self.post_message(DraftReady(Draft(self.garden.settings.train)))
        except Exception as error:  # whatever it is, the other places go on
            self.post_message(DraftReady(None, one_line(f"{type(error).__name__}: {error}", limit=400)))

    def on_unmount(self) -> None:
        self.forecaster.end()

    def on_screen_suspend(self) -> None:
        if self.is_mounted:
            self.forecaster.pause()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self.forecaster.resume()

    def _ready(self, ready: bool) -> None:
        self.query_one("#empty").display = not ready
        self.query_one("#new-upper").display = ready
        self.query_one(AboutField).display = ready

    def on_draft_ready(self, message: DraftReady) -> None:
        if message.draft is None:
            self.query_one("#empty", Static).update(line(("The form cannot be shown: ", tone("failed")), message.why))
            return
        self.draft = message.draft
        self._ready(True)
        self.table.focus()
        for values, cwd, anew in self._waiting:
            self._fill(values, cwd, anew)
        self._waiting = []
        self.changed()

    # --- what other places ask of it

    def fill(self, values: Mapping[str, Any], *, cwd: Path | None = None, anew: bool = False) -> None:
        """Give fields values; with `anew`, every other field has its default again."""
        if self.draft is None:
            self._waiting.append((values, cwd, anew))
        else:
            self._fill(values, cwd, anew)
            self.changed()

    def _fill(self, values: Mapping[str, Any], cwd: Path | None, anew: bool) -> None:
        assert self.draft is not None
        if anew:
            self.draft.clear()
        if cwd is not None:
            self.draft.cwd = cwd
        self.draft.set_all(values)

    # --- the form

    def changed(self) -> None:
        """Show the draft as it is, and have it reckoned anew."""
        draft = self.draft
        assert draft is not None
        self.draw_form()
        pane = self.query_one(OutlookPane)
        pane.command = draft.command()
        differ = len(draft.changed())
        missing = len(draft.missing)
        said = [line((f"● {differ} changed", tone("eval")))] if differ else []
        if draft.problems:
            said.append(line((f"✗ {len(draft.problems)} wrong", tone("failed"))))
        elif missing:
            said.append(line((f"{missing} needed", tone("eval"))))
        self.query_one(TopBar).right = Content("  ").join(said)
        self._asked += 1
        if draft.outline is None:
            pane.wrong = "Put right what is marked ✗ to see what the run needs."
            return
        pane.wrong = ""
        pane.stale = True
        known = draft.options
        blank = {name: name in draft.missing for name in known}
        self.forecaster.ask(
            Request(
                self._asked,
                draft.outline,
                draft.cwd,
                has_model=not blank["base_model"],
                has_dataset=not blank["dataset"],
            )
        )
        self.refresh_bindings()

    def on_forecast(self, message: Forecast) -> None:
        if message.number == self._asked:
            pane = self.query_one(OutlookPane)
            pane.outlook = message.outlook
            pane.stale = message.outlook.reading is not None

    def form_rows(self) -> list[FormRow]:
        from mg_tui.tui.new import rows

        assert self.draft is not None
        if self.query_text:
            return rows.rows_like(self.draft, self.query_text)
        if self.only_changed:
            return rows.rows_that_differ(self.draft)
        return rows.rows_of(self.draft, self.unfolded)

    def described(self, id: str) -> Described:
        assert self.draft is not None
        return self.draft.options[id]

    def value_text(self, id: str) -> str:
        assert self.draft is not None
        return self.draft.text(id)

    def problem_with(self, id: str, text: str) -> str:
        from mg_tui.tui.new.draft import said

        assert self.draft is not None
        problem = self.draft.trial(id, text)
        return said(problem) if problem is not None else ""

    def take(self, id: str, value: Any) -> None:
        assert self.draft is not None
        self.draft.set(id, value)
        self.changed()

    def reset(self, id: str) -> None:
        assert self.draft is not None
        self.draft.reset(id)
        self.changed()

    def about(self, id: str, group: bool) -> About:
        from mg_tui.tui.new import rows

        assert self.draft is not None
        if group:
            return rows.about_group(self.draft, id)
        said = rows.about_field(self.draft, id, self.garden.settings.train_origins().get(id))
        if id in self.draft.missing and self.draft.options[id].known == "datasets":
            return replace(said, accepted="enter picks one; m makes a sample dataset to try with.")
        return said

    def about_nothing(self) -> About:
        said = "No option has these words." if self.query_text else "Nothing differs from the defaults."
        return About(said, help="esc shows every option.")

    def fold(self, id: str) -> None:
        self.unfolded ^= {id}
        self.draw_form()

    @property
    def folder(self) -> Path:
        return self.draft.cwd if self.draft is not None else Path.cwd()

    def pick(self, row: FormRow) -> bool:
        """Datasets and models are picked from what is known and what is there."""
        assert self.draft is not None
        known = self.draft.options[row.id].known
        if known is None:
            return False
        self.run_worker(partial(self._list_known, row.id, known), thread=True, exit_on_error=False)
        return True

    def _list_known(self, id: str, known: str) -> None:
        from mg_tui.tui.new.known import known_names

        found = known_names(known, self.garden.settings)
        self.app.call_from_thread(self._open_picker, id, known, found)

    def _open_picker(self, id: str, known: str, found: list[tuple[str, float]]) -> None:
        from mg_tui.tui.screens.pick import PickScreen

        assert self.draft is not None
        now = self.draft.text(id)
        title = self.draft.options[id].title + (f" · now {one_line(now, limit=50)}" if now else "")
        self.over_form(
            PickScreen("model" if known == "models" else "dataset", title, found),
            lambda chosen: self.take(id, chosen) if chosen is not None else None,
        )
