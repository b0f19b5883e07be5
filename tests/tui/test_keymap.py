"""Keys of one's own: checked, in force, shown everywhere; what cannot be is refused before the dashboard starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from mg_tui.config import Settings
from mg_tui.tui.actions import ACTIONS, ACTIONS_BY_ID
from mg_tui.tui.app import GardenApp
from mg_tui.tui.keymap import RENAMED_ACTIONS, find_problems, is_key, keys_for, usable_keymap
from mg_tui.tui.screens.help import KeyHelp
from mg_tui.tui.screens.plugins import PluginsScreen


def test_the_keys_that_actions_come_with_are_keys_and_have_no_conflict() -> None:
    assert find_problems({action.id: ",".join(action.keys) for action in ACTIONS}) == []
    for action in ACTIONS:
        assert all(map(is_key, action.keys)), action.id


@pytest.mark.parametrize(
    ("keymap", "words"),
    [
        ({"run.stpo": "x"}, "[keys] run.stpo: got 'x'; unknown action; did you mean run.stop?"),
        ({"run.stop": "ctrl+nonsense"}, "'ctrl+nonsense' is not a key"),
        ({"run.stop": "q"}, "q is Quit (app.detach) in “Everywhere”"),
        ({"app.detach": "j"}, "j is Next (list.down) in “Lists”"),
        ({"new.start": "u"}, "u is Queue the run (new.queue) in “New run”"),
        ({"new.start": "x"}, "x is Reset (form.reset) in “Forms”"),
    ],
)
def test_what_cannot_be_is_named(keymap, words) -> None:
    assert any(words in str(problem) for problem in find_problems(keymap))
    assert usable_keymap(keymap) == {}


@pytest.mark.parametrize("old", RENAMED_ACTIONS)
def test_ids_of_earlier_versions_still_work(old: str) -> None:
    new = RENAMED_ACTIONS[old]
    assert new in ACTIONS_BY_ID and old not in ACTIONS_BY_ID
    assert find_problems({old: "f9"}) == [] and usable_keymap({old: "f9"}) == {new: "f9"}
    assert usable_keymap({old: "f9", new: "f10"}) == {new: "f10"}


def test_two_can_change_places() -> None:
    keymap = {"new.start": "u", "new.queue": "r,?"}
    assert find_problems({"new.start": "u", "new.queue": "r"}) == []
    assert [problem.action for problem in find_problems(keymap)] == ["new.queue"]  # ? is the help
    assert keys_for(ACTIONS_BY_ID["new.queue"], keymap) == ("r", "question_mark")


@pytest.mark.asyncio
async def test_they_are_in_force_and_shown(tmp_path, text, until) -> None:
    keys = {"app.place('plugins')": "f9", "app.detach": "ctrl+x", "run.stop": "q"}
    app = GardenApp(Settings(home=tmp_path, cache=tmp_path, keys={**keys, "new.start": "nonsense"}))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "ctrl+x quit" in text(app))
        assert any("[keys] new.start: got 'nonsense'" in notice.message for notice in app._notifications)
        await pilot.press("q", "5")
        assert app.is_running and not isinstance(app.screen, PluginsScreen)
        await pilot.press("f9")
        assert isinstance(app.screen, PluginsScreen)
        await pilot.press("question_mark")
        await until(
            pilot, lambda: "ctrl+x" in "\n".join(line.plain for line in app.screen.query_one(KeyHelp).lines(98))
        )
        await pilot.press("escape", "ctrl+x")
    assert not app.is_running


def test_a_bad_one_is_one_clear_error_before_the_start(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text("[keys]\n'run.stop' = 'q'\n")
    script = (
        "from pathlib import Path; import sys; from mg_tui.config import load_settings;"
        "from mg_tui.cli.dashboard import _require_valid_keys;"
        f"_require_valid_keys(load_settings(environ={{'MODEL_GARDEN_CONFIG': {str(own)!r}}}, cwd=Path('/')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert "UsageError" in done.stderr and "[keys] run.stop: got 'q'; q is Quit" in done.stderr
    assert str(own) in done.stderr
