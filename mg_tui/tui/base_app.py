"""What screens use of the application. It imports no screen, so that every screen can import it.

`mg_tui.tui.app.GardenApp` implements the navigation, which needs the screens.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual import events
from textual.actions import ActionParseResult
from textual.app import App
from textual.dom import DOMNode
from textual.notifications import SeverityLevel

from mg_tui.config import Settings
from mg_tui.core.errors import GardenError
from mg_tui.core.text import printable
from mg_tui.runs.elsewhere import Elsewhere, elsewhere_at
from mg_tui.tui.actions import ACTIONS_BY_ID
from mg_tui.tui.coalesce import UpdateCoalescer
from mg_tui.tui.device_history import DeviceHistory
from mg_tui.tui.graphics import HALF_CELLS, TerminalGraphics
from mg_tui.tui.key_queue import KeyBarrier, KeyQueue
from mg_tui.tui.messages import MAX_MESSAGES, LoggedMessage
from mg_tui.tui.runs.annotator import RunAnnotator
from mg_tui.tui.runs.commands import RunCommands
from mg_tui.tui.runs.feeds import RunsFeed
from mg_tui.tui.runs.terminal_notices import TerminalNotices
from mg_tui.tui.terminal import is_over_ssh
from mg_tui.tui.theme import DARK, DARK_NAME, LIGHT, LIGHT_NAME, variable_defaults

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.tui.runs.snapshot import RunRow

CSS_FOLDER: Final = Path(__file__).with_name("css")
MAX_UPDATES_PER_SECOND: Final = 2.0  # screen updates
MIN_UPDATES_PER_SECOND: Final = 0.1
ERROR_SECONDS: Final = 12.0  # how long an error or a warning stays on the screen


class BaseApp(App[None]):
    """State and services that every screen shares.

    Attributes:
        settings: the settings in force.
        elsewhere: the server whose runs these are; None for those of this machine.
        next_settings: the settings as read after a change; some take effect at the next start. None without a change.
        update_period, device_period: least seconds between two updates of the screen, and between two device samples.
        run_commands, run_annotator: what is done to runs, and written on them.
        key_queue: delivers keys one after the other.
        custom_keys: keys by the id of the action, of actions that `[keys]` gives other keys.
        terminal_notices: window title, bell and desktop notifications.
        device_history: what the devices did lately, as the screens sampled them.
        message_log: messages that were notified, oldest first.
        run_rows: every run, newest first; None before the first read.
    """

    # What the first frame needs; `load_stylesheets` reads the rest of the folder.
    CSS_PATH = [CSS_FOLDER / "base.tcss", CSS_FOLDER / "runs.tcss"]  # noqa: RUF012  (as Textual declares it)

    def __init__(self, settings: Settings, graphics: TerminalGraphics = HALF_CELLS) -> None:
        super().__init__()
        self.settings = settings
        self.elsewhere: Elsewhere | None = elsewhere_at(settings.home)
        self.next_settings: Settings | None = None
        self.graphics = graphics
        self._stylesheets_loaded = False
        rate = _float_setting(settings.ui, "updates_per_second", MAX_UPDATES_PER_SECOND)
        self.update_period = 1 / min(max(rate, MIN_UPDATES_PER_SECOND), MAX_UPDATES_PER_SECOND)
        self.device_period = max(self.update_period, 1.0)
        self.coalescer = UpdateCoalescer(self, lambda: self.update_period)
        self.key_queue = KeyQueue(self)
        self.custom_keys: dict[str, tuple[str, ...]] = {}
        self.message_log: deque[LoggedMessage] = deque(maxlen=MAX_MESSAGES)
        self.run_rows: tuple[RunRow, ...] | None = None
        self.device_history = DeviceHistory()
        self.terminal_notices = TerminalNotices(self)
        self.runs_feed = RunsFeed(self, settings.home, self.update_period, settings.cost)
        self.run_commands = RunCommands(self, self.confirm, self.notify_error, self.runs_feed.resume)
        self.run_annotator = RunAnnotator(self.run_commands, self.ask_text)
        if is_over_ssh(os.environ) and "TEXTUAL_ANIMATIONS" not in os.environ:
            self.animation_level = "none"
        self._set_first_theme(str(settings.ui.get("theme", DARK_NAME)))

    def _set_first_theme(self, name: str) -> None:
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        name = name if name in self.available_themes else {"light": LIGHT_NAME}.get(name, DARK_NAME)
        # Setting it the usual way parses the stylesheets for Textual's own theme first, and then twice again.
        self.set_reactive(App.theme, name)
        self.set_class(self.current_theme.dark, "-dark-mode", update=False)
        self.set_class(not self.current_theme.dark, "-light-mode", update=False)
        self.stylesheet.set_variables(self.get_css_variables())

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return variable_defaults(self.current_theme)

    def load_stylesheets(self) -> None:
        """Read the stylesheets of all places, once: before the first screen other than the list, or soon after it."""
        if not self._stylesheets_loaded:
            self._stylesheets_loaded = True
            for path in sorted(CSS_FOLDER.glob("*.tcss")):
                if path not in self.CSS_PATH:
                    self.stylesheet.read(path)
            self.stylesheet.parse()

    def apply_keymap(self, keymap: Mapping[str, str]) -> None:
        """Give actions the keys of `[keys]`, as far as they are valid; a warning names those that are not."""
        if not keymap and not self.custom_keys:
            return
        from mg_tui.tui.keymap import find_problems, parse_keys, usable_keymap

        valid = usable_keymap(keymap)
        self.custom_keys = {id: parse_keys(keys) for id, keys in valid.items()}
        self.set_keymap(valid)
        for problem in find_problems(keymap):
            self.notify(str(problem), severity="warning", timeout=ERROR_SECONDS)

    # --- keys

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded and not self.key_queue.admits(event):
            return
        if isinstance(event, events.Key | events.Paste) and not self.accepts_typing(event):
            return
        await super().on_event(event)

    def accepts_typing(self, event: events.Key | events.Paste) -> bool:
        """Whether the screen on top takes `event`: a question ignores what was typed before it was drawn."""
        accepts: Callable[[events.Event], bool] | None = getattr(self.screen, "accepts", None)
        return accepts is None or accepts(event)

    async def run_action(
        self,
        action: "str | ActionParseResult",
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """As Textual's; an action that does not work on a server's runs says why instead."""
        if self.elsewhere is not None and isinstance(action, str):
            why = self._why_local_only(action, default_namespace)
            if why is not None:
                self.notify(f"Not with --server: {why}", severity="warning")
                return True
        return await super().run_action(action, default_namespace, namespaces)

    def _why_local_only(self, action: str, namespace: DOMNode | None) -> str | None:
        """Why an action that applies now does not work on a server's runs; None when it does, or does not apply."""
        owner, _, name = action.partition(".")
        node: DOMNode = {"app": self, "screen": self.screen}.get(owner) or namespace or self
        name = name if owner in ("app", "screen") else action
        for bindings in node._bindings.key_to_bindings.values():
            for binding in bindings:
                known = ACTIONS_BY_ID.get(binding.id or "")
                if known is not None and known.local_only and name in (binding.action, known.textual_action):
                    applies = "(" in name or node.check_action(name, ())
                    return known.local_only if applies else None
        return None

    def on_key_barrier(self, message: KeyBarrier) -> None:
        message.passed.set()

    def exit(self, *args: Any, **kwargs: Any) -> None:
        self.key_queue.close()  # keys typed after q open nothing
        super().exit(*args, **kwargs)

    # --- messages

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """A passing message, as text unless `markup`; the message log keeps it."""
        message, title = printable(message), printable(title)
        self.message_log.append(LoggedMessage(time.time(), severity, title, message))
        super().notify(message, title=title, severity=severity, timeout=timeout, markup=markup)

    def notify_error(self, error: GardenError, title: str = "") -> None:
        """Show an error with its lines (where, why, hint) as a passing message."""
        self.notify("\n".join(error.lines()), title=title, severity="error", timeout=ERROR_SECONDS)

    # --- settings

    def write_setting(self, keys: Sequence[str], value: Any, done: Callable[[], None] | None = None) -> None:
        """Write a value of the person's garden.toml in a thread, put it in force, and call `done`; None removes it."""
        self.run_worker(partial(self._write_setting, keys, value, done), thread=True, exit_on_error=False)

    def _write_setting(self, keys: Sequence[str], value: Any, done: Callable[[], None] | None) -> None:
        from mg_tui.config import load_settings, user_config_file, write_config_value

        current = self.next_settings or self.settings
        try:
            write_config_value(user_config_file(), keys, value)
            # As the next start will read them, but with the home that a flag of this start named.
            home = current.home if current.origins.get("paths.home") == "--home" else None
            written = load_settings(home=home)
        except GardenError as error:
            self.call_from_thread(self.notify_error, error)
        else:
            self.call_from_thread(self._after_write, written, done)

    def _after_write(self, written: Settings, done: Callable[[], None] | None) -> None:
        # Home and cache change at the next start: this dashboard has them open.
        self.next_settings = written
        self.settings = replace(written, home=self.settings.home, cache=self.settings.cache)
        if done is not None:
            done()

    # --- navigation, implemented by `GardenApp`

    def confirm(self, question: str, detail: str, yes: str, action: Callable[[], None]) -> None:
        """Ask a question; `action` is called when the answer is yes. `yes` is that answer's label."""
        raise NotImplementedError

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
        """Ask for a text of one line, which may be empty; `done` is called with it unless the question is closed."""
        raise NotImplementedError

    def open_run(self, folder: "RunFolder") -> None:
        """Show one run over the list."""
        raise NotImplementedError

    def open_new_run_form(self, values: Mapping[str, object], *, cwd: Path | None = None, anew: bool = False) -> None:
        """Go to the form of a new run with some of its fields filled in.

        Args:
            values: by the name of the field; other names are ignored.
            cwd: the folder that relative paths start from; unchanged when left out.
            anew: reset every other field to its default.
        """
        raise NotImplementedError

    def open_dataset_form(self, values: Mapping[str, object]) -> None:
        """Go to the form of a new run on a dataset; see `NewRunForm.fill_from_dataset`."""
        raise NotImplementedError

    def open_rerun_form(self, folder: "RunFolder") -> None:
        """Go to the form of a new run, filled in with the options of an old run except its output folder."""
        raise NotImplementedError

    def open_dataset(self, reference: str) -> None:
        """Show a dataset's rows."""
        raise NotImplementedError

    def open_model(self, reference: str) -> None:
        """Go to a model in the list of models."""
        raise NotImplementedError

    def open_setting(self, id: str) -> None:
        """Go to a setting."""
        raise NotImplementedError

    def open_option(self, name: str) -> None:
        """Go to an option in the form of a new run."""
        raise NotImplementedError

    def open_replay(self, folder: "RunFolder") -> None:
        """Replay a run's journal."""
        raise NotImplementedError

    def open_compare(self, folders: "list[RunFolder]") -> None:
        """Compare several runs."""
        raise NotImplementedError

    def open_devices(self) -> None:
        """Show the devices in full."""
        raise NotImplementedError

    def show_result_path(self, row: "RunRow") -> None:
        """Show the path of a run's result, or of the run, to be copied."""
        raise NotImplementedError


def _float_setting(values: Mapping[str, object], name: str, default: float) -> float:
    value = values.get(name, default)
    try:
        return float(str(value))
    except ValueError:
        return default
