"""The settings: where a value is from, changing it, and what is written."""

from pathlib import Path

import pytest

from mg_tui.config import load_settings
from mg_tui.core.settings import SETTINGS
from mg_tui.tui.app import GardenApp
from mg_tui.tui.screens.choose import ChooseScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.screens.settings import SettingsScreen
from mg_tui.tui.widgets.form.field_help import FieldHelpPane

pytestmark = pytest.mark.asyncio


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for setting in SETTINGS:
        monkeypatch.delenv(setting.env_variable, raising=False)
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own.toml"


async def _open(pilot, app) -> SettingsScreen:
    await pilot.press("f2")
    assert isinstance(app.screen, SettingsScreen)
    return app.screen


async def test_every_setting_says_what_it_is_and_where_it_is_from(own_file, tmp_path, size, monkeypatch) -> None:
    own_file.write_text("[ui]\nupdates_per_second = 1\n")
    monkeypatch.setenv("MODEL_GARDEN_UI_IMAGES", "kitty")
    app = GardenApp(load_settings(home=tmp_path))
    async with app.run_test(size=size) as pilot:
        screen = await _open(pilot, app)
        assert [row.id for row in screen.table.rows if not row.is_group] == [setting.id for setting in SETTINGS]
        defaults = {}
        for setting in SETTINGS:
            screen.table.go_to_field(setting.id)
            await pilot.pause()
            about = screen.query_one(FieldHelpPane).field_help
            assert about is not None
            assert setting.help in about.help and f"[{setting.table}] {setting.name}" in about.note
            defaults[setting.id] = about.default
        assert defaults["paths.home"] == "from --home"
        assert defaults["ui.theme"] == "from the default"
        assert defaults["ui.updates_per_second"].endswith("own.toml")
        assert defaults["ui.images"] == "from MODEL_GARDEN_UI_IMAGES"


async def test_a_change_counts_and_is_written_with_comments_kept(own_file, tmp_path, size, text, until) -> None:
    own_file.write_text("# looks\n[ui]\nupdates_per_second = 1  # slow link\n")
    app = GardenApp(load_settings(home=tmp_path))
    async with app.run_test(size=size) as pilot:
        screen = await _open(pilot, app)
        screen.table.go_to_field("ui.theme")
        await pilot.press("right")
        await until(pilot, lambda: app.theme == "garden-light")
        assert load_settings().ui["theme"] == "garden-light"
        screen.table.go_to_field("ui.updates_per_second")
        await pilot.press("enter", *"7")
        await until(pilot, lambda: "[ui] updates_per_second: got '7'; give a number" in text(app))
        await pilot.press("enter")
        assert "updates_per_second = 1" in own_file.read_text()
        await pilot.press("enter", *"0.5", "enter")
        await until(pilot, lambda: "0.5" in screen.value_text("ui.updates_per_second"))
        assert own_file.read_text().startswith("# looks\n[ui]\nupdates_per_second = 0.5  # slow link\n")
        await pilot.press("x")
        await until(pilot, lambda: screen.value_text("ui.updates_per_second") == "2")
        await pilot.press("y")
        assert isinstance(app.screen, PlainTextScreen) and app.screen.text == str(own_file)
        await pilot.press("escape", "escape")
        assert not isinstance(app.screen, SettingsScreen)


async def test_folders_count_from_the_next_start_on(own_file, tmp_path, until) -> None:
    app = GardenApp(load_settings(environ={"MODEL_GARDEN_CONFIG": str(own_file), "MODEL_GARDEN_HOME": str(tmp_path)}))
    async with app.run_test() as pilot:
        screen = await _open(pilot, app)
        screen.table.go_to_field("paths.cache")
        await pilot.press("enter", *"/elsewhere", "enter")
        await until(pilot, lambda: screen.value_text("paths.cache") == "/elsewhere")
        assert str(app.settings.cache) != "/elsewhere"
        assert any("next start" in notice.message for notice in app._notifications)


async def test_what_wins_over_the_file_is_said(own_file, tmp_path, until, monkeypatch) -> None:
    monkeypatch.setenv("MODEL_GARDEN_UI_THEME", "garden")
    app = GardenApp(load_settings(home=tmp_path))
    async with app.run_test() as pilot:
        screen = await _open(pilot, app)
        screen.table.go_to_field("ui.theme")
        await pilot.press("enter")
        assert isinstance(app.screen, ChooseScreen)
        await pilot.press("j", "enter")
        wins = "MODEL_GARDEN_UI_THEME overrides it"
        await until(pilot, lambda: any(wins in notice.message for notice in app._notifications))
        assert app.theme == "garden" and 'theme = "garden-light"' in own_file.read_text()


async def test_keys_are_changed_and_conflicts_named(own_file, tmp_path, text, until) -> None:
    app = GardenApp(load_settings(home=tmp_path))
    async with app.run_test(size=(120, 40)) as pilot:
        screen = await _open(pilot, app)
        screen.toggle_group("app")
        screen.table.go_to_field("keys.app.detach")
        await pilot.press("enter", *"j")
        await until(pilot, lambda: "j is Next (list.down)" in text(app))
        await pilot.press("backspace", *"ctrl+x", "enter")
        await until(pilot, lambda: app.custom_keys == {"app.detach": ("ctrl+x",)})
        assert load_settings().keys == {"app.detach": "ctrl+x"}
        await pilot.press("q")
        assert app.is_running
        await pilot.press("x")
        await until(pilot, lambda: app.custom_keys == {})
        await pilot.press("q")
    assert not app.is_running


async def test_a_file_that_cannot_be_written_is_said(own_file, tmp_path, until) -> None:
    own_file.mkdir()
    app = GardenApp(load_settings(home=tmp_path))
    async with app.run_test() as pilot:
        screen = await _open(pilot, app)
        screen.table.go_to_field("ui.theme")
        await pilot.press("right")
        await until(pilot, lambda: any("configuration file" in notice.message for notice in app._notifications))
        assert app.theme == "garden"


@pytest.mark.asyncio
async def test_a_resize_just_before_it_closes(tmp_path, dashboard, until) -> None:
    """What a resize leaves for after the next refresh comes when the screen is gone: a NoMatches once."""
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f2")
        await until(pilot, lambda: type(app.screen).__name__ == "SettingsScreen")
        settings = app.screen
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is not settings and not settings.is_attached)
        settings._fit()
        assert app.is_running
