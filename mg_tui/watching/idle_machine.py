"""After a run: whether the machine's GPUs compute nothing while it is billed.

Only where a price by the hour is set, or the machine is rented, and nothing is going to end it: somebody may sleep and
believe that it still trains.
"""

from collections.abc import Mapping
from typing import Any, Final

from mg_tui.core.text import one_line
from mg_tui.runs.cost import default_currency
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.store import list_active
from mg_tui.runs.view import RunView
from mg_tui.watching.health import IDLE_SECONDS, SAMPLE_SECONDS, SampleGpus, are_idle
from mg_tui.watching.messages import MessageWriter, RunMessage
from mg_tui.watching.watch_state import WatchState
from mg_tui.watching.when_done import find_machine

LONGEST_SECONDS: Final = 24 * 3600.0  # after the end of a run; by then another message says nothing new
# A pod ends with its last process: watching on would be what keeps the GPU.
_POD_VARIABLE: Final = "KUBERNETES_SERVICE_HOST"


class IdleMachine:
    """Looks at the GPUs after the end of one run; one message at most, until the run is resumed.

    Args:
        folder: the run.
        state: of the run's watching; the message is not sent twice.
        sample_gpus: the GPUs now.
        prices: the settings' [cost] table.
        environ: where a provider's variables are.
    """

    def __init__(
        self,
        folder: RunFolder,
        state: WatchState,
        sample_gpus: SampleGpus,
        prices: Mapping[str, Any],
        environ: Mapping[str, str],
    ):
        self._folder, self._state, self._sample_gpus = folder, state, sample_gpus
        self._billed = None if environ.get(_POD_VARIABLE) else _billed(prices, environ)
        self._idle_since: float | None = None
        self._sample_at = 0.0
        self._over = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is looked for any more until the run is resumed."""
        return self._billed is None or self._over

    def reset(self) -> None:
        """The run goes on."""
        self._idle_since, self._sample_at, self._over = None, 0.0, False

    def check(self, view: RunView, writer: MessageWriter, now: float) -> RunMessage | None:
        """The run has ended: the message that the machine is idle, when it is time for it."""
        if self.is_over or now < self._sample_at:
            return None
        self._sample_at = now + SAMPLE_SECONDS
        key = f"gpu_idle#end{view.attempt}"
        ended = view.ended_at or view.last_time or now
        gpus = self._sample_gpus()
        if not gpus or now - ended > LONGEST_SECONDS or self._state.was_sent(key) or self._another_run():
            self._over = True
            return None
        if not are_idle(gpus):
            self._idle_since = None
            return None
        if self._idle_since is None:
            self._idle_since = now
        seconds = now - self._idle_since
        if seconds < IDLE_SECONDS:
            return None
        self._over = True
        text = (
            f"no run is active and the GPUs have computed nothing for {seconds / 60:.0f} min; {self._billed}: stop the "
            "machine (--when-done does it at the end of a run)"
        )
        return writer.notice(key, "gpu_idle", text, now)

    def _another_run(self) -> bool:
        """Whether another run of this home is active: the end of that one is the one that counts."""
        return bool(list_active(self._folder.home))


def _billed(prices: Mapping[str, Any], environ: Mapping[str, str]) -> str | None:
    """Why it matters that the machine is idle, in words; None where nobody pays by the hour."""
    for name, what in (("per_hour", "an hour of this machine"), ("per_gpu_hour", "an hour of a GPU")):
        if price := prices.get(name):
            currency = one_line(str(prices.get("currency") or default_currency()), limit=8)
            return f"{what} costs {float(price):,.2f} {currency}"
    machine = find_machine(environ)
    return None if machine is None else f"{machine.provider} bills them all the same"
