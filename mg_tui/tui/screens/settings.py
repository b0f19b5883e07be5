"""The settings: what each is, where its value comes from, and the keys of actions. Written to one's own garden.toml."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType

from mg_tui.config import DEFAULT_ORIGIN, Settings, user_config_file, write_config_value
from mg_tui.core.errors import GardenError
from mg_tui.core.settings import SETTINGS, SETTINGS_BY_ID, Setting
from mg_tui.tui.actions import ACTIONS, SCOPE_TITLES, Action, bindings
from mg_tui.tui.actions import ACTIONS_BY_ID as ACTION_BY_ID
from mg_tui.tui.formatting import as_typed
from mg_tui.tui.keymap import find_problems, keys_for
from mg_tui.tui.screens.form import FieldDescription, FormScreen
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.form.field_help import FieldHelp, FieldHelpPane
from mg_tui.tui.widgets.form.table import FormRow

_KEY_PREFIX: Final = "keys."


@dataclass(frozen=True, slots=True)
class KeyField:
    """The keys of an action, as a field."""

    title: str
    kind: str = "text"
    choices: tuple[str, ...] = ()


class SettingsScreen(FormScreen):
    """Opened over any place."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("settings")]

    def __init__(self) -> None:
        super().__init__()
        self.expanded_groups: set[str] = set()

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield from self.compose_form()
        yield FieldHelpPane()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = "Settings"
        self.draw_form()

    # --- the form

    @property
    def current(self) -> Settings:
        """What is set now, be it for the next start."""
        return self.dashboard.next_settings or self.dashboard.settings

    def form_rows(self) -> list[FormRow]:
        rows = [self._row(setting) for setting in SETTINGS]
        for where, heading in SCOPE_TITLES.items():
            actions = [action for action in ACTIONS if action.scope == where]
            changed = sum(action.id in self.current.keys for action in actions)
            shown = where in self.expanded_groups
            note = f"{len(actions)}{f', {changed} changed' if changed else ''}"
            rows.append(FormRow(where, f"Keys · {heading}", note, "group", changed=bool(changed), expanded=shown))
            rows += [self._key_row(action) for action in actions if shown]
        return rows

    def _row(self, setting: Setting) -> FormRow:
        return FormRow(
            setting.id,
            setting.title,
            self.value_text(setting.id),
            setting.kind,
            setting.unit,
            changed=self.current.origins.get(setting.id, DEFAULT_ORIGIN) != DEFAULT_ORIGIN,
        )

    def _key_row(self, action: Action) -> FormRow:
        id = _KEY_PREFIX + action.id
        wrong = any(problem.action == action.id for problem in find_problems(self.current.keys))
        return FormRow(
            id, action.title, self.value_text(id), "text", changed=action.id in self.current.keys, invalid=wrong
        )

    def field(self, id: str) -> FieldDescription:
        return KeyField(_action_for(id).title) if id.startswith(_KEY_PREFIX) else SETTINGS_BY_ID[id]

    def value_text(self, id: str) -> str:
        if id.startswith(_KEY_PREFIX):
            return ", ".join(keys_for(_action_for(id), self.current.keys))
        return as_typed(self.current.value(SETTINGS_BY_ID[id]))

    def validate_value(self, id: str, text: str) -> str:
        if id.startswith(_KEY_PREFIX):
            name = _action_for(id).id
            found = find_problems({**self.current.keys, name: _normalize_keys(text)})
            return next((str(problem) for problem in found if problem.action == name), "")
        setting = SETTINGS_BY_ID[id]
        try:
            setting.read(text)
        except ValueError as error:
            return f"[{setting.table}] {setting.name}: {error}"
        return ""

    def field_help(self, id: str, group: bool) -> FieldHelp:
        if group:
            names = ", ".join(action.title for action in ACTIONS if action.scope == id)
            return FieldHelp(f"Keys · {SCOPE_TITLES[id]}", help=names, accepted="enter unfolds and folds it.")
        if id.startswith(_KEY_PREFIX):
            action = _action_for(id)
            note = f'[keys] "{action.id}"'
            default = f"default {', '.join(action.keys)}"
            return FieldHelp(action.title, note, action.help, "Give a key, or several with commas.", default=default)
        setting = SETTINGS_BY_ID[id]
        later = " From the next start on." if setting.needs_restart else ""
        return FieldHelp(
            setting.title,
            f"[{setting.table}] {setting.name} · {setting.env_variable}",
            setting.help + later,
            setting.accepted[:1].upper() + setting.accepted[1:] + ".",
            default=f"from {self._origin(setting)}",
        )

    def _origin(self, setting: Setting) -> str:
        origin = self.current.origins.get(setting.id, DEFAULT_ORIGIN)
        if origin == DEFAULT_ORIGIN:
            return "the default"
        path = Path(origin)
        return f"{path.parent.name}/{path.name}" if path.is_absolute() else origin

    def toggle_group(self, id: str) -> None:
        self.expanded_groups ^= {id}
        self.draw_form()

    # --- changing

    def set_value(self, id: str, value: Any) -> None:
        problem = self.validate_value(id, str(value))
        if problem:
            self.notify(problem, severity="error", timeout=12, markup=False)
        elif id.startswith(_KEY_PREFIX):
            self._write_setting(("keys", _action_for(id).id), _normalize_keys(str(value)))
        else:
            setting = SETTINGS_BY_ID[id]
            self._write_setting((setting.table, setting.name), setting.read(value))

    def reset(self, id: str) -> None:
        keys = (
            ("keys", _action_for(id).id)
            if id.startswith(_KEY_PREFIX)
            else (SETTINGS_BY_ID[id].table, SETTINGS_BY_ID[id].name)
        )
        self._write_setting(keys, None)

    def _write_setting(self, keys: Sequence[str], value: Any) -> None:
        def work() -> None:
            from mg_tui.config import load_settings

            try:
                write_config_value(user_config_file(), keys, value)
                # Read as at the next start, but for the home that a flag of this start names.
                flagged = self.current.home if self.current.origins.get("paths.home") == "--home" else None
                read = load_settings(home=flagged)
            except GardenError as error:
                said = "\n".join(error.lines())
                self.app.call_from_thread(partial(self.notify, said, severity="error", timeout=12, markup=False))
            else:
                self.app.call_from_thread(self._after_write, ".".join(keys), read)

        self.run_worker(work, thread=True, exit_on_error=False)

    def _after_write(self, id: str, read: Settings) -> None:
        app = self.dashboard
        # Where runs and caches are counts from the next start on: this dashboard has them open.
        app.next_settings = read
        app.settings = replace(read, home=app.settings.home, cache=app.settings.cache)
        setting = SETTINGS_BY_ID.get(id)
        if setting is None:
            app.apply_keymap(app.settings.keys)
        elif setting.id == "ui.theme":
            app.theme = str(app.settings.value(setting))
        if setting is not None:
            self._notify_overridden(setting)
        if self.is_current:
            self.draw_form()
            self.refresh_bindings()

    def _notify_overridden(self, setting: Setting) -> None:
        origin = self.current.origins.get(setting.id, DEFAULT_ORIGIN)
        if origin not in (DEFAULT_ORIGIN, str(user_config_file())):
            said = f"{setting.title}: written, but {origin} says otherwise and wins."
            self.notify(said, severity="warning", timeout=12, markup=False)
        elif setting.needs_restart:
            self.notify(f"{setting.title}: from the next start on.", markup=False)

    # --- actions

    def action_back(self) -> None:
        self.dismiss(None)

    def action_file(self) -> None:
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        own = user_config_file()
        read = [str(path) for path in self.current.sources] or ["none was there at the start"]
        about = "Read, later ones over earlier ones: " + ", ".join(read)
        self.app.push_screen(PlainTextScreen("Your own garden.toml", str(own), about))


def _action_for(id: str) -> Action:
    return ACTION_BY_ID[id.removeprefix(_KEY_PREFIX)]


def _normalize_keys(text: str) -> str:
    return ",".join(part.strip() for part in text.split(",") if part.strip())
