"""The dashboard's application: places, themes, signals, and the questions every screen asks the same way.

It owns nothing that a run needs: runs are other processes, and closing this one, however it happens, ends none.
"""

import asyncio
import gc
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.notifications import SeverityLevel
from textual.screen import Screen

from mg_tui.config import Settings
from mg_tui.core.text import printable
from mg_tui.runs.state import RunState
from mg_tui.tui.actions import ACTIONS, ACTIONS_BY_ID, Action, bindings
from mg_tui.tui.coalesce import UpdateCoalescer
from mg_tui.tui.feeds import FeedFailed, RunsFeed, RunsUpdated
from mg_tui.tui.graphics import HALF_CELLS, TerminalGraphics
from mg_tui.tui.places import PLACES
from mg_tui.tui.runs.commands import RunCommands
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.screens.messages import MAX_MESSAGES, LoggedMessage, MessagesScreen
from mg_tui.tui.terminal import HANGUP_EXIT_CODE
from mg_tui.tui.theme import DARK, DARK_NAME, LIGHT, LIGHT_NAME

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.tui.runs.snapshot import RunRow

CSS_FOLDER: Final = Path(__file__).with_name("css")
MAX_UPDATES_PER_SECOND: Final = 2.0  # screen updates a second
SIGTERM_EXIT_CODE: Final = 128 + signal.SIGTERM


class GardenApp(App[None]):
    """Model Garden in a terminal."""

    TITLE = "Model Garden"
    # What the first frame needs; `read_styles` reads the rest of the folder, which has a file a place.
    CSS_PATH = [CSS_FOLDER / "base.tcss", CSS_FOLDER / "runs.tcss"]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("app")]
    MODES = {place.mode: place.create_screen for place in PLACES}  # noqa: RUF012  (as Textual declares it)
    DEFAULT_MODE = PLACES[0].mode

    def __init__(
        self,
        settings: Settings,
        open_run: "RunFolder | None" = None,
        graphics: TerminalGraphics = HALF_CELLS,
        *,
        wake: bool = False,
    ) -> None:
        """`wake`: start what should be waiting in the queue and is not, soon after the first frame."""
        super().__init__()
        self.settings = settings
        self.next_settings: Settings | None = None  # as read after a change; some count from the next start on
        self._initial_run, self._start_queue = open_run, wake
        self._stylesheets_loaded = False
        self.update_period = 1 / min(
            max(_float_setting(settings.ui, "updates_per_second", MAX_UPDATES_PER_SECOND), 0.1), MAX_UPDATES_PER_SECOND
        )
        self.device_period = max(self.update_period, 1.0)
        self.coalescer = UpdateCoalescer(self, lambda: self.update_period)
        self.run_commands = RunCommands(self)
        self.graphics = graphics
        self.custom_keys: dict[str, tuple[str, ...]] = {}  # of the actions that a person gave other keys
        self.message_log: deque[LoggedMessage] = deque(maxlen=MAX_MESSAGES)
        self.run_rows: tuple[RunRow, ...] | None = None  # every run, newest first; None before they were first read
        self.runs_feed = RunsFeed(self, settings.home, self.update_period)
        if is_over_ssh(os.environ) and "TEXTUAL_ANIMATIONS" not in os.environ:
            self.animation_level = "none"
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        wanted = str(settings.ui.get("theme", DARK_NAME))
        wanted = wanted if wanted in self.available_themes else {"light": LIGHT_NAME}.get(wanted, DARK_NAME)
        # Setting it the usual way has the stylesheets read for Textual's own theme first, and then twice again.
        self.set_reactive(App.theme, wanted)
        self.set_class(self.current_theme.dark, "-dark-mode", update=False)
        self.set_class(not self.current_theme.dark, "-light-mode", update=False)
        self.stylesheet.set_variables(self.get_css_variables())

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
            self.set_timer(0.5, self.run_commands.start_waiting_runs)
            self.set_timer(2.0, gc.freeze)  # what is there now stays: searching it for garbage only delays keys
        if self._initial_run is not None:
            self.open_run(self._initial_run)

    def load_stylesheets(self) -> None:
        """Read the stylesheets of all places, once: before the first screen that is not the list, or a little later."""
        if not self._stylesheets_loaded:
            self._stylesheets_loaded = True
            for path in sorted(CSS_FOLDER.glob("*.tcss")):
                if path not in self.CSS_PATH:
                    self.stylesheet.read(path)
            self.stylesheet.parse()

    def on_unmount(self) -> None:
        self.runs_feed.stop()

    # --- what came

    def on_runs_updated(self, message: RunsUpdated) -> None:
        """Kept here and not by the list: Textual sends a screen whole when something moves on the one below it."""
        first, before = self.run_rows is None, {row.id: row.state for row in self.run_rows or ()}
        self.run_rows = message.rows
        if first and (count := sum(row.state is RunState.INTERRUPTED for row in message.rows)):
            what = "a run" if count == 1 else f"{count} runs"
            self.notify(f"A restart interrupted {what}; r on one goes on with it.", markup=False, severity="warning")
        for row in message.rows:
            if before.get(row.id) is RunState.RUNNING and row.state.ended:
                severity: SeverityLevel = "information" if row.state.good else "error"
                self.notify(f"{row.state.glyph} {row.state.label}: {row.title}", markup=False, severity=severity)
        self.coalescer.schedule("runs", self._show_runs, at_once=first)

    def _show_runs(self) -> None:
        # A last reading may come while the dashboard ends.
        if self._screen_stack and isinstance(self.screen, GardenScreen):
            self.screen.show_runs()

    def on_feed_failed(self, message: FeedFailed) -> None:
        if isinstance(self.screen, GardenScreen):
            self.screen.on_feed_failed(message)

    @property
    def running_titles(self) -> list[str]:
        """The titles of the runs that are running, as the list was last read."""
        return [row.title for row in self.run_rows or () if row.state is RunState.RUNNING]

    # --- what screens ask of it

    def open_run(self, folder: "RunFolder") -> None:
        """Show one run over the list."""
        from mg_tui.tui.screens.run import RunScreen

        self.push_screen(RunScreen(folder))

    def apply_keymap(self, keymap: Mapping[str, str]) -> None:
        """Give actions the keys a person wants, as far as they can have them; what they cannot have is said."""
        if not keymap and not self.custom_keys:
            return
        from mg_tui.tui.keymap import find_problems, parse_keys, usable_keymap

        chosen = usable_keymap(keymap)
        self.custom_keys = {name: parse_keys(keys) for name, keys in chosen.items()}
        self.set_keymap(chosen)
        for problem in find_problems(keymap):
            self.notify(str(problem), severity="warning", timeout=12)

    def open_new_run_form(self, values: Mapping[str, object], *, cwd: Path | None = None, anew: bool = False) -> None:
        """Go to the form of a new run with some of its fields filled in.

        Args:
            values: by the name of the field; names that are no field are ignored.
            cwd: the folder relative paths are seen from; as it was when left out.
            anew: every other field has its default.
        """
        if self.current_mode != "new":
            self.switch_mode("new")
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.call_next(self._fill_form, values, cwd, anew)

    def _fill_form(self, values: Mapping[str, object], cwd: Path | None, anew: bool) -> None:
        from mg_tui.tui.screens.new_form import NewRunForm

        if isinstance(self.screen, NewRunForm):
            self.screen.fill(values, cwd=cwd, anew=anew)

    def open_rerun_form(self, folder: "RunFolder") -> None:
        """Go to the form of a new run, filled in with what an old one was asked, but for where its result went."""
        self.run_worker(partial(self._load_rerun_spec, folder), thread=True, exit_on_error=False)

    def _load_rerun_spec(self, folder: "RunFolder") -> None:
        from mg_tui.core.errors import GardenError
        from mg_tui.runs.operations import rerun_spec

        try:
            again = rerun_spec(folder, {"output_dir": None}, cwd=Path.cwd())
        except GardenError as error:
            self.call_from_thread(partial(self.notify, "\n".join(error.lines()), severity="error", timeout=12))
        else:
            self.call_from_thread(partial(self.open_new_run_form, again.spec.model_dump(), cwd=again.cwd, anew=True))

    def open_replay(self, folder: "RunFolder") -> None:
        """Play a run's journal."""
        from mg_tui.tui.screens.replay import ReplayScreen

        self.push_screen(ReplayScreen(folder))

    def open_compare(self, folders: "list[RunFolder]") -> None:
        """Show several runs beside each other."""
        from mg_tui.tui.screens.compare import CompareScreen

        self.push_screen(CompareScreen(folders))

    def open_devices(self) -> None:
        """Show the devices in full."""
        from mg_tui.tui.screens.devices import DevicesScreen

        self.push_screen(DevicesScreen())

    def show_result_path(self, row: "RunRow") -> None:
        """Show where a run's result is, or the run, to be copied."""
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        folder = str(row.folder.path)
        about = "" if row.result_path is None else f"The result of {row.title}. The run itself is in {folder}"
        self.push_screen(
            PlainTextScreen("Where it is", row.result_path or folder, about or f"The folder of {row.title}.")
        )

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A passing message, as text unless `markup` is asked for; it is kept to be read later."""
        message, title = printable(message), printable(title)
        self.message_log.append(LoggedMessage(time.time(), severity, title, message))
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    # --- actions

    def action_notices(self) -> None:
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
        self.push_screen(HelpScreen({ACTIONS_BY_ID[name].scope for name in ids if name in ACTIONS_BY_ID}))

    def action_settings(self) -> None:
        """Show the settings over what is there."""
        from mg_tui.tui.screens.settings import SettingsScreen

        if not isinstance(self.screen, SettingsScreen):
            self.push_screen(SettingsScreen())

    def action_shade(self) -> None:
        self.theme = LIGHT_NAME if self.theme == DARK_NAME else DARK_NAME

    def action_detach(self) -> None:
        self.exit()

    def action_help_quit(self) -> None:
        self.notify("q leaves the dashboard; runs go on.", markup=False)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """What the palette offers: every action that applies to `screen` now."""
        here = {active.binding.id for active in screen.active_bindings.values() if active.enabled}
        for action in ACTIONS:
            if action.in_palette and action.id in here:
                yield SystemCommand(action.title, action.help, partial(self._run_palette_action, screen, action))

    async def _run_palette_action(self, screen: Screen[object], action: Action) -> None:
        await self.run_action(action.name, self if action.scope == "app" else screen)


def is_over_ssh(environ: Mapping[str, str]) -> bool:
    """Whether the terminal is at the other end of a network."""
    return any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"))


def _float_setting(values: Mapping[str, object], name: str, default: float) -> float:
    value = values.get(name, default)
    try:
        return float(str(value))
    except ValueError:
        return default
