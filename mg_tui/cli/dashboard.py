"""`model-garden` without a command: the dashboard."""

import os
import sys

from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.runs.elsewhere import Elsewhere, elsewhere_at


def run_dashboard(settings: Settings, open_run: str | None = None) -> None:
    """Open the dashboard, on the run that `open_run` refers to if set (see `mg_tui.runs.store.find_run`).

    Raises:
        UsageError: there is no terminal or no such run, or a key binding in garden.toml is invalid.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "The dashboard requires a terminal.",
            why="standard input or output is not a terminal",
            hint="`model-garden runs` lists runs, `model-garden --help` the commands",
        )
    folder = None
    if open_run is not None:
        from mg_tui.runs.store import find_run

        folder = find_run(settings.home, open_run)

    # Textual reads these when it is imported. Over a network fewer frames are sent; what is set already stays.
    from mg_tui.tui.terminal import exit_on_hangup, is_over_ssh

    if is_over_ssh(os.environ):
        os.environ.setdefault("TEXTUAL_FPS", "15")
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    _require_valid_keys(settings)
    from mg_tui.tui.app import GardenApp
    from mg_tui.tui.graphics import select_graphics

    # Shorter than the default of 5 ms, so that threads reading journals delay key presses less.
    sys.setswitchinterval(0.001)
    exit_on_hangup()

    there = elsewhere_at(settings.home)
    app = GardenApp(settings, folder, select_graphics(str(settings.ui.get("images", ""))), start_queue=there is None)
    app.run()
    if app.return_code:
        sys.exit(app.return_code)
    _print_still_running(app.running_titles, there)


def _require_valid_keys(settings: Settings) -> None:
    """Raises UsageError naming the file, the action and the key."""
    if not settings.keys:
        return
    from mg_tui.tui.keymap import find_problems

    for problem in find_problems(settings.keys):
        raise UsageError(str(problem), where=settings.origins.get(f"keys.{problem.action}"))


def _print_still_running(titles: list[str], there: Elsewhere | None) -> None:
    if titles:
        import click

        open_with = "model-garden" if there is None else f"model-garden --server {there.address}"
        runs = titles[0] if len(titles) == 1 else f"{len(titles)} runs"
        click.echo(f"{runs} still running; reopen with `{open_with}`.", err=True)
