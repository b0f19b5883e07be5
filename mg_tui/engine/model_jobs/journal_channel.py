"""What work tells, as events in the journal of its job."""

from typing import Any

from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.runs.journal import JournalWriter


class JournalChannel:
    """A `ProgressChannel` whose reader is the journal.

    Attributes:
        reply: the reply that ended the work; None before.
    """

    def __init__(self, journal: JournalWriter, stopper: StopHandler) -> None:
        self.reply: dict[str, Any] | None = None
        self._journal, self._stopper = journal, stopper
        self._total: int | None = None
        self._phase: str | None = None

    def send(self, event: str, **fields: Any) -> None:
        """Write `progress`; keep the reply.

        Raises:
            StopRequested: a stop was requested meanwhile.
        """
        if event == "progress":
            with self._stopper.uninterrupted():
                self._progress(str(fields["what"]), int(fields["done"]), int(fields["total"]))
        else:
            self.reply = fields

    def send_notice(self, text: str) -> None:
        """Write a message for the user.

        Raises:
            StopRequested: a stop was requested meanwhile.
        """
        with self._stopper.uninterrupted():
            self._journal.write("notice", text=text)

    def _progress(self, what: str, done: int, total: int) -> None:
        if total != self._total:
            self._total = total
            self._journal.write("plan", steps=total)
        if what != self._phase:
            self._phase = what
            self._journal.write("phase", name=what, detail=None)
        self._journal.write("step", step=done)
