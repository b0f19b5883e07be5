"""The documentation agrees with the code: generated parts are current, and files, functions and commands exist."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from mg_tui.cli.main import COMMANDS, cli
from scripts.docs_reference import pages

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=page_id)
def test_generated_parts_are_current(page: Path) -> None:
    assert page.read_text() == pages()[page], "run `uv run python scripts/docs_reference.py`"


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in COMMANDS if f"`model-garden {name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_files_exist(page: Path) -> None:
    text = page.read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:tests|plugins|docs|scripts|benchmarks|docker|mg_tui)/[\w./-]+)`", text)
    for name in linked:
        assert (page.parent / name).exists(), f"{page.name} links to {name}"
    for name in named:
        assert (ROOT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_tests_exist(page: Path) -> None:
    written = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text()):
        assert f"def {name}(" in written, f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_named_functions_exist(page: Path) -> None:
    for name, path in re.findall(r"`([\w/]+\.py):([\w.]+)`", page.read_text()):
        scope: ast.Module | ast.ClassDef | ast.FunctionDef | None = ast.parse((ROOT / name).read_text())
        for part in path.split("."):
            assert isinstance(scope, ast.Module | ast.ClassDef), f"{page.name} names {name}:{path}"
            scope = next(
                (node for node in scope.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part),
                None,
            )
        assert scope is not None, f"{page.name} names {name}:{path}"


def commands_in(page: Path) -> list[str]:
    """Every `model-garden` command of a page's shell blocks, without comments and continuation lines."""
    blocks = re.findall(r"^```(?:bash|sh)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [command for line in lines for command in re.findall(r"(?:^|uv run )(model-garden\b[^#&|]*)", line)]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_and_flags_exist(page: Path) -> None:
    for line in commands_in(page):
        words = shlex.split(line)[1:]
        if "..." in words:
            continue
        command: click.Command = cli
        context = click.Context(command, info_name="model-garden")
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            child = command.get_command(context, words[0])
            assert child is not None, f"{page.name}: {line}"
            command, words = child, words[1:]
        if not isinstance(command, click.Group):
            # Parses flags and counts arguments; values are checked when a command runs.
            parser = command.make_parser(context)
            parser.parse_args(list(words))


def test_every_setting_and_preset_is_explained() -> None:
    from mg_tui.core.presets import PRESET_DESCRIPTIONS
    from mg_tui.core.settings import SETTINGS

    text = (ROOT / "docs" / "settings.md").read_text()
    for setting in SETTINGS:
        assert f"| `[{setting.table}] {setting.name}` | `{setting.env_variable}` |" in text and setting.help in text
    for name, about in PRESET_DESCRIPTIONS.items():
        assert f"| `{name}` | {about} |" in text


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    def files(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        assert not isinstance(values, str | bytes) and hasattr(values, "__iter__")
        return [name for value in values for name in files(value)]

    listed = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(listed) == sorted(
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    )


def test_the_tree_in_the_readme_has_every_package() -> None:
    tree = (ROOT / "README.md").read_text().split("## Repository layout")[1].split("```")[1]
    names = set(re.findall(r"^ *([\w.]+?)/?(?: |$)", tree, re.MULTILINE))
    packages = {path.parent.name for path in (ROOT / "mg_tui").glob("*/__init__.py")}
    packages |= {path.parent.name for path in (ROOT / "mg_tui/engine").glob("*/__init__.py")}
    tops = {"plugins", "docker", "scripts", "tests", "benchmarks", "docs"}
    assert packages | tops <= names
    assert {name for name in names if not list(ROOT.glob(name)) and not list((ROOT / "mg_tui").rglob(name))} <= {
        "qwen2_5_vl"
    }
