"""Presets of the form of a new run: applying, saving and removing them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mg_tui.config import user_config_file, write_config_value
from mg_tui.core.errors import GardenError
from mg_tui.core.presets import BUILT_IN_PRESETS, PRESET_DESCRIPTIONS
from mg_tui.core.text import one_line
from mg_tui.tui.choice import Choice
from mg_tui.tui.formatting import as_typed
from mg_tui.tui.new.draft import RunDraft
from mg_tui.tui.screens.choose import ChooseScreen, NameScreen
from mg_tui.tui.screens.confirm import ConfirmScreen

if TYPE_CHECKING:
    from mg_tui.tui.screens.new_form import NewRunForm


def choose_preset(screen: "NewRunForm") -> None:
    """Choose a preset, and fill the form with it."""
    own = screen.dashboard.settings.presets
    choices = [Choice(name, name, "yours", _format_values(values)) for name, values in own.items()]
    choices += [
        Choice(name, name, PRESET_DESCRIPTIONS[name], f"{PRESET_DESCRIPTIONS[name]} {_format_values(values)}")
        for name, values in BUILT_IN_PRESETS.items()
        if name not in own
    ]

    def apply(ids: tuple[str, ...] | None) -> None:
        if ids:
            values = own.get(ids[0], BUILT_IN_PRESETS.get(ids[0], {}))
            screen.unsaved = True
            screen.fill(values)
            screen.notify(f"{one_line(ids[0])}: {_format_values(values)}", markup=False)

    screen.push_over_form(ChooseScreen("Presets", choices), apply)


def save_preset(screen: "NewRunForm") -> None:
    """Ask for a name, and write what differs from the defaults under it."""
    draft: RunDraft | None = screen.draft
    values = draft.preset_values() if draft is not None else {}
    if draft is None or draft.partial_spec is None or not values:
        why = "the form has invalid values" if draft is not None and draft.problems else "every option has its default"
        screen.notify(f"Nothing to save: {why}.", severity="warning", markup=False)
        screen.table.release_keys()
        return

    def save(name: str | None) -> None:
        if name is not None:
            _write_preset(screen, name, values, f"saved as {name}")

    description = f"Saved in {user_config_file()}: {_format_values(values)}"
    screen.push_over_form(NameScreen("Save as a preset", description), save)


def remove_preset(screen: "NewRunForm") -> None:
    """Choose one of the person's own presets, confirm, and remove it."""
    own = screen.dashboard.settings.presets
    choices = [Choice(name, name, "", _format_values(values)) for name, values in own.items()]

    def confirm(ids: tuple[str, ...] | None) -> None:
        if ids:
            question = ConfirmScreen(
                f"Remove the preset {one_line(ids[0])}?", f"It is removed from {user_config_file()}.", "Remove"
            )
            screen.push_over_form(
                question, lambda yes: _write_preset(screen, ids[0], None, f"{ids[0]} removed") if yes else None
            )

    screen.push_over_form(ChooseScreen("Remove a preset", choices), confirm)


def _write_preset(screen: "NewRunForm", name: str, values: Mapping[str, Any] | None, message: str) -> None:
    def work() -> None:
        try:
            write_config_value(user_config_file(), ("presets", name), values)
        except GardenError as error:
            screen.app.call_from_thread(screen.dashboard.notify_error, error)
        else:
            screen.app.call_from_thread(_preset_written, screen, name, values, message)

    screen.run_worker(work, thread=True, exit_on_error=False)


def _preset_written(screen: "NewRunForm", name: str, values: Mapping[str, Any] | None, message: str) -> None:
    settings = screen.dashboard.settings
    presets = {**settings.presets, name: values} if values is not None else dict(settings.presets)
    if values is None:
        presets.pop(name, None)
    screen.dashboard.settings = replace(settings, presets=presets)
    screen.notify(message, markup=False)
    screen.refresh_bindings()


def _format_values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {as_typed(value)}" for name, value in values.items())
