"""Columns of a list of runs, declared once for the table of the dashboard, `[ui] run_columns` and `runs list`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RunColumn:
    """A column: its key in settings and flags, its title, what it shows, and whether it is shown unless chosen."""

    key: str
    title: str
    help: str
    default: bool = True


RUN_COLUMNS: Final = (
    RunColumn("state", "State", "Running, queued, finished …"),
    RunColumn("name", "Name", "Name, else the id."),
    RunColumn("progress", "Progress", "Share of the steps done."),
    RunColumn("step", "Step", "Steps done and planned."),
    RunColumn("loss", "Loss", "Newest loss."),
    RunColumn("curve", "Curve", "Loss over the run (dashboard only)."),
    RunColumn("eta", "ETA", "Time left."),
    RunColumn("age", "Age", "Time since it ended, started or was created."),
    RunColumn("model", "Model", "Base model."),
    RunColumn("id", "Id", "Id of the run.", default=False),
    RunColumn("dataset", "Dataset", "Dataset trained on.", default=False),
    RunColumn("eval_loss", "Eval loss", "Lowest evaluation loss.", default=False),
    RunColumn("time", "Time", "Time it ran.", default=False),
    RunColumn("cost", "Cost", "Money so far, by the prices of [cost].", default=False),
    RunColumn("tags", "Tags", "Tags.", default=False),
    RunColumn("note", "Note", "First line of the note.", default=False),
)
RUN_COLUMN_KEYS: Final = tuple(column.key for column in RUN_COLUMNS)
DEFAULT_RUN_COLUMNS: Final = tuple(column.key for column in RUN_COLUMNS if column.default)
RUN_COLUMNS_BY_KEY: Final[Mapping[str, RunColumn]] = {column.key: column for column in RUN_COLUMNS}
