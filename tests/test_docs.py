"""The docs say what the program says, and name what is there."""

import re
from pathlib import Path

import pytest

from mg_tui.cli.main import COMMANDS
from mg_tui.tui.actions import markdown_table

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_keys_are_those_of_the_registry() -> None:
    assert (ROOT / "docs" / "keys.md").read_text().endswith(markdown_table())


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`model-garden {name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    text = page.read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:tests|plugins|docs|scripts|benchmarks|docker|mg_tui)/[\w./-]+)`", text)
    for name in linked:
        assert (page.parent / name).exists(), f"{page.name} links to {name}"
    for name in named:
        assert (ROOT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_are_there(page: Path) -> None:
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text()):
        assert f"def {name}(" in written, f"{page.name} names {name}"


def test_every_setting_and_preset_is_explained() -> None:
    from mg_tui.core.presets import PRESET_DESCRIPTIONS
    from mg_tui.core.settings import SETTINGS

    text = (ROOT / "docs" / "settings.md").read_text()
    for setting in SETTINGS:
        assert f"| `[{setting.table}] {setting.name}` | `{setting.env_variable}` |" in text and setting.help in text
    for name, about in PRESET_DESCRIPTIONS.items():
        assert f"| `{name}` | {about} |" in text
