"""The settings with their origins, and the keys of actions. Changes are written to the user's garden.toml."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType

from mg_tui.config import DEFAULT_ORIGIN, Settings, user_config_file
from mg_tui.core.settings import SETTINGS, SETTINGS_BY_ID, Setting
from mg_tui.tui.actions import ACTIONS, ACTIONS_BY_ID, SCOPE_TITLES, Action, bindings
from mg_tui.tui.form_row import FieldHelp, FormRow
from mg_tui.tui.formatting import as_typed
from mg_tui.tui.keymap import find_problems, keys_for
from mg_tui.tui.screens.form import FieldDescription, FormScreen
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.form.field_help import FieldHelpPane

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
        """The settings as written, some of which take effect at the next start."""
        return self.dashboard.next_settings or self.dashboard.settings

    def form_rows(self) -> list[FormRow]:
        rows = [self._row(setting) for setting in SETTINGS]
        for scope, title in SCOPE_TITLES.items():
            actions = [action for action in ACTIONS if action.scope == scope]
            changed = sum(action.id in self.current.keys for action in actions)
            expanded = scope in self.expanded_groups
            note = f"{len(actions)}{f', {changed} changed' if changed else ''}"
            rows.append(FormRow(scope, f"Keys · {title}", note, "group", changed=bool(changed), expanded=expanded))
            rows += [self._key_row(action) for action in actions if expanded]
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
        invalid = any(problem.action == action.id for problem in find_problems(self.current.keys))
        changed = action.id in self.current.keys
        return FormRow(id, action.title, self.value_text(id), "text", changed=changed, invalid=invalid)

    def field(self, id: str) -> FieldDescription:
        return KeyField(_action_for(id).title) if id.startswith(_KEY_PREFIX) else SETTINGS_BY_ID[id]

    def value_text(self, id: str) -> str:
        if id.startswith(_KEY_PREFIX):
            return ", ".join(keys_for(_action_for(id), self.current.keys))
        return as_typed(self.current.value(SETTINGS_BY_ID[id]))

    def validate_value(self, id: str, text: str) -> str:
        if id.startswith(_KEY_PREFIX):
            name = _action_for(id).id
            problems = find_problems({**self.current.keys, name: _normalize_keys(text)})
            return next((str(problem) for problem in problems if problem.action == name), "")
        setting = SETTINGS_BY_ID[id]
        try:
            setting.read(text)
        except ValueError as error:
            return f"[{setting.table}] {setting.name}: {error}"
        return ""

    def field_help(self, id: str, group: bool) -> FieldHelp:
        if group:
            names = ", ".join(action.title for action in ACTIONS if action.scope == id)
            return FieldHelp(f"Keys · {SCOPE_TITLES[id]}", help=names, accepted="enter expands or collapses it.")
        if id.startswith(_KEY_PREFIX):
            action = _action_for(id)
            note = f'[keys] "{action.id}"'
            default = f"default {', '.join(action.keys)}"
            return FieldHelp(action.title, note, action.help, "Keys, separated by commas.", default=default)
        setting = SETTINGS_BY_ID[id]
        later = " Takes effect at the next start." if setting.needs_restart else ""
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
        self.dashboard.write_setting(keys, value, partial(self._after_write, ".".join(keys)))

    def _after_write(self, id: str) -> None:
        app = self.dashboard
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
            text = f"{setting.title}: saved, but {origin} overrides it."
            self.notify(text, severity="warning", timeout=12, markup=False)
        elif setting.needs_restart:
            self.notify(f"{setting.title}: takes effect at the next start.", markup=False)

    # --- actions

    def action_back(self) -> None:
        self.dismiss(None)

    def action_file(self) -> None:
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        own = user_config_file()
        files = [str(path) for path in self.current.sources] or ["not found at startup"]
        note = "Read in this order; later files override earlier ones: " + ", ".join(files)
        self.app.push_screen(PlainTextScreen("Your own garden.toml", str(own), note))


def _action_for(id: str) -> Action:
    return ACTIONS_BY_ID[id.removeprefix(_KEY_PREFIX)]


def _normalize_keys(text: str) -> str:
    return ",".join(part.strip() for part in text.split(",") if part.strip())
