"""What the list of runs shows: saved filters and the columns, both kept in the person's garden.toml."""

from mg_tui.config import Settings, user_config_file
from mg_tui.core.run_columns import DEFAULT_RUN_COLUMNS, RUN_COLUMN_KEYS, RUN_COLUMNS_BY_KEY
from mg_tui.core.settings import SETTINGS_BY_ID
from mg_tui.core.text import one_line
from mg_tui.tui.choice import Choice
from mg_tui.tui.screens.choose import ChooseScreen, NameScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.filter_screen import FilterScreen
from mg_tui.tui.widgets.runs.run_table import RunTable


def choose_filter(screen: FilterScreen) -> None:
    """Choose a saved filter, and filter by it."""
    filters = screen.dashboard.settings.filters
    choices = [Choice(name, name, words, marked=words == screen.filter_text) for name, words in filters.items()]

    async def apply(ids: tuple[str, ...] | None) -> None:
        if ids:
            await screen.set_filter(filters[ids[0]])

    screen.dashboard.push_screen(ChooseScreen("Saved filters", choices, help="F saves the current filter."), apply)


def save_or_remove_filter(screen: FilterScreen) -> None:
    """Ask for a name, and save the current filter under it; a filter that is saved already is removed."""
    words = screen.filter_text.strip()
    saved = next((name for name, other in screen.dashboard.settings.filters.items() if other == words), None)
    if saved is None:
        name_screen = NameScreen("Save the filter", f"{words}: kept in {user_config_file()}", placeholder="a name")
        screen.dashboard.push_screen(name_screen, lambda name: _write_filter(screen, name, words) if name else None)
    else:
        question = ConfirmScreen(
            f"Remove the saved filter {one_line(saved)}?", f"It is removed from {user_config_file()}.", "Remove"
        )
        screen.dashboard.push_screen(question, lambda yes: _write_filter(screen, saved, None) if yes else None)


def _write_filter(screen: FilterScreen, name: str, words: str | None) -> None:
    def done() -> None:
        screen.notify(f"Filter {name} {'saved: f applies it' if words else 'removed'}.", markup=False)
        screen.refresh_bindings()

    screen.dashboard.write_setting(("filters", name), words, done)


def choose_columns(screen: FilterScreen, table: RunTable) -> None:
    """Choose the columns; without any, those shown by default."""
    chosen = table.chosen
    # Those that are shown come first, in their order, so that a choice keeps it.
    keys = [*chosen, *(key for key in RUN_COLUMN_KEYS if key not in chosen)]
    choices = [
        Choice(key, RUN_COLUMNS_BY_KEY[key].title, RUN_COLUMNS_BY_KEY[key].help, marked=key in chosen) for key in keys
    ]

    def show() -> None:
        table.choose_columns(configured_columns(screen.dashboard.settings))

    def write(ids: tuple[str, ...] | None) -> None:
        if ids is not None:
            value = list(ids) if ids and ids != DEFAULT_RUN_COLUMNS else None
            screen.dashboard.write_setting(("ui", "run_columns"), value, show)

    screen.dashboard.push_screen(
        ChooseScreen("Columns", choices, several=True, help="None selected: the usual ones."), write
    )


def configured_columns(settings: Settings) -> tuple[str, ...]:
    """The columns of the settings."""
    return tuple(settings.value(SETTINGS_BY_ID["ui.run_columns"]))
