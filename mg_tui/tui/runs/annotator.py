"""What a person writes on runs from the dashboard: another name, a note, tags."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mg_tui.runs.annotations import MAX_NAME, MAX_NOTE, Annotations
from mg_tui.tui import formatting
from mg_tui.tui.runs.commands import RunCommands

if TYPE_CHECKING:
    from mg_tui.runs.folder import RunFolder
    from mg_tui.tui.runs.snapshot import RunRow


class AskText(Protocol):
    """Asks for a text of one line; see `BaseApp.ask_text`."""

    def __call__(
        self,
        title: str,
        description: str,
        done: Callable[[str], None],
        *,
        value: str = "",
        placeholder: str = "",
        limit: int = 60,
    ) -> None: ...


class RunAnnotator:
    """Asks, and writes in a thread; the functions of `mg_tui.runs.annotations` are those of the command line too."""

    def __init__(self, commands: RunCommands, ask: AskText) -> None:
        self._commands, self._ask = commands, ask

    def rename(self, row: "RunRow") -> None:
        """Ask for another name of a run."""

        def write(name: str) -> None:
            def job() -> str:
                from mg_tui.runs.annotations import rename

                rename(row.folder, name)
                return f"is now called {name}" if name else "has the name of its start again"

            self._commands.run_in_thread(row.title, job)

        description = "Its id stays, and commands find it by either. Nothing gives it back the name of its start."
        value = row.title if row.title != row.id else ""
        self._ask("Rename the run", description, write, value=value, placeholder=row.id, limit=MAX_NAME)

    def note(self, row: "RunRow") -> None:
        """Ask for a note on a run."""

        def write(note: str) -> None:
            def job() -> str:
                from mg_tui.runs.annotations import set_note

                set_note(row.folder, note)
                return "has the note" if note else "has no note"

            self._commands.run_in_thread(row.title, job)

        before = row.annotations.note
        description = f"Shown with {row.title}, and found by filters. Nothing removes it."
        if "\n" in before:
            description += " This one has several lines, which become one; `runs note --edit` keeps them."
        self._ask("Note", description, write, value=before, placeholder="what it was for", limit=MAX_NOTE)

    def tags(self, rows: "Sequence[RunRow]") -> None:
        """Ask for the tags of a run; of several, for tags to add and to take away."""
        if len(rows) == 1:
            row = rows[0]
            description = "Words with blanks between them; a filter finds them by #tag. Nothing removes them."
            value = " ".join(row.annotations.tags)
            self._ask(f"Tags of {row.title}", description, self._tag_writer(rows, exactly=True), value=value, limit=400)
        else:
            description = "Words with blanks between them are added to each; a word after - is taken away."
            title = f"Tags of {formatting.count(len(rows), 'run')}"
            self._ask(title, description, self._tag_writer(rows, exactly=False), placeholder="good -old", limit=400)

    def _tag_writer(self, rows: "Sequence[RunRow]", *, exactly: bool) -> Callable[[str], None]:
        title = rows[0].title if len(rows) == 1 else formatting.count(len(rows), "run")

        def write(text: str) -> None:
            words = text.replace(",", " ").split()

            def job() -> str:
                tags = [_write_tags(row.folder, words, exactly=exactly).tags for row in rows]
                if len(rows) > 1:
                    return "tags changed"
                return " ".join(f"#{tag}" for tag in tags[0]) or "has no tags"

            self._commands.run_in_thread(title, job)

        return write


def _write_tags(folder: "RunFolder", words: Sequence[str], *, exactly: bool) -> Annotations:
    from mg_tui.runs.annotations import change_tags, set_tags

    if exactly:
        return set_tags(folder, words)
    return change_tags(
        folder,
        add=[word for word in words if not word.startswith("-")],
        remove=[word.removeprefix("-") for word in words if word.startswith("-")],
    )
