"""The registry: every action is carried out, explained, documented, and no key means two things in one place."""

from collections import Counter

import pytest
from textual.binding import Binding

from mg_tui.tui.actions import ACTIONS, BY_ID, PLACES, actions_of, bindings, docs_table, grouped, key_names
from mg_tui.tui.app import GardenApp
from mg_tui.tui.screens.ask import AskScreen
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.check import CheckScreen
from mg_tui.tui.screens.choose import ChooseScreen, NameScreen
from mg_tui.tui.screens.compare import CompareScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.datasets import DatasetsScreen
from mg_tui.tui.screens.devices import DevicesScreen
from mg_tui.tui.screens.exam import ExamScreen
from mg_tui.tui.screens.help import HelpScreen, Keys
from mg_tui.tui.screens.jump import JumpScreen
from mg_tui.tui.screens.merge import MergeScreen
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.screens.new import NewScreen
from mg_tui.tui.screens.notices import NoticesScreen
from mg_tui.tui.screens.pick import PickScreen
from mg_tui.tui.screens.picture import PictureScreen
from mg_tui.tui.screens.plain import PlainScreen
from mg_tui.tui.screens.plugins import PluginsScreen
from mg_tui.tui.screens.read_as import ReadAsScreen
from mg_tui.tui.screens.replay import ReplayScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.screens.runs import RunsScreen
from mg_tui.tui.screens.settings import SettingsScreen
from mg_tui.tui.widgets.form.editor import FieldEditor
from mg_tui.tui.widgets.form.table import FormTable
from mg_tui.tui.widgets.run.panes import LogPane, TextPane
from mg_tui.tui.widgets.scrolled import Scrolled
from mg_tui.tui.widgets.table import Table

OWNERS = {
    "app": [GardenApp],
    "runs": [RunsScreen],
    "run": [RunScreen, ReplayScreen],
    "replay": [ReplayScreen],
    "chart": [RunScreen, ReplayScreen, CompareScreen],
    "compare": [CompareScreen],
    "devices": [DevicesScreen],
    "picture": [PictureScreen],
    "models": [ModelsScreen],
    "chat": [ChatScreen],
    "exam": [ExamScreen],
    "merge": [MergeScreen],
    "pick": [PickScreen],
    "datasets": [DatasetsScreen],
    "dataset": [DatasetScreen],
    "reading": [ReadAsScreen],
    "jump": [JumpScreen],
    "ask": [AskScreen],
    "new": [NewScreen],
    "form": [FormTable],
    "field": [FieldEditor],
    "choose": [ChooseScreen, NameScreen],
    "check": [CheckScreen],
    "plugins": [PluginsScreen],
    "settings": [SettingsScreen],
    "list": [Table],
    "log": [LogPane, Scrolled, TextPane, HelpScreen, NoticesScreen, PlainScreen],
    "confirm": [ConfirmScreen],
    "help": [HelpScreen, NoticesScreen, PlainScreen],
    "plain": [PlainScreen],
}
TAKEN = {"ctrl+s", "ctrl+q", "ctrl+h", "ctrl+i", "ctrl+m", "ctrl+b", "ctrl+a", "f5"}  # by terminals and multiplexers


def test_every_place_has_an_owner() -> None:
    assert set(OWNERS) == set(PLACES) == {action.where for action in ACTIONS}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_is_carried_out_by_its_place(action) -> None:
    for owner in OWNERS[action.where]:
        assert callable(getattr(owner, f"action_{action.name.partition('(')[0]}", None)), owner
        bound = [
            item.id for kind in owner.__mro__ for item in vars(kind).get("BINDINGS", ()) if isinstance(item, Binding)
        ]
        assert action.id in bound


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_is_explained(action) -> None:
    assert action.keys and action.title
    assert action.help.endswith(".") and action.help[0].isupper()
    assert not TAKEN & set(action.keys)


def test_the_help_and_the_documentation_have_every_action() -> None:
    help_text = "\n".join(line.plain for line in Keys().lines(120))
    documented = docs_table()
    for group, actions in grouped(ACTIONS).items():
        assert group in help_text
        for action in actions:
            assert key_names(action) in help_text
            assert action.title in help_text
    for action in ACTIONS:
        assert f"| {action.title} | {action.help}" in documented


def test_no_key_means_two_things_in_one_place() -> None:
    for where in PLACES:
        keys = Counter(key for action in actions_of(where) for key in action.keys)
        assert [key for key, times in keys.items() if times > 1] == []
    for pair in (("run", "chart"), ("compare", "chart"), ("run", "replay")):
        both = Counter(key for action in actions_of(*pair) for key in action.keys)
        assert [key for key, times in both.items() if times > 1] == [], pair
    for screen in set(PLACES) - {"app", "list", "log", "confirm", "help", "plain"}:
        inner = {key for action in actions_of(screen) for key in action.keys}
        assert not inner & {key for action in actions_of("app") for key in action.keys}


def test_ids_are_unique_and_reach_the_bindings() -> None:
    assert len(BY_ID) == len(ACTIONS)
    assert [binding.id for binding in bindings("runs")] == [action.id for action in actions_of("runs")]
