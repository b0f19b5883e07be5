"""Notes of a release come from CHANGELOG.md, and its packages have its version."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.release_notes import ROOT, find_other_versions, read_section

CHANGELOG = """# Changelog

## Unreleased

## [1.2.0] - 2026-11-30

### Added
- One thing.

## 1.1.0
- Another.
"""


@pytest.mark.parametrize(
    ("version", "notes"),
    [("1.2.0", "### Added\n- One thing."), ("1.1.0", "- Another."), ("Unreleased", ""), ("1.1", ""), ("2.0.0", "")],
)
def test_the_section_of_a_version(version: str, notes: str) -> None:
    assert read_section(CHANGELOG, version) == notes


def test_packages_with_another_version_are_named(tmp_path: Path) -> None:
    for folder, name, version in ((".", "garden", "1.2.0"), ("plugins/one", "one", "1.1.0")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        text = f'[project]\nname = "{name}"\nversion = "{version}"\n'
        (tmp_path / folder / "pyproject.toml").write_text(text)
    assert find_other_versions("1.2.0", tmp_path) == ["one has version 1.1.0 and the tag says 1.2.0"]


def test_every_package_of_the_repository_has_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert find_other_versions(version) == []


def test_a_release_without_notes_is_refused() -> None:
    command = [sys.executable, "scripts/release_notes.py", "v99.0.0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "") and "no section `## 99.0.0`" in done.stderr


def test_the_package_has_a_command_of_its_own_name_for_uvx() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"][project["name"]] == project["scripts"]["model-garden"]
