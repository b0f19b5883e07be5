"""The checkpoints of a run, to act on: resume from, chat with, evaluate, delete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.message import Message
from textual.strip import Strip

from mg_tui.core.text import one_line
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.models.catalog import ModelKind, ModelRow
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import fit, line
from mg_tui.tui.widgets.table import Column, Table

EMPTY_TEXT = "No checkpoint is whole yet; c asks for one after the step being done."


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A checkpoint, or the result: then `step` is None. `path` is relative to the run's folder, or absolute."""

    step: int | None
    path: str
    bytes: int = 0
    seconds: float | None = None
    eval_loss: float | None = None
    best: bool = False


def checkpoint_rows(detail: RunDetail) -> list[CheckpointRow]:
    """The result, then the whole checkpoints, newest first; the one with the lowest evaluation loss is the best."""
    rows = [CheckpointRow(None, str(result))] if (result := detail.result.get("result")) else []
    best = next((saved.step for saved in reversed(detail.checkpoints) if saved.best), None)
    for saved in sorted(detail.checkpoints, key=lambda item: -item.step):
        rows.append(
            CheckpointRow(saved.step, saved.path, saved.bytes, saved.seconds, saved.eval_loss, saved.step == best)
        )
    return rows


def model_of(row: CheckpointRow, detail: RunDetail) -> ModelRow:
    """What a chat or an evaluation loads for a row."""
    folder = detail.row.folder.path / row.path  # an absolute path stays as it is
    where = "result" if row.step is None else f"step {row.step}"
    kind: ModelKind = "adapter" if is_adapter(detail.spec) else "model"
    return ModelRow(
        str(folder),
        kind,
        f"{detail.row.title} · {where}",
        base=detail.row.model,
        run=detail.row.id,
        folder=Path(folder),
        run_folder=detail.row.folder.path,
        dataset=detail.row.dataset or None,
    )


def is_adapter(spec: Mapping[str, Any]) -> bool:
    """Whether a run with this spec trains an adapter: parts that are trained in full are then saved with it."""
    return any(spec.get(f"train_{part}") == "lora" for part in ("language", "projector", "vision"))


class CheckpointTable(Table[CheckpointRow]):
    """The pane; its keys act on the row under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("saved")]
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("step", "Checkpoint", 12, grow=1, max_width=16),
        Column("eval_loss", "Eval loss", 10, drop_rank=1, align_right=True),
        Column("bytes", "Size", 9, drop_rank=2, align_right=True),
        Column("seconds", "Saved in", 8, drop_rank=4, align_right=True),
        Column("path", "Folder", 20, grow=3, max_width=200, drop_rank=3),
    )

    class Requested(Message):
        """An action on a row: `chat_with`, `evaluate`, `resume_from` or `delete_saved`."""

        def __init__(self, action: str, row: CheckpointRow) -> None:
            super().__init__()
            self.action, self.row = action, row

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._state: RunState | None = None

    def show_detail(self, detail: RunDetail) -> None:
        """Show the checkpoints of a run as it is now."""
        rows = checkpoint_rows(detail)
        if rows != list(self.rows) or detail.row.state is not self._state:
            self._state = detail.row.state
            self.show(rows)
            self.refresh_bindings()

    def key_of(self, row: CheckpointRow) -> str:
        return row.path

    def cell_of(self, row: CheckpointRow, key: str, width: int) -> Content:
        match key:
            case "step" if row.step is None:
                return Content.styled("result", tone("finished", "bold"))
            case "step":
                return line((f"step {row.step}", "bold"), ("  ★ best" if row.best else "", tone("eval")))
            case "eval_loss":
                return Content(formatting.loss(row.eval_loss) if row.eval_loss is not None else "")
            case "bytes":
                return Content(formatting.size(row.bytes) if row.bytes else "")
            case "seconds":
                return Content.styled("" if row.seconds is None else formatting.duration(row.seconds), tone("dim"))
            case _:
                return Content.styled(one_line(row.path), tone("dim"))

    def render_line(self, y: int) -> Strip:
        if not self.rows and y == 0:
            return self._draw(fit(Content.styled(EMPTY_TEXT, tone("dim")), self.size.width), "")
        return super().render_line(y)

    def show(self, rows: Sequence[CheckpointRow]) -> None:
        super().show(rows)
        self.refresh()  # its first line is a header or the text in place of it

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        row, state = self.current, self._state
        match action:
            case "chat_with" | "evaluate":
                return row is not None
            case "resume_from":
                return row is not None and row.step is not None and state is not None and state.can_resume
            case "delete_saved":
                return row is not None and row.step is not None and state is not None and state.can_remove
        return True

    def _request(self, action: str) -> None:
        if self.current is not None and self.check_action(action, ()):
            self.post_message(self.Requested(action, self.current))

    def action_chat_with(self) -> None:
        self._request("chat_with")

    def action_evaluate(self) -> None:
        self._request("evaluate")

    def action_resume_from(self) -> None:
        self._request("resume_from")

    def action_delete_saved(self) -> None:
        self._request("delete_saved")
