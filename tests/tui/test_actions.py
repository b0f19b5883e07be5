"""The registry: every action is carried out, explained, documented, and no key means two things in one place."""

from collections import Counter

import pytest
from textual.binding import Binding

from mg_tui.tui.actions import (
    ACTIONS,
    ACTIONS_BY_ID,
    SCOPE_TITLES,
    actions_in,
    bindings,
    format_keys,
    group_actions,
    markdown_table,
)
from mg_tui.tui.app import GardenApp
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.choose import ChooseScreen, NameScreen
from mg_tui.tui.screens.choose_model import ChooseModelScreen
from mg_tui.tui.screens.compare import CompareScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.datasets import DatasetsScreen
from mg_tui.tui.screens.devices import DevicesScreen
from mg_tui.tui.screens.evaluate import EvaluateScreen
from mg_tui.tui.screens.evaluation import ResultScreen
from mg_tui.tui.screens.evaluation_form import EvaluationForm
from mg_tui.tui.screens.evaluations import EvaluationListScreen
from mg_tui.tui.screens.hard_rows import HardRowsScreen
from mg_tui.tui.screens.help import HelpScreen, KeyHelp
from mg_tui.tui.screens.image import ImageScreen
from mg_tui.tui.screens.job_form import JobForm
from mg_tui.tui.screens.jobs import JobsScreen
from mg_tui.tui.screens.jump import JumpScreen
from mg_tui.tui.screens.messages import MessagesScreen
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.screens.new import NewRunScreen
from mg_tui.tui.screens.picker import PickScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.screens.plugins import PluginsScreen
from mg_tui.tui.screens.preflight import PreflightScreen
from mg_tui.tui.screens.read_options import ReadOptionsScreen
from mg_tui.tui.screens.replay import ReplayScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.screens.runs import RunsScreen
from mg_tui.tui.screens.servers import ServersScreen
from mg_tui.tui.screens.settings import SettingsScreen
from mg_tui.tui.widgets.form.editor import FieldEditor
from mg_tui.tui.widgets.form.table import FormTable
from mg_tui.tui.widgets.run.checkpoints import CheckpointTable
from mg_tui.tui.widgets.run.panes import DetailPane, LogPane
from mg_tui.tui.widgets.scroll_box import ScrollBox
from mg_tui.tui.widgets.table import Table

ACTION_OWNERS: dict[str, list[type]] = {
    "app": [GardenApp],
    "runs": [RunsScreen],
    "run": [RunScreen, ReplayScreen],
    "saved": [CheckpointTable],
    "replay": [ReplayScreen],
    "chart": [RunScreen, ReplayScreen, CompareScreen],
    "compare": [CompareScreen],
    "devices": [DevicesScreen],
    "image": [ImageScreen],
    "models": [ModelsScreen],
    "servers": [ServersScreen],
    "chat": [ChatScreen],
    "exam": [EvaluateScreen],
    "jobs": [JobsScreen],
    "jobform": [JobForm],
    "evaluations": [EvaluationListScreen],
    "result": [ResultScreen],
    "evaluate": [EvaluationForm],
    "hard": [HardRowsScreen],
    "pick": [PickScreen],
    "datasets": [DatasetsScreen],
    "dataset": [DatasetScreen],
    "reading": [ReadOptionsScreen],
    "jump": [JumpScreen],
    "ask": [ChooseModelScreen],
    "new": [NewRunScreen],
    "form": [FormTable],
    "field": [FieldEditor],
    "choose": [ChooseScreen, NameScreen],
    "check": [PreflightScreen],
    "plugins": [PluginsScreen],
    "settings": [SettingsScreen],
    "list": [Table],
    "log": [LogPane, ScrollBox, DetailPane, HelpScreen, MessagesScreen, PlainTextScreen],
    "confirm": [ConfirmScreen],
    "keys": [HelpScreen],
    "help": [HelpScreen, MessagesScreen, PlainTextScreen],
    "plain": [PlainTextScreen],
}
RESERVED_KEYS = {
    "ctrl+s",
    "ctrl+q",
    "ctrl+h",
    "ctrl+i",
    "ctrl+m",
    "ctrl+b",
    "ctrl+a",
    "f5",
}  # by terminals and multiplexers


def test_every_place_has_an_owner() -> None:
    assert set(ACTION_OWNERS) == set(SCOPE_TITLES) == {action.scope for action in ACTIONS}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_is_carried_out_by_its_place(action) -> None:
    for owner in ACTION_OWNERS[action.scope]:
        assert callable(getattr(owner, f"action_{action.name.partition('(')[0]}", None)), owner
        bound = [
            item.id for kind in owner.__mro__ for item in vars(kind).get("BINDINGS", ()) if isinstance(item, Binding)
        ]
        assert action.id in bound


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_is_explained(action) -> None:
    assert action.keys and action.title
    assert action.help.endswith(".") and action.help[0].isupper()
    assert not RESERVED_KEYS & set(action.keys)


def test_the_help_and_the_documentation_have_every_action() -> None:
    help_text = "\n".join(line.plain for line in KeyHelp().lines(120))
    documented = markdown_table()
    for group, actions in group_actions(ACTIONS).items():
        assert group in help_text
        for action in actions:
            assert format_keys(action) in help_text
            assert action.title in help_text
    for action in ACTIONS:
        assert f"| {action.title} | {action.help}" in documented


def test_no_key_means_two_things_in_one_place() -> None:
    for where in SCOPE_TITLES:
        keys = Counter(key for action in actions_in(where) for key in action.keys)
        assert [key for key, times in keys.items() if times > 1] == []
    for pair in (("run", "chart"), ("compare", "chart"), ("run", "replay")):
        both = Counter(key for action in actions_in(*pair) for key in action.keys)
        assert [key for key, times in both.items() if times > 1] == [], pair
    for screen in set(SCOPE_TITLES) - {"app", "list", "log", "confirm", "help", "keys", "plain"}:
        inner = {key for action in actions_in(screen) for key in action.keys}
        assert not inner & {key for action in actions_in("app") for key in action.keys}


def test_ids_are_unique_and_reach_the_bindings() -> None:
    assert len(ACTIONS_BY_ID) == len(ACTIONS)
    assert [binding.id for binding in bindings("runs")] == [action.id for action in actions_in("runs")]
