"""Navigation in lists and texts, with the same keys everywhere."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"list": "Lists", "log": "Scrolling text"}

ACTIONS: Final = (
    Action("list.down", ("j", "down"), "Next", "Move to the next one.", "list", "Moving", in_palette=False),
    Action("list.up", ("k", "up"), "Previous", "Move to the previous one.", "list", "Moving", in_palette=False),
    Action("list.top", ("g", "home"), "First", "Move to the first one.", "list", "Moving", in_palette=False),
    Action("list.bottom", ("G", "end"), "Last", "Move to the last one.", "list", "Moving", in_palette=False),
    Action(
        "list.page_down", ("pagedown", "ctrl+d"), "Page down", "Move down a page.", "list", "Moving", in_palette=False
    ),
    Action("list.page_up", ("pageup", "ctrl+u"), "Page up", "Move up a page.", "list", "Moving", in_palette=False),
    Action("log.scroll_down", ("j", "down"), "Down", "Scroll down a line.", "log", "Moving", in_palette=False),
    Action("log.scroll_up", ("k", "up"), "Up", "Scroll up a line.", "log", "Moving", in_palette=False),
    Action("log.scroll_home", ("g", "home"), "Top", "Scroll to the first line.", "log", "Moving", in_palette=False),
    Action("log.scroll_end", ("G", "end"), "End", "Scroll to the last line.", "log", "Moving", in_palette=False),
    Action(
        "log.page_down", ("pagedown", "ctrl+d"), "Page down", "Scroll down a page.", "log", "Moving", in_palette=False
    ),
    Action("log.page_up", ("pageup", "ctrl+u"), "Page up", "Scroll up a page.", "log", "Moving", in_palette=False),
)
