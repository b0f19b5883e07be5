"""Watches one run: turns what happens into messages, copies, and the end of the machine."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from mg_tui.core.events import Event
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch
from mg_tui.runs.watch_request import WatchRequest
from mg_tui.watching.delivery import FIRST_PAUSE, Deliverer
from mg_tui.watching.ending import Ending
from mg_tui.watching.health import HealthCheck, SampleGpus
from mg_tui.watching.idle_machine import IdleMachine
from mg_tui.watching.messages import MessageWriter, RunMessage
from mg_tui.watching.syncing import FAILED_MESSAGE_SECONDS, Syncer
from mg_tui.watching.watch_state import WatchState

_STARTS: Final = frozenset({"queued", "started"})
_KINDS_TO_COPY: Final = frozenset({"checkpoint", "finished", "stopped", "failed"})


class RunWatcher:
    """One run; `tick` is called every few seconds from one thread.

    Args:
        folder: the run.
        request: what to do around it.
        prices: the settings' [cost] table.
        sample_gpus: the GPUs now.
        environ: where a provider's variables are.
        clock: Unix time in seconds.
        retry_pause: seconds after a first failure of a message or a copy.
    """

    def __init__(
        self,
        folder: RunFolder,
        request: WatchRequest,
        *,
        prices: Mapping[str, Any],
        sample_gpus: SampleGpus = tuple,
        environ: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
        retry_pause: float = FIRST_PAUSE,
    ):
        self.folder, self.request, self._clock = folder, request, clock
        self.watch = RunWatch(folder, thin=False)
        self.state = WatchState(folder.path, request.since)
        self._writer = MessageWriter(folder, prices, self.state.last_best)
        self._health = HealthCheck(folder, sample_gpus)
        self._deliverer = Deliverer(request.notify, self.state, first_pause=retry_pause, clock=clock)
        self._syncer: Syncer | None = None
        if request.sync is not None:
            self._syncer = Syncer(folder, request.sync, self.state, first_pause=3 * retry_pause, clock=clock)
        self._ending = Ending(folder, request, self.state, environ)
        self._idle: IdleMachine | None = None
        if request.notify and request.when_done is None:
            self._idle = IdleMachine(folder, self.state, sample_gpus, prices, environ)
        self._ended = False

    def start(self) -> None:
        """Test every channel once, and start the threads."""
        if not self.state.was_sent("test"):
            message = self._writer.notice("test", "test", "messages about this run arrive here", self._clock())
            problems = self._deliverer.test(message)
            with self.state.changing():
                self.state.add(message, ())
                for label in self.request.notify:
                    channel = self.state.channels.setdefault(label, {})
                    channel["tested"] = True
                    channel["problem"] = channel.get("problem") or problems.get(label)
        else:
            self.state.save()
        self._deliverer.start()
        if self._syncer is not None:
            self._syncer.start()

    def stop(self, *, for_good: bool = False) -> None:
        """End the threads; what is left is done by the next process, unless it is `for_good`."""
        self._deliverer.stop()
        done = for_good or self.is_done
        if self._syncer is not None:
            self._syncer.stop()
        with self.state.changing():
            self.state.done = done

    @property
    def is_done(self) -> bool:
        """Whether the run has ended and nothing is left to do."""
        synced = self._syncer is None or self._syncer.is_done
        idle = self._idle is None or self._idle.is_over
        return self._ended and synced and idle and self._ending.is_over and not self.state.waiting

    @property
    def messages_waiting(self) -> int:
        """Messages that have not arrived."""
        return self.state.waiting

    @property
    def has_ended(self) -> bool:
        """Whether the run had ended at the last `tick`."""
        return self._ended

    def tick(self) -> None:
        """Look at the run once.

        Raises:
            GardenError: journal or lock cannot be read.
        """
        now = self._clock()
        new: list[Event] = []
        messages: list[RunMessage] = []
        for event in self.watch.refresh():
            if event.n > self.state.last_event:
                new.append(event)
                messages += self._writer.messages_of(event)
            else:
                self._writer.pass_over(event)
        run_state = self.watch.state
        if (dead := self._writer.of_state(run_state, now)) is not None:
            messages.append(dead)
        self._take(messages, self._health_messages(now))
        if (run_state.ended and not self._ended) or any(event.kind in _KINDS_TO_COPY for event in new):
            self._request_copy(run_state, new)
        # What was planned for an end, and its cancellation, are off when the run is resumed; a cancellation that came
        # before the end stays.
        resumed = self._ended and any(event.kind in _STARTS for event in new)
        if resumed or (self.state.ending and not run_state.ended):
            self._ending.reset()
        if self._idle is not None and (resumed or not run_state.ended):
            self._idle.reset()
        self._ended = run_state.ended
        if run_state.ended:
            self._tick_end(run_state, now)
        if self.is_done != self.state.done:
            with self.state.changing():
                self.state.done = self.is_done

    def _take(self, messages: list[RunMessage], others: list[RunMessage]) -> None:
        """Put messages into the outbox, together with the number of the event they are of."""
        if not messages and not others and self.state.last_event >= self.watch.view.last_number:
            return
        with self.state.changing():
            for message in [*messages, *others]:
                self.state.add(message, self.request.notify)
            self.state.last_event = max(self.state.last_event, self.watch.view.last_number)
            self.state.last_best = self._writer.last_best
        if messages or others:
            self._deliverer.wake()

    def _health_messages(self, now: float) -> list[RunMessage]:
        found = []
        for kind, text in self._health.check(self.watch, now):
            key = f"{kind}#now"
            if text is None:
                self.state.forget(key)
            elif not self.state.was_sent(key):
                found.append(self._writer.notice(key, kind, text, now))
        key = "sync_failed#now"
        if self._syncer is not None and self._syncer.failing_seconds > FAILED_MESSAGE_SECONDS:
            if not self.state.was_sent(key):
                why = str(self.state.sync.get("problem"))
                text = f"nothing could be copied to {self._syncer.label} for 5 min: {why}; it is tried again"
                found.append(self._writer.notice(key, "sync_failed", text, now))
        else:
            self.state.forget(key)
        return found

    def _request_copy(self, run_state: RunState, new: list[Event]) -> None:
        if self._syncer is not None:
            self._syncer.request(ended=run_state.ended, last_event=self.watch.view.last_number)

    def _tick_end(self, run_state: RunState, now: float) -> None:
        def send(message: RunMessage) -> None:
            self._take([message], [])

        synced = self._syncer is None or self._syncer.is_done
        self._ending.tick(run_state, self.watch.view, self._writer, synced=synced, send=send, now=now)
        if self._idle is not None and (idle := self._idle.check(self.watch.view, self._writer, now)) is not None:
            send(idle)
