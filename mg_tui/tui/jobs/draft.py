"""The draft of a job: what is done with one model, made from the spec that the command has too."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mg_tui.core.model_job_spec import JOB_SPECS, ModelJobSpec
from mg_tui.runs.results import MODELS_FOLDER
from mg_tui.tui.new.draft import PLACEHOLDER, SpecDraft

EXPORTS_FOLDER: Final = "exports"


class JobDraft(SpecDraft[ModelJobSpec]):
    """Values over the defaults of the operation's spec.

    Attributes:
        operation: the command.
        model: what something is done with.
    """

    arguments = ("repository",)

    def __init__(self, operation: str, model: str, values: Mapping[str, Any], *, cwd: Path | None = None):
        self.operation, self.model = operation, model
        self.spec_class = JOB_SPECS[operation]
        super().__init__({}, cwd=cwd)
        self.set_all(values)

    @property
    def command_words(self) -> str:  # type: ignore[override]
        given = [self.text(name) for name in self.arguments if name in self.options]
        words = [
            self.operation,
            shlex.quote(self.model),
            *(shlex.quote(text) if text else PLACEHOLDER for text in given),
        ]
        return f"model-garden {' '.join(words)}"

    def parse(self, values: Mapping[str, Any]) -> ModelJobSpec:
        spec: ModelJobSpec = self.spec_class.parse({**values, "model": self.model})
        return spec


def first_values(operation: str, title: str, home: Path) -> dict[str, Any]:
    """What the form begins with: an output folder that does not exist yet. Looks at the disk; for a thread."""
    match operation:
        case "merge":
            return {"output": str(unused_folder(home / MODELS_FOLDER, title, "merged"))}
        case "export":
            return {"format": "vllm", "output": str(unused_folder(home / EXPORTS_FOLDER, title, ""))}
    return {}


def unused_folder(parent: Path, title: str, suffix: str) -> Path:
    """A folder for what is made of a model that does not exist yet."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in title).strip("-.")[:60] or "model"
    stem = f"{stem}-{suffix}" if suffix else stem
    folder, number = parent / stem, 2
    while folder.exists():
        folder, number = parent / f"{stem}-{number}", number + 1
    return folder
