"""The dashboard's application: places, signals, navigation, and the actions that apply everywhere.

It owns nothing that a run needs: runs are other processes, and closing the dashboard, however it happens, ends none.
"""

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from textual.binding import BindingType
from textual.command import Provider
from textual.notifications import SeverityLevel
from textual.screen import Screen

from mg_tui.config import Settings
from mg_tui.runs.elsewhere import path_of
from mg_tui.runs.state import RunState
from mg_tui.tui.actions import ACTIONS_BY_ID, bindings
from mg_tui.tui.base_app import BaseApp
from mg_tui.tui.feeds import FeedFailed
from mg_tui.tui.graphics import HALF_CELLS, TerminalGraphics
from mg_tui.tui.places import PLACES
from mg_tui.tui.runs.feeds import RunsUpdated
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.terminal import HANGUP_EXIT_CODE
from mg_tui.tui.theme import other_shade

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.tui.runs.snapshot import RunRow
    from mg_tui.tui.screens.new_form import NewRunForm

SIGTERM_EXIT_CODE: Final = 128 + signal.SIGTERM
# The first screen of each place, imported when it is first shown: module and class by the place's mode.
_FIRST_SCREENS: Final[Mapping[str, tuple[str, str]]] = {
    "runs": ("runs", "RunsScreen"),
    "datasets": ("datasets", "DatasetsScreen"),
    "new": ("new", "NewRunScreen"),
    "models": ("models", "ModelsScreen"),
    "plugins": ("plugins", "PluginsScreen"),
}


def _create_first_screen(mode: str) -> Screen[Any]:
    module, name = _FIRST_SCREENS[mode]
    screen: Screen[Any] = getattr(import_module(f"mg_tui.tui.screens.{module}"), name)()
    return screen


def _palette_provider() -> type[Provider]:
    from mg_tui.tui.screens.palette_entries import PaletteProvider

    return PaletteProvider


class GardenApp(BaseApp):
    """Model Garden in a terminal."""

    TITLE = "Model Garden"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]
    COMMANDS: ClassVar[set[type[Provider] | Callable[[], type[Provider]]]] = {_palette_provider}
    MODES = {place.mode: partial(_create_first_screen, place.mode) for place in PLACES}  # noqa: RUF012  (as in Textual)
    DEFAULT_MODE = PLACES[0].mode

    def __init__(
        self,
        settings: Settings,
        open_run: "RunFolder | None" = None,
        graphics: TerminalGraphics = HALF_CELLS,
        *,
        start_queue: bool = False,
    ) -> None:
        """`start_queue`: soon after the first frame, start the waiters of queued runs that have none."""
        super().__init__(settings, graphics)
        self._initial_run, self._start_queue = open_run, start_queue

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number, code in ((signal.SIGHUP, HANGUP_EXIT_CODE), (signal.SIGTERM, SIGTERM_EXIT_CODE)):
            # Outside of the main thread (tests) there are no signals to handle.
            try:
                loop.add_signal_handler(number, partial(self.exit, return_code=code))
            except (RuntimeError, ValueError):
                break
        self.apply_keymap(self.settings.keys)
        self.set_timer(0.5, self.load_stylesheets)
        if self._start_queue:
            self.set_timer(0.5, lambda: self.run_commands.start_waiting_runs(self.settings))
            self.set_timer(2.0, gc.freeze)  # what exists by now lives on: collecting it only delays keys
        if self._initial_run is not None:
            self.open_run(self._initial_run)

    def on_unmount(self) -> None:
        self.runs_feed.stop()
        self.terminal_notices.close()

    # --- messages of the feeds

    def on_runs_updated(self, message: RunsUpdated) -> None:
        """Handled here and not by the list: Textual redraws a screen in full when the one below it changes."""
        first, previous = self.run_rows is None, {row.id: row.state for row in self.run_rows or ()}
        self.run_rows = message.rows
        if first and (count := sum(row.state is RunState.INTERRUPTED for row in message.rows)):
            runs = "1 run was" if count == 1 else f"{count} runs were"
            self.notify(f"{runs} interrupted by a restart; press r to resume.", markup=False, severity="warning")
        for row in message.rows:
            if previous.get(row.id) is RunState.RUNNING and row.state.ended:
                severity: SeverityLevel = "information" if row.state.good else "error"
                self.notify(f"{row.state.glyph} {row.state.label}: {row.title}", markup=False, severity=severity)
                self.terminal_notices.tell_end(row, self.settings)
        self.coalescer.schedule("runs", self._show_runs, at_once=first)

    def _show_runs(self) -> None:
        # A last update may come while the dashboard ends.
        if self._screen_stack and not self._exit and isinstance(self.screen, GardenScreen):
            self.screen.show_runs()
        self.terminal_notices.show_progress(self.run_rows or (), self.settings)

    def on_feed_failed(self, message: FeedFailed) -> None:
        if isinstance(self.screen, GardenScreen):
            self.screen.on_feed_failed(message)

    @property
    def running_titles(self) -> list[str]:
        """The titles of the running runs, as of the last read of the list."""
        return [row.title for row in self.run_rows or () if row.state is RunState.RUNNING]

    # --- navigation, see `BaseApp`

    def confirm(self, question: str, detail: str, yes: str, action: Callable[[], None]) -> None:
        from mg_tui.tui.screens.confirm import ConfirmScreen

        self.push_screen(ConfirmScreen(question, detail, yes), lambda confirmed: action() if confirmed else None)

    def ask_text(
        self,
        title: str,
        description: str,
        done: Callable[[str], None],
        *,
        value: str = "",
        placeholder: str = "",
        limit: int = 60,
    ) -> None:
        from mg_tui.tui.screens.choose import NameScreen

        screen = NameScreen(title, description, value=value, placeholder=placeholder, limit=limit, may_be_empty=True)
        self.push_screen(screen, lambda text: done(text) if text is not None else None)

    def open_run(self, folder: "RunFolder") -> None:
        from mg_tui.tui.screens.run import RunScreen

        self.push_screen(RunScreen(folder))

    def open_new_run_form(self, values: Mapping[str, object], *, cwd: Path | None = None, anew: bool = False) -> None:
        self._show_form(lambda form: form.fill(values, cwd=cwd, anew=anew))

    def open_dataset_form(self, values: Mapping[str, object]) -> None:
        self._show_form(lambda form: form.fill_from_dataset(values))

    def _show_form(self, fill: "Callable[[NewRunForm], None]") -> None:
        from mg_tui.tui.screens.new_form import NewRunForm

        self._go_to_first("new")
        self.call_next(lambda: fill(self.screen) if isinstance(self.screen, NewRunForm) else None)

    def open_rerun_form(self, folder: "RunFolder") -> None:
        self.run_worker(partial(self._load_rerun_spec, folder), thread=True, exit_on_error=False)

    def _load_rerun_spec(self, folder: "RunFolder") -> None:
        from mg_tui.core.errors import GardenError
        from mg_tui.runs.operations import rerun_spec

        try:
            rerun = rerun_spec(folder, {"output_dir": None}, cwd=Path.cwd())
        except GardenError as error:
            self.call_from_thread(self.notify_error, error)
        else:
            self.call_from_thread(partial(self.open_new_run_form, rerun.spec.model_dump(), cwd=rerun.cwd, anew=True))

    def open_dataset(self, reference: str) -> None:
        from mg_tui.tui.screens.dataset import DatasetScreen

        self._go_to_first("datasets")
        self.push_screen(DatasetScreen(reference))

    def open_model(self, reference: str) -> None:
        from mg_tui.tui.screens.models import ModelsScreen

        self._go_to_first("models")
        self.call_next(lambda: self.screen.go_to(reference) if isinstance(self.screen, ModelsScreen) else None)

    def open_setting(self, id: str) -> None:
        from mg_tui.tui.screens.settings import SettingsScreen

        self.action_settings()
        self.call_next(lambda: self.screen.table.go_to_field(id) if isinstance(self.screen, SettingsScreen) else None)

    def open_option(self, name: str) -> None:
        from mg_tui.tui.screens.new_form import NewRunForm

        self._go_to_first("new")
        self.call_next(lambda: self.screen.go_to_option(name) if isinstance(self.screen, NewRunForm) else None)

    def _go_to_first(self, mode: str) -> None:
        """Go to a place and back to its first screen."""
        if self.current_mode != mode:
            self.switch_mode(mode)
        while len(self.screen_stack) > 1:
            self.pop_screen()

    def open_replay(self, folder: "RunFolder") -> None:
        from mg_tui.tui.screens.replay import ReplayScreen

        self.push_screen(ReplayScreen(folder))

    def open_compare(self, folders: "list[RunFolder]") -> None:
        from mg_tui.tui.screens.compare import CompareScreen

        self.push_screen(CompareScreen(folders))

    def open_devices(self) -> None:
        from mg_tui.tui.screens.devices import DevicesScreen

        self.push_screen(DevicesScreen())

    def show_result_path(self, row: "RunRow") -> None:
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        folder = path_of(row.folder)
        note = "" if row.result_path is None else f"The result of {row.title}. The run itself is in {folder}"
        self.push_screen(PlainTextScreen("Path", row.result_path or folder, note or f"The folder of {row.title}."))

    # --- actions

    def action_notices(self) -> None:
        from mg_tui.tui.screens.messages import MessagesScreen

        self.push_screen(MessagesScreen(tuple(self.message_log)))

    def action_place(self, mode: str) -> None:
        """Go to a place; from a screen within it, back to its first."""
        if mode != self.current_mode:
            self.switch_mode(mode)
        else:
            while len(self.screen_stack) > 1:
                self.pop_screen()

    def action_keys(self) -> None:
        from mg_tui.tui.screens.help import HelpScreen

        ids = (active.binding.id for active in self.screen.active_bindings.values())
        self.push_screen(HelpScreen({ACTIONS_BY_ID[id].scope for id in ids if id in ACTIONS_BY_ID}))

    def action_command_palette(self) -> None:
        from mg_tui.tui.screens.palette import GardenPalette

        if not isinstance(self.screen, GardenPalette):
            self.push_screen(GardenPalette(id="--command-palette"))

    def action_settings(self) -> None:
        """Open the settings over the current screen."""
        from mg_tui.tui.screens.settings import SettingsScreen

        if not isinstance(self.screen, SettingsScreen):
            self.push_screen(SettingsScreen())

    def action_shade(self) -> None:
        self.theme = other_shade(self.theme, self.current_theme.dark)
        self.write_setting(("ui", "theme"), self.theme)

    def action_detach(self) -> None:
        self.exit()  # what was typed into the form of a new run is kept for the next session

    def action_help_quit(self) -> None:
        self.notify("Press q to quit; runs continue.", markup=False)
