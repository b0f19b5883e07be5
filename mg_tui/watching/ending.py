"""The end of a watched run: when it is safe to end the machine, and the grace in which that can be cancelled."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Final

from mg_tui.runs.folder import RunFolder
from mg_tui.runs.result_place import result_folder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import list_active
from mg_tui.runs.view import RunView
from mg_tui.runs.watch_request import CANCEL_FILE, WatchRequest
from mg_tui.watching.messages import MessageWriter, RunMessage
from mg_tui.watching.watch_state import WatchState
from mg_tui.watching.when_done import EndingFailed, describe, end

# A person who stops a run is there, and a machine that ends needs no help.
ENDING_STATES: Final = (RunState.FINISHED, RunState.FAILED, RunState.CRASHED, RunState.STOPPED)
BUDGET_STOP: Final = "max_cost"  # who stopped a run that has cost too much
_ATTEMPTS: Final = 5
_RETRY_SECONDS: Final = 60.0

Send = Callable[[RunMessage], None]


class Ending:
    """Decides, waits and acts; everything it knows is in the run's state, so that another process continues.

    Args:
        folder: the run.
        request: with `when_done` and the grace.
        state: of the run's watching.
        environ: where the provider's variables are.
    """

    def __init__(
        self,
        folder: RunFolder,
        request: WatchRequest,
        state: WatchState,
        environ: Mapping[str, str] = os.environ,
        *,
        retry_seconds: float = _RETRY_SECONDS,
    ):
        self._folder, self._request, self._state, self._environ = folder, request, state, environ
        self._retry_seconds = retry_seconds

    @property
    def is_over(self) -> bool:
        """Whether nothing happens any more until the run is resumed."""
        return self._request.when_done is None or bool(self._state.ending.get("over"))

    def reset(self) -> None:
        """The run goes on: what was planned for its end is off."""
        with contextlib.suppress(OSError):
            (self._folder.path / CANCEL_FILE).unlink(missing_ok=True)
        if self._state.ending:
            with self._state.changing():
                self._state.ending = {}

    def tick(
        self, state: RunState, view: RunView, writer: MessageWriter, *, synced: bool, send: Send, now: float
    ) -> None:
        """The run has ended in `state`: go on towards the end of the machine."""
        action = self._request.when_done
        if action is None or self._state.ending.get("over"):
            return
        if why := self._reason_against(state, view):
            self._finish(f"nothing is done: {why}")
            return
        if (self._folder.path / CANCEL_FILE).exists():
            self._finish("cancelled")
            send(writer.notice(f"ended#{view.last_number}", "ended", "cancelled: the machine keeps running", now))
            return
        if waits := self._reason_to_wait(state, synced=synced):
            self._set_text(waits)
            return
        at = self._state.ending.get("at")
        if not isinstance(at, int | float):
            self._announce(view, writer, send, now)
        elif now >= at:
            self._act(action, state, view, writer, send, now)

    def _reason_against(self, state: RunState, view: RunView) -> str | None:
        if state not in ENDING_STATES:
            return f"the run is {state.label}"
        if state is RunState.STOPPED and not str(view.result.get("by", "")).startswith(BUDGET_STOP):
            return "somebody stopped the run"
        if state is RunState.FINISHED and result_folder(self._folder) is None:
            return "the result is not where it was saved"
        if self._request.when_done == "terminate" and self._request.sync is None:
            return "nothing was copied off this machine"
        return None

    def _reason_to_wait(self, state: RunState, *, synced: bool) -> str | None:
        if self._request.sync is not None and not synced:
            return "waits until everything is copied"
        active = [run.id for run in list_active(self._folder.home)]
        return (
            f"waits for {active[0]}" + (f" and {len(active) - 1} more" if len(active) > 1 else "") if active else None
        )

    def _announce(self, view: RunView, writer: MessageWriter, send: Send, now: float) -> None:
        with self._state.changing():
            self._state.ending = {"at": now + self._request.grace}
        what = self._request.when_done_label
        cancel = f"cancel: model-garden watch {self._folder.id} --cancel"
        text = f"{what} in {self._request.grace:.0f} s; {cancel}"
        send(writer.notice(f"ending#{view.last_number}", "ending", text, now))

    def _act(self, action: str, state: RunState, view: RunView, writer: MessageWriter, send: Send, now: float) -> None:
        result = result_folder(self._folder) if state is RunState.FINISHED else None
        facts = {
            "MODEL_GARDEN_RUN": self._folder.id,
            "MODEL_GARDEN_STATE": state.value,
            "MODEL_GARDEN_RESULT": str(result or ""),
        }
        tries = int(self._state.ending.get("tries", 0)) + 1
        try:
            done = end(action, self._environ, facts, cwd=self._folder.path)
        except EndingFailed as error:
            again = tries < _ATTEMPTS
            with self._state.changing():
                self._state.ending = {
                    "at": now + self._retry_seconds,
                    "tries": tries,
                    "text": str(error),
                    "over": not again,
                }
            if tries == 1 or not again:
                text = f"{error}" + (f"; tried again in {self._retry_seconds:.0f} s" if again else "; given up")
                send(writer.notice(f"ended#{view.last_number}.{tries}", "ended", text, now))
            return
        self._finish(done)
        send(writer.notice(f"ended#{view.last_number}", "ended", done, now))

    def _finish(self, text: str) -> None:
        with self._state.changing():
            self._state.ending = {"over": True, "text": text, "done_at": time.time()}

    def _set_text(self, text: str) -> None:
        if self._state.ending.get("text") != text:
            with self._state.changing():
                self._state.ending = {"text": text}

    def describe(self) -> str:
        """What would happen."""
        return describe(self._request.when_done, self._environ) if self._request.when_done else "nothing"
