"""What a person does to models from the list of models: delete and restore."""

from collections.abc import Callable

from mg_tui.tui import formatting
from mg_tui.tui.base_app import BaseApp
from mg_tui.tui.models.catalog import ModelRow


class ModelCommands:
    """Commands on models, done in a thread, reported when done."""

    def __init__(self, app: BaseApp, changed: Callable[[], None]) -> None:
        """`changed` is called, in the interface's thread, when the list may have changed."""
        self._app, self._changed = app, changed

    def remove(self, row: ModelRow) -> None:
        """Confirm, and move a result to the trash."""
        folder = row.folder
        if folder is None:
            return

        def job() -> str:
            from mg_tui.runs.model_trash import remove_model

            remove_model(self._app.settings.home, folder)
            self._app.call_from_thread(self._changed)
            return "deleted; u restores it"

        size = f" ({formatting.size(row.bytes)})" if row.bytes else ""
        kept = " The run keeps its journal and checkpoints." if row.run_folder and row.kind != "merged" else ""
        detail = f"{folder}{size} moves to the trash for 14 days; u restores it.{kept}"
        self._app.confirm(
            f"Delete {row.title}?", detail, "Delete", lambda: self._app.run_commands.run_in_thread(row.title, job)
        )

    def restore(self) -> None:
        """Bring the model back that was deleted last."""

        def job() -> str:
            from mg_tui.runs.model_trash import list_removed, restore_model

            removed = list_removed(self._app.settings.home)
            if not removed:
                return "no models to restore"
            restore_model(removed[0])
            self._app.call_from_thread(self._changed)
            return f"{removed[0].name} restored"

        self._app.run_commands.run_in_thread("Trash", job)
