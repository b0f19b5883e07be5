"""A new run: what can be done with its form."""

from pathlib import Path
from typing import Any, ClassVar

from textual.binding import BindingType
from textual.widgets import Input

from mg_tui.core.errors import GardenError
from mg_tui.tui import words
from mg_tui.tui.actions import actions_of, bindings
from mg_tui.tui.new.starting import CheckFailed, SampleMade, Sampler, Started
from mg_tui.tui.screens.newform import NewForm
from mg_tui.tui.widgets.new.outlook import OutlookPane


class NewScreen(NewForm):
    """Starts, queues, finds, shows; presets are in `mg_tui.tui.screens.presets`."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("new")]

    # --- what applies

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.draft is None:
            return action not in {one.name for one in actions_of("new")}
        if action == "clear":
            return bool(self.query_text or self.only_changed or self.query("#find"))
        if action == "sample":
            return any(self.draft.options[name].known == "datasets" for name in self.draft.missing)
        if action == "forget":
            return bool(self.garden.settings.presets)
        if action == "memory":
            return self.query_one(OutlookPane).outlook is not None
        return True

    def action_start(self) -> None:
        self._check(in_queue=False)

    def _check(self, *, in_queue: bool, gpus: tuple[str, ...] | None = None) -> None:
        from mg_tui.tui.screens.check import CheckScreen

        draft = self.draft
        assert draft is not None
        if draft.spec is None:
            self._show_what_is_wrong()
            return
        screen = CheckScreen(draft.spec, self.garden.settings, cwd=draft.cwd, in_queue=in_queue, gpus=gpus)
        self.over_form(screen, self._started)

    def _show_what_is_wrong(self) -> None:
        """Go to the first field that keeps the run from starting."""
        draft = self.draft
        assert draft is not None
        name = next(name for name in draft.options if name in draft.problems or name in draft.missing)
        self.query_text, self.only_changed = "", False
        self.query("#find").remove()
        if not draft.options[name].basic:
            self.unfolded.add(draft.options[name].group)
        self.draw_form()
        self.table.go(name)
        self.table.release()
        title = draft.options[name].title
        said = "is needed first" if name in draft.missing else "cannot be used as it is"
        self.notify(f"{title} {said}.", severity="warning", markup=False)

    async def _started(self, started: Started | None) -> None:
        if started is None:
            return
        begun = started.begun
        if started.skipped:
            self.notify(f"{words.count(started.skipped, 'bad row')} left out; they are kept beside the run.")
        await self.app.switch_mode("runs")
        self.garden.runs_feed.resume()
        if begun.queued:
            ahead = f", {words.count(begun.ahead, 'run')} before it" if begun.ahead else ""
            self.app.notify(f"Queued{ahead}: {begun.folder.id}", markup=False)
        else:
            self.garden.open_run(begun.folder)

    def action_queue(self) -> None:
        from mg_tui.tui.new.known import device_choices

        if self.draft is not None and self.draft.spec is None:
            self._show_what_is_wrong()
            return

        def look() -> None:
            try:
                choices = device_choices()
            except GardenError as error:
                self.app.call_from_thread(self._say_error, error)
            else:
                self.app.call_from_thread(self._ask_devices, choices)

        self.run_worker(look, thread=True, exit_on_error=False)

    def _ask_devices(self, choices: list[Any]) -> None:
        from mg_tui.tui.screens.choose import ChooseScreen

        def chosen(ids: tuple[str, ...] | None) -> None:
            if ids is not None:
                self._check(in_queue=True, gpus=ids or None)

        help = "It starts when it is its turn and these devices are free; nothing marked means any one."
        self.over_form(ChooseScreen("Devices to wait for", choices, several=True, help=help), chosen)

    def _say_error(self, error: GardenError) -> None:
        self.app.notify("\n".join(error.lines()), severity="error", timeout=12, markup=False)

    def action_sample(self) -> None:
        Sampler(self, self.garden.settings.cache).start()

    def on_sample_made(self, message: SampleMade) -> None:
        assert self.draft is not None
        missing = dict.fromkeys(self.draft.missing)
        values = {"dataset": str(message.dataset)}
        if "base_model" in missing:
            values["base_model"] = "tiny"
        self.fill(values)
        self.notify("A sample of drawn shapes is there; r starts.", markup=False)

    def on_check_failed(self, message: CheckFailed) -> None:
        self._say_error(message.error)

    def action_advanced(self) -> None:
        assert self.draft is not None
        self.unfolded = set() if self.unfolded else set(self.draft.groups)
        self.draw_form()

    def action_differ(self) -> None:
        self.only_changed = not self.only_changed
        self.draw_form()
        self.refresh_bindings()

    async def action_find(self) -> None:
        if not self.query("#find"):
            box = Input(self.query_text, placeholder="words of an option or its help", id="find", compact=True)
            await self.mount(box, before="#new-upper")
        self.set_focus(self.query_one("#find", Input))
        self.table.release()
        self.refresh_bindings()

    async def action_clear(self) -> None:
        self.query_text, self.only_changed = "", False
        row = self.table.current
        self.set_focus(self.table)
        await self.query("#find").remove()
        if row is not None and self.draft is not None and row.id in self.draft.options:
            opt = self.draft.options[row.id]
            self.unfolded |= set() if opt.basic else {opt.group}
        self.draw_form()
        self.refresh_bindings()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "find":
            self.query_text = event.value
            self.draw_form()
        else:
            super().on_input_changed(event)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "find":
            if event.value.strip():
                self.table.focus()
            else:
                await self.action_clear()

    def action_command(self) -> None:
        from mg_tui.tui.screens.plain import PlainScreen

        assert self.draft is not None
        lacking = self.draft.cannot_say()
        about = f"garden.toml sets what no flag can take back: {', '.join(lacking)}" if lacking else ""
        self.over_form(PlainScreen("The same run from the command line", self.draft.command(lines=True), about))

    def action_memory(self) -> None:
        from mg_tui.tui.screens.memory import MemoryScreen

        outlook = self.query_one(OutlookPane).outlook
        if outlook is not None and outlook.question is not None:
            self.over_form(MemoryScreen(outlook.question))
        elif outlook is not None:
            self.notify("; ".join(outlook.unknown) or "nothing is known yet", markup=False)
            self.table.release()

    def action_anew(self) -> None:
        from mg_tui.tui.screens.confirm import ConfirmScreen

        def answered(yes: bool | None) -> None:
            if yes and self.draft is not None:
                self.draft.clear()
                self.draft.cwd = Path.cwd()
                self.changed()

        self.over_form(
            ConfirmScreen("Empty the form?", "Every option has its default again.", "Yes, empty it"), answered
        )

    def action_presets(self) -> None:
        from mg_tui.tui.screens.presets import take_preset

        take_preset(self)

    def action_save(self) -> None:
        from mg_tui.tui.screens.presets import save_preset

        save_preset(self)

    def action_forget(self) -> None:
        from mg_tui.tui.screens.presets import forget_preset

        forget_preset(self)
