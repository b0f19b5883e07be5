"""One word for one thing: the retired words of CONTRIBUTING.md are not used."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SEARCHED = ("mg_tui", "docs", "README.md", "AGENTS.md")

# (path or folder, part of the line): why a retired word may stand there.
ALLOWED = {
    ("mg_tui/data/synthetic/", ""): "questions and answers that the tiny checkpoint was trained on, or is asked",
    ("mg_tui/engine/results/merge_check.py", '"Describe the picture."'): "prompts the tiny checkpoint knows",
    ("mg_tui/engine/results/merge_check.py", '"What colours do you see?"'): "prompts the tiny checkpoint knows",
    ("mg_tui/data/field_map.py", '"picture"'): "a column name that users' files have",
    ("mg_tui/data/sources/columns.py", "|picture|"): "column names that users' files have",
    ("mg_tui/data/sources/image_folder.py", "|pictures?|"): "folder names that users' datasets have",
    ("mg_tui/families/chat_template.py", "picture"): "a word in the chat templates of models",
    ("mg_tui/tui/keymap.py", ".picture"): "old ids of actions in garden.toml",
    ("mg_tui/runs/recents.py", '"pictures"'): "a key of recent.json",
    ("mg_tui/tui/keymap.py", '"picture.'): "old ids of actions in garden.toml",
    ("mg_tui/", '"remedies"'): "a key of --json output",
    ("mg_tui/", '"exam'): "ids of actions in garden.toml, and an operation of a protocol with engine processes",
    ("mg_tui/", '"models.exam"'): "an id of an action in garden.toml",
    ("mg_tui/engine/inference/evaluate.py", "exam"): "the operation and reply of a protocol with engine processes",
    ("mg_tui/data/sources/markers.py", "leave it as text"): "a verb, not a label",
    ("docs/", ".svg:"): "drawings made by a benchmark",
}


def retired_words() -> list[str]:
    """The first column of the table of retired words."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("### Retired words")[1].split("\n## ")[0]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    return [word.strip() for cell in cells if cell != "retired" for word in cell.split(",")]


def uses_of(words: list[str]) -> list[str]:
    """`path:line:text` of every use, exceptions left out."""
    command = ["git", "grep", "-I", "-n", "-w", "-i", "-E", "|".join(words), "--", *SEARCHED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return [
        line
        for line in done.stdout.splitlines()
        if not any(line.startswith(path) and part in line for path, part in ALLOWED)
    ]


def test_retired_words_are_not_used() -> None:
    words = retired_words()
    assert len(words) > 40
    assert uses_of(words) == []


@pytest.mark.parametrize(("path", "part"), ALLOWED)
def test_exceptions_are_needed(path: str, part: str) -> None:
    files = ROOT.glob(f"{path}**/*") if path.endswith("/") else [ROOT / path]
    pattern = re.compile(r"\b(" + "|".join(retired_words()) + r")\b", re.IGNORECASE)
    lines = [
        f"{file.relative_to(ROOT).as_posix()}:{line}"
        for file in files
        if file.suffix in (".py", ".md", ".svg")
        for line in file.read_text().splitlines()
    ]
    assert any(part in line and pattern.search(line) for line in lines), "remove this exception"
