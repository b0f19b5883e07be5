"""Print the notes of a release: its section of CHANGELOG.md.

    uv run python scripts/release_notes.py v0.3.0
    uv run python scripts/release_notes.py --check v0.3.0    # and that pyproject.toml and the plugins have this version

Exits with 1 and one sentence if the section is missing or empty, or a version differs.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def read_section(changelog: str, version: str) -> str:
    """The text below `## VERSION` or `## [VERSION] - DATE`, without the heading; empty if there is none."""
    heading = re.compile(rf"^## \[?v?{re.escape(version)}\]?(\s.*)?$")
    lines: list[str] = []
    inside = False
    for line in changelog.splitlines():
        if line.startswith("## "):
            if inside:
                break
            inside = bool(heading.match(line))
        elif inside:
            lines.append(line)
    return "\n".join(lines).strip()


def find_other_versions(version: str, root: Path = ROOT) -> list[str]:
    """One sentence per package of the repository that has another version."""
    others = []
    for file in (root / "pyproject.toml", *sorted((root / "plugins").glob("*/pyproject.toml"))):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        if project["version"] != version:
            others.append(f"{project['name']} has version {project['version']} and the tag says {version}")
    return others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", help="the tag or version, or Unreleased")
    parser.add_argument("--check", action="store_true", help="compare the versions of the packages too")
    options = parser.parse_args()
    version = options.tag.removeprefix("refs/tags/").removeprefix("v")
    notes = read_section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    if not notes:
        sys.exit(f"CHANGELOG.md has no section `## {version}`, or nothing is in it")
    if options.check and (others := find_other_versions(version)):
        sys.exit("; ".join(others))
    print(notes)


if __name__ == "__main__":
    main()
