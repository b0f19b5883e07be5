"""The form of a new run with its actions."""

from pathlib import Path
from typing import Any, ClassVar, Final

from textual.binding import BindingType
from textual.widgets import Input

from mg_tui.core.errors import GardenError
from mg_tui.core.program import runnable
from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.actions import actions_in, bindings
from mg_tui.tui.new.starter import PreflightFailed, RunStarted, SampleDatasetMade, SampleDatasetMaker
from mg_tui.tui.screens.new_form import NewRunForm
from mg_tui.tui.widgets.new.estimate_pane import EstimatePane

_MAX_MACHINE_NOTES: Final = 3  # findings of the machine that are shown when a run starts; the devices screen has all


class NewRunScreen(NewRunForm):
    """The actions of the form; those of presets are in `mg_tui.tui.screens.presets`."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("new")]

    # --- which actions apply

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if self.draft is None:
            return action not in {item.name for item in actions_in("new")}
        if action == "clear":
            return bool(self.filter_text or self.only_changed or self.query("#find"))
        if action == "sample":
            return any(self.draft.options[name].known == "datasets" for name in self.draft.missing)
        if action == "forget":
            return bool(self.dashboard.settings.presets)
        if action == "memory":
            return self.query_one(EstimatePane).estimate is not None
        return True

    def action_start(self) -> None:
        self._start_preflight(in_queue=False)

    def _start_preflight(self, *, in_queue: bool, gpus: tuple[str, ...] | None = None) -> None:
        from mg_tui.tui.screens.preflight import PreflightScreen

        draft = self.draft
        assert draft is not None
        if draft.spec is None:
            self._go_to_first_problem()
            return
        screen = PreflightScreen(draft.spec, self.dashboard.settings, cwd=draft.cwd, in_queue=in_queue, gpus=gpus)
        self.push_over_form(screen, self._after_start)

    def _go_to_first_problem(self) -> None:
        """Go to the first field that prevents the start."""
        draft = self.draft
        assert draft is not None
        name = next(name for name in draft.options if name in draft.problems or name in draft.missing)
        self.go_to_option(name)
        self.table.release_keys()
        title = draft.options[name].title
        problem = "is required" if name in draft.missing else "is invalid"
        self.notify(f"{title} {problem}.", severity="warning", markup=False)

    async def _after_start(self, started: RunStarted | None) -> None:
        if started is None:
            return
        self.unsaved = False
        launched = started.launched
        if started.skipped_rows:
            rows = formatting.count(started.skipped_rows, "bad row")
            self.notify(f"{rows} skipped; see skipped_rows.jsonl in the run's folder.")
        for finding in started.machine[:_MAX_MACHINE_NOTES]:
            text, bad = one_line(runnable(finding.sentence)), finding.level == "problem"
            self.notify(text, severity="error" if bad else "warning", timeout=12, markup=False)
        await self.app.switch_mode("runs")
        self.dashboard.runs_feed.resume()
        if launched.queued:
            position = f", {formatting.count(launched.runs_ahead, 'run')} before it" if launched.runs_ahead else ""
            self.app.notify(f"Queued{position}: {launched.folder.id}", markup=False)
        else:
            self.dashboard.open_run(launched.folder)

    def action_queue(self) -> None:
        from mg_tui.tui.new.choices import device_choices

        if self.draft is not None and self.draft.spec is None:
            self._go_to_first_problem()
            return

        def find_devices() -> None:
            try:
                choices = device_choices(self.dashboard.settings.home)
            except GardenError as error:
                self.app.call_from_thread(self.dashboard.notify_error, error)
            else:
                self.app.call_from_thread(self._choose_devices, choices)

        self.run_worker(find_devices, thread=True, exit_on_error=False)

    def _choose_devices(self, choices: list[Any]) -> None:
        from mg_tui.tui.screens.choose import ChooseScreen

        def queue_on(ids: tuple[str, ...] | None) -> None:
            if ids is not None:
                self._start_preflight(in_queue=True, gpus=ids or None)

        help = "It starts when it is first in the queue and these devices are free. None marked: any device."
        self.push_over_form(ChooseScreen("Devices to wait for", choices, several=True, help=help), queue_on)

    def action_sample(self) -> None:
        SampleDatasetMaker(self, self.dashboard.settings.cache).start()

    def on_sample_dataset_made(self, message: SampleDatasetMade) -> None:
        assert self.draft is not None
        missing = dict.fromkeys(self.draft.missing)
        values = {"dataset": str(message.dataset)}
        if "base_model" in missing:
            values["base_model"] = "tiny"
        self.fill(values)
        self.notify("Sample dataset created; press r to start.", markup=False)

    def on_preflight_failed(self, message: PreflightFailed) -> None:
        self.dashboard.notify_error(message.error)

    def action_advanced(self) -> None:
        assert self.draft is not None
        self.expanded_groups = set() if self.expanded_groups else set(self.draft.advanced_groups)
        self.draw_form()

    def action_differ(self) -> None:
        self.only_changed = not self.only_changed
        self.draw_form()
        self.refresh_bindings()

    async def action_find(self) -> None:
        if not self.query("#find"):
            box = Input(self.filter_text, placeholder="search options", id="find", compact=True)
            await self.mount(box, before="#new-upper")
        self.set_focus(self.query_one("#find", Input))
        self.table.release_keys()
        self.refresh_bindings()

    async def action_clear(self) -> None:
        self.filter_text, self.only_changed = "", False
        row = self.table.current
        self.set_focus(self.table)
        await self.query("#find").remove()
        if row is not None and self.draft is not None and row.id in self.draft.options:
            opt = self.draft.options[row.id]
            self.expanded_groups |= set() if opt.basic else {opt.group}
        self.draw_form()
        self.refresh_bindings()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "find":
            self.filter_text = event.value
            self.draw_form()
            if self.filter_text:
                self.table.move(0)  # the best match, not the row that the cursor was on
        else:
            super().on_input_changed(event)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "find":
            if event.value.strip():
                self.set_focus(self.table)
            else:
                await self.action_clear()

    def action_command(self) -> None:
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        assert self.draft is not None
        flags = self.draft.inexpressible_flags()
        note = f"No flag can undo these settings of garden.toml: {', '.join(flags)}" if flags else ""
        self.push_over_form(PlainTextScreen("Command for this run", self.draft.command(lines=True), note))

    def action_memory(self) -> None:
        from mg_tui.tui.screens.memory import MemoryScreen

        estimate = self.query_one(EstimatePane).estimate
        if estimate is not None and estimate.advisor is not None:
            self.push_over_form(MemoryScreen(estimate.advisor))
        elif estimate is not None:
            self.notify("; ".join(estimate.problems) or "nothing is known yet", markup=False)
            self.table.release_keys()

    def action_anew(self) -> None:
        from mg_tui.tui.screens.confirm import ConfirmScreen

        def reset(confirmed: bool | None) -> None:
            if confirmed and self.draft is not None:
                self.draft.clear()
                self.unsaved = False
                self.draft.cwd = Path.cwd()
                self.draft_changed()

        self.push_over_form(ConfirmScreen("Reset the form?", "Every option returns to its default.", "Reset"), reset)

    def action_presets(self) -> None:
        from mg_tui.tui.screens.presets import choose_preset

        choose_preset(self)

    def action_save(self) -> None:
        from mg_tui.tui.screens.presets import save_preset

        save_preset(self)

    def action_forget(self) -> None:
        from mg_tui.tui.screens.presets import remove_preset

        remove_preset(self)
