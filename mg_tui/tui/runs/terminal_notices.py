"""Tells about runs outside of the dashboard: the window title has their progress, and their end rings the terminal."""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from textual.app import App

from mg_tui.config import Settings
from mg_tui.core.settings import SETTINGS_BY_ID
from mg_tui.core.terminal_notice import RESTORE_TITLE, SAVE_TITLE, end_notice, window_title
from mg_tui.runs.state import RunState

if TYPE_CHECKING:
    from mg_tui.tui.runs.snapshot import RunRow

APP_TITLE: Final = "Model Garden"


def title_of(rows: "Iterable[RunRow]") -> str:
    """The window title: `62% invoices-v2 · Model Garden`; of several running runs, the first and their number."""
    running = [row for row in rows if row.state is RunState.RUNNING]
    if not running:
        return APP_TITLE
    row = max(running, key=lambda row: row.progress or 0.0)
    share = "" if row.progress is None else f"{row.progress:.0%} "
    more = f" +{len(running) - 1}" if len(running) > 1 else ""
    return f"{row.state.glyph} {share}{row.title}{more} · {APP_TITLE}"


class TerminalNotices:
    """Writes to the terminal of an application, past its screen."""

    def __init__(self, app: App[Any], environ: Mapping[str, str] = os.environ) -> None:
        self._app, self._environ = app, environ
        self._title = ""

    def write(self, sequence: str) -> None:
        """Write to the terminal, if there is one."""
        driver = self._app._driver
        if sequence and driver is not None and not self._app.is_headless:
            driver.write(sequence)

    def show_progress(self, rows: "Iterable[RunRow]", settings: Settings) -> None:
        """Put the progress of the running runs into the window title; written only when it changed."""
        title = title_of(rows) if settings.value(SETTINGS_BY_ID["ui.terminal_title"]) else ""
        if title == self._title:
            return
        before, self._title = self._title, title
        if not title:
            self.write(RESTORE_TITLE)
        else:
            self.write(("" if before else SAVE_TITLE) + window_title(title, self._environ))

    def tell_end(self, row: "RunRow", settings: Settings) -> None:
        """Ring the terminal because a run ended, in the way of the setting `[ui] notify`."""
        mode = str(settings.value(SETTINGS_BY_ID["ui.notify"]))
        self.write(end_notice(APP_TITLE, f"{row.title} {row.state.label}", mode, self._environ))

    def close(self) -> None:
        """Restore the title that the window had."""
        if self._title:
            self.write(RESTORE_TITLE)
            self._title = ""
