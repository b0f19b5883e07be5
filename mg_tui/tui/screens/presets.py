"""Presets of the form of a new run: taken, saved and removed."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mg_tui.config import user_file, write_value
from mg_tui.core.errors import GardenError
from mg_tui.core.presets import ABOUT, BUILT_IN
from mg_tui.core.text import one_line
from mg_tui.tui.new.draft import Draft
from mg_tui.tui.screens.choose import Choice, ChooseScreen, NameScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.words import written

if TYPE_CHECKING:
    from mg_tui.tui.screens.newform import NewForm


def take_preset(screen: "NewForm") -> None:
    """Let one be chosen, and fill the form with it."""
    own = screen.garden.settings.presets
    choices = [Choice(name, name, "yours", _values_said(values)) for name, values in own.items()]
    choices += [
        Choice(name, name, ABOUT[name], f"{ABOUT[name]} {_values_said(values)}")
        for name, values in BUILT_IN.items()
        if name not in own
    ]

    def chosen(ids: tuple[str, ...] | None) -> None:
        if ids:
            values = own.get(ids[0], BUILT_IN.get(ids[0], {}))
            screen.fill(values)
            screen.notify(f"{one_line(ids[0])}: {_values_said(values)}", markup=False)

    screen.over_form(ChooseScreen("Presets", choices), chosen)


def save_preset(screen: "NewForm") -> None:
    """Ask for a name and write what differs under it."""
    draft: Draft | None = screen.draft
    values = draft.preset() if draft is not None else {}
    if draft is None or draft.outline is None or not values:
        why = (
            "something in the form is wrong"
            if draft is not None and draft.problems
            else "nothing that a preset keeps differs"
        )
        screen.notify(f"There is nothing to save: {why}.", severity="warning", markup=False)
        screen.table.release()
        return

    def named(name: str | None) -> None:
        if name is not None:
            _write(screen, name, values, f"saved as {name}")

    about = f"Kept in {user_file()}: {_values_said(values)}"
    screen.over_form(NameScreen("Save as a preset", about), named)


def forget_preset(screen: "NewForm") -> None:
    """Let one of the person's own be chosen, ask, and take it out."""
    own = screen.garden.settings.presets
    choices = [Choice(name, name, "", _values_said(values)) for name, values in own.items()]

    def chosen(ids: tuple[str, ...] | None) -> None:
        if ids:
            question = ConfirmScreen(
                f"Remove the preset {one_line(ids[0])}?", f"It is taken out of {user_file()}.", "Yes, remove"
            )
            screen.over_form(
                question, lambda yes: _write(screen, ids[0], None, f"{ids[0]} is removed") if yes else None
            )

    screen.over_form(ChooseScreen("Remove a preset", choices), chosen)


def _write(screen: "NewForm", name: str, values: Mapping[str, Any] | None, said: str) -> None:
    def work() -> None:
        try:
            write_value(user_file(), ("presets", name), values)
        except GardenError as error:
            screen.app.call_from_thread(
                partial(screen.notify, "\n".join(error.lines()), severity="error", timeout=12, markup=False)
            )
        else:
            screen.app.call_from_thread(_written, screen, name, values, said)

    screen.run_worker(work, thread=True, exit_on_error=False)


def _written(screen: "NewForm", name: str, values: Mapping[str, Any] | None, said: str) -> None:
    settings = screen.garden.settings
    presets = {**settings.presets, name: values} if values is not None else dict(settings.presets)
    if values is None:
        presets.pop(name, None)
    screen.garden.settings = replace(settings, presets=presets)
    screen.notify(said, markup=False)
    screen.refresh_bindings()


def _values_said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {written(value)}" for name, value in values.items())
