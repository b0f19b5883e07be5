"""Every theme of the settings can be worn, and the choice is kept."""

from pathlib import Path

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from mg_tui.config import Settings, load_settings
from mg_tui.core.settings import TEXTUAL_THEMES, THEMES
from mg_tui.tui.app import GardenApp
from mg_tui.tui.theme import TONES, other_shade

pytestmark = pytest.mark.asyncio


async def test_the_settings_name_textual_s_themes() -> None:
    assert set(TEXTUAL_THEMES) == set(BUILTIN_THEMES)


@pytest.mark.parametrize("theme", THEMES)
async def test_a_theme_has_every_color(theme) -> None:
    app = GardenApp(Settings(home=Path(), cache=Path(), ui={"theme": theme}))
    assert app.theme == theme
    variables = app.get_css_variables()
    assert {f"tone-{tone}" for tone in TONES} | {"cursor", "cursor-blurred", "bar", "band"} <= set(variables)
    if not theme.startswith("ansi"):
        background = Color.parse(app.current_theme.background or variables["background"])
        for name in ("dim", "key", "running", "finished", "failed", "crashed", "queued"):
            tone = Color.parse(variables[f"tone-{name}"])
            assert abs(tone.brightness - background.brightness) > 0.15, name


@pytest.mark.parametrize("theme", ["garden-light", "nord", "solarized-light", "ansi-dark"])
async def test_a_theme_draws(home, dashboard, text, until, theme) -> None:
    app = dashboard(home, theme=theme)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "invoices-v2" in text(app))
        await pilot.press("f2")
        await pilot.pause()
        await pilot.press("escape", "question_mark", "escape", "ctrl+p", "escape")


@pytest.mark.parametrize(("theme", "other"), [("garden", "garden-light"), ("solarized-light", "solarized-dark")])
async def test_ctrl_t_is_kept_for_the_next_session(tmp_path, until, theme, other) -> None:
    (tmp_path / "own.toml").write_text(f'[ui]\ntheme = "{theme}"  # mine\n')
    app = GardenApp(load_settings(home=tmp_path))
    async with app.run_test() as pilot:
        await pilot.press("ctrl+t")
        assert app.theme == other
        await until(pilot, lambda: load_settings().ui["theme"] == other)
        assert "# mine" in (tmp_path / "own.toml").read_text()


async def test_every_theme_has_another_shade() -> None:
    for name in THEMES:
        dark = BUILTIN_THEMES[name].dark if name in BUILTIN_THEMES else name == "garden"
        other = other_shade(name, dark)
        assert other in THEMES and other != name
        assert (BUILTIN_THEMES[other].dark if other in BUILTIN_THEMES else other == "garden") is not dark
