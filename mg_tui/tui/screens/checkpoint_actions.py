"""What is done with a checkpoint of the run on the screen."""

from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.widgets.run.checkpoints import CheckpointRow, CheckpointTable, model_of


class CheckpointActions(GardenScreen[None]):
    """A screen with a `CheckpointTable`, and the run that it shows in `detail`."""

    detail: RunDetail | None

    def on_checkpoint_table_requested(self, message: CheckpointTable.Requested) -> None:
        detail, row = self.detail, message.row
        if detail is None:
            return
        match message.action:
            case "chat_with":
                self._chat_with(detail, row)
            case "evaluate":
                from mg_tui.tui.screens.evaluate import EvaluateScreen

                self.app.push_screen(EvaluateScreen(model_of(row, detail)))
            case "resume_from":
                self.dashboard.run_commands.resume(detail.row, at=row.step)
            case "delete_saved" if row.step is not None:
                self.dashboard.run_commands.delete_checkpoint(detail.row, row.step)

    def _chat_with(self, detail: RunDetail, row: CheckpointRow) -> None:
        from mg_tui.tui.screens.chat import ChatScreen

        self.app.push_screen(ChatScreen(model_of(row, detail)))

    def action_chat(self) -> None:
        """Chat with the result."""
        if self.detail is not None and self.detail.row.result_path:
            self._chat_with(self.detail, CheckpointRow(None, self.detail.row.result_path))

    def on_table_chosen(self, message: CheckpointTable.Chosen) -> None:
        message.stop()
        self.action_chat_with()

    # --- so that the line of keys can be clicked

    def action_chat_with(self) -> None:
        self.query_one(CheckpointTable).action_chat_with()

    def action_evaluate(self) -> None:
        self.query_one(CheckpointTable).action_evaluate()

    def action_resume_from(self) -> None:
        self.query_one(CheckpointTable).action_resume_from()

    def action_delete_saved(self) -> None:
        self.query_one(CheckpointTable).action_delete_saved()
