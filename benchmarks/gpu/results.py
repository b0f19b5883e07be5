"""The results file `gpu.json` and the report made of it, written after every task. Imports no torch."""

import json
from pathlib import Path
from typing import Any

from report import format_report


class ResultsFile:
    """The results so far, in `gpu.json` and `gpu.md` of a folder.

    Both files are always complete: they are written under another name and renamed.
    """

    def __init__(self, folder: Path, header: dict[str, Any]):
        self.content: dict[str, Any] = {**header, "pieces": {}}
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add_piece(self, key: str, title: str, limit: float) -> dict[str, Any]:
        """Add a piece; returns the dictionary for the results of its tasks."""
        tasks: dict[str, Any] = {}
        self.content["pieces"][key] = {"title": title, "limit": round(limit, 1), "tasks": tasks}
        return tasks

    def write(self) -> None:
        """Write both files."""
        _replace(self._folder / "gpu.json", json.dumps(self.content, indent=1, default=str) + "\n")
        _replace(self._folder / "gpu.md", format_report(self.content))

    @property
    def complete(self) -> bool:
        """Whether every task was done, or skipped with a reason."""
        results = [task for piece in self.content["pieces"].values() for task in piece["tasks"].values()]
        return all(task["status"] in ("done", "skipped") for task in results)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
