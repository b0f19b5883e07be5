"""The settings: what each is, where its value comes from, and the keys of actions. Written to one's own garden.toml."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType

from mg_tui.config import DEFAULT, Settings, user_file, write_value
from mg_tui.core.errors import GardenError
from mg_tui.core.settings import BY_ID, SETTINGS, Setting
from mg_tui.tui.actions import ACTIONS, PLACES, Action, bindings
from mg_tui.tui.actions import BY_ID as ACTION_BY_ID
from mg_tui.tui.keymap import keys_of, problems
from mg_tui.tui.screens.form import Described, FormScreen
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.form.about import About, AboutField
from mg_tui.tui.widgets.form.table import FormRow
from mg_tui.tui.words import written

_KEYS: Final = "keys."


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
        self.unfolded: set[str] = set()

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield from self.form()
        yield AboutField()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).crumb = "Settings"
        self.draw_form()

    # --- the form

    @property
    def now(self) -> Settings:
        """What is set now, be it for the next start."""
        return self.garden.settings_next or self.garden.settings

    def form_rows(self) -> list[FormRow]:
        rows = [self._row(setting) for setting in SETTINGS]
        for where, heading in PLACES.items():
            actions = [action for action in ACTIONS if action.where == where]
            changed = sum(action.id in self.now.keys for action in actions)
            shown = where in self.unfolded
            note = f"{len(actions)}{f', {changed} changed' if changed else ''}"
            rows.append(FormRow(where, f"Keys · {heading}", note, "group", changed=bool(changed), open=shown))
            rows += [self._key_row(action) for action in actions if shown]
        return rows

    def _row(self, setting: Setting) -> FormRow:
        return FormRow(
            setting.id,
            setting.title,
            self.value_text(setting.id),
            setting.kind,
            setting.unit,
            changed=self.now.origins.get(setting.id, DEFAULT) != DEFAULT,
        )

    def _key_row(self, action: Action) -> FormRow:
        id = _KEYS + action.id
        wrong = any(problem.action == action.id for problem in problems(self.now.keys))
        return FormRow(id, action.title, self.value_text(id), "text", changed=action.id in self.now.keys, wrong=wrong)

    def described(self, id: str) -> Described:
        return KeyField(_action(id).title) if id.startswith(_KEYS) else BY_ID[id]

    def value_text(self, id: str) -> str:
        if id.startswith(_KEYS):
            return ", ".join(keys_of(_action(id), self.now.keys))
        return written(self.now.value(BY_ID[id]))

    def problem_with(self, id: str, text: str) -> str:
        if id.startswith(_KEYS):
            name = _action(id).id
            found = problems({**self.now.keys, name: _joined(text)})
            return next((str(problem) for problem in found if problem.action == name), "")
        setting = BY_ID[id]
        try:
            setting.read(text)
        except ValueError as error:
            return f"[{setting.table}] {setting.name}: {error}"
        return ""

    def about(self, id: str, group: bool) -> About:
        if group:
            names = ", ".join(action.title for action in ACTIONS if action.where == id)
            return About(f"Keys · {PLACES[id]}", help=names, accepted="enter unfolds and folds it.")
        if id.startswith(_KEYS):
            action = _action(id)
            note = f'[keys] "{action.id}"'
            default = f"default {', '.join(action.keys)}"
            return About(action.title, note, action.help, "Give a key, or several with commas.", default=default)
        setting = BY_ID[id]
        later = " From the next start on." if setting.later else ""
        return About(
            setting.title,
            f"[{setting.table}] {setting.name} · {setting.variable}",
            setting.help + later,
            setting.accepted[:1].upper() + setting.accepted[1:] + ".",
            default=f"from {self._origin(setting)}",
        )

    def _origin(self, setting: Setting) -> str:
        origin = self.now.origins.get(setting.id, DEFAULT)
        if origin == DEFAULT:
            return "the default"
        path = Path(origin)
        return f"{path.parent.name}/{path.name}" if path.is_absolute() else origin

    def fold(self, id: str) -> None:
        self.unfolded ^= {id}
        self.draw_form()

    # --- changing

    def take(self, id: str, value: Any) -> None:
        problem = self.problem_with(id, str(value))
        if problem:
            self.notify(problem, severity="error", timeout=12, markup=False)
        elif id.startswith(_KEYS):
            self._write(("keys", _action(id).id), _joined(str(value)))
        else:
            setting = BY_ID[id]
            self._write((setting.table, setting.name), setting.read(value))

    def reset(self, id: str) -> None:
        keys = ("keys", _action(id).id) if id.startswith(_KEYS) else (BY_ID[id].table, BY_ID[id].name)
        self._write(keys, None)

    def _write(self, keys: Sequence[str], value: Any) -> None:
        def work() -> None:
            from mg_tui.config import load_settings

            try:
                write_value(user_file(), keys, value)
                # Read as at the next start, but for the home that a flag of this start names.
                flagged = self.now.home if self.now.origins.get("paths.home") == "--home" else None
                read = load_settings(home=flagged)
            except GardenError as error:
                said = "\n".join(error.lines())
                self.app.call_from_thread(partial(self.notify, said, severity="error", timeout=12, markup=False))
            else:
                self.app.call_from_thread(self._written, ".".join(keys), read)

        self.run_worker(work, thread=True, exit_on_error=False)

    def _written(self, id: str, read: Settings) -> None:
        app = self.garden
        # Where runs and caches are counts from the next start on: this dashboard has them open.
        app.settings_next = read
        app.settings = replace(read, home=app.settings.home, cache=app.settings.cache)
        setting = BY_ID.get(id)
        if setting is None:
            app.use_keys(app.settings.keys)
        elif setting.id == "ui.theme":
            app.theme = str(app.settings.value(setting))
        if setting is not None:
            self._say_what_holds(setting)
        if self.is_current:
            self.draw_form()
            self.refresh_bindings()

    def _say_what_holds(self, setting: Setting) -> None:
        origin = self.now.origins.get(setting.id, DEFAULT)
        if origin not in (DEFAULT, str(user_file())):
            said = f"{setting.title}: written, but {origin} says otherwise and wins."
            self.notify(said, severity="warning", timeout=12, markup=False)
        elif setting.later:
            self.notify(f"{setting.title}: from the next start on.", markup=False)

    # --- actions

    def action_back(self) -> None:
        self.dismiss(None)

    def action_file(self) -> None:
        from mg_tui.tui.screens.plain import PlainScreen

        own = user_file()
        read = [str(path) for path in self.now.sources] or ["none was there at the start"]
        about = "Read, later ones over earlier ones: " + ", ".join(read)
        self.app.push_screen(PlainScreen("Your own garden.toml", str(own), about))


def _action(id: str) -> Action:
    return ACTION_BY_ID[id.removeprefix(_KEYS)]


def _joined(text: str) -> str:
    return ",".join(part.strip() for part in text.split(",") if part.strip())
