"""A stop that must not wait for a long step: where a machine ends some seconds after SIGTERM, the step is abandoned.

The weights are those of the step before until the optimizer changes them, so an abandoned step loses nothing but its
own time: the checkpoint is that of the step before, with the random numbers as they were when the step began.
"""

import contextlib
import math
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from mg_tui.engine.monitoring.stopping import StopHandler

_STEPS: Final = 50  # whose median is the expected duration
# In the container image: seconds between SIGTERM and SIGKILL, 10 unless the container is started with another value.
CONTAINER_VARIABLE: Final = "GARDEN_STOP_SECONDS"
_CHECKPOINT_SHARE: Final = 0.1  # of the grace, for a checkpoint before the first one was timed


def choose_stop_grace(option: float | None, environment: Mapping[str, str], *, processes: int = 1) -> float | None:
    """Seconds between SIGTERM and the end of the machine or container; None if they are not known.

    Args:
        option: the run's own `stop_grace`, which is preferred.
        environment: has the container's, which is used by runs of one process: where there are several, a step that
            one of them abandons would keep the others waiting.
        processes: of the run.
    """
    if option is not None or processes > 1:
        return option
    with contextlib.suppress(ValueError):
        seconds = float(environment.get(CONTAINER_VARIABLE, ""))
        return seconds if seconds > 0 and math.isfinite(seconds) else None
    return None


class StepAbandoned(BaseException):  # not an Exception: nothing between the forward passes may catch it
    """The step in progress is given up, because it would end after the grace."""

    def __init__(self, why: str):
        super().__init__(why)
        self.why = why


class StopGrace:
    """Decides between forward passes whether a step is still finished.

    Args:
        seconds: between SIGTERM and the end of the machine; None always finishes the step.
        stopper: knows whether and when a stop was requested.
        clock: seconds.
    """

    def __init__(self, seconds: float | None, stopper: StopHandler, clock: Callable[[], float] = time.monotonic):
        self._seconds, self._stopper, self._clock = seconds, stopper, clock
        self._steps: deque[float] = deque(maxlen=_STEPS)
        self._began = 0.0
        self._random: dict[str, Any] = {}
        self.checkpoint_seconds = (seconds or 0.0) * _CHECKPOINT_SHARE  # what the last checkpoint took

    def begin_step(self) -> None:
        """A step begins."""
        if self._seconds is not None:
            self._began = self._clock()
            self._random = _random_states()

    def end_step(self) -> None:
        """The step is done."""
        if self._seconds is not None:
            self._steps.append(self._clock() - self._began)

    def check(self, done: int, parts: int) -> None:
        """Called before each forward pass of a step; `done` of its `parts` are done.

        Raises:
            StepAbandoned: SIGTERM arrived, and the step would end after the grace.
        """
        since = self._stopper.signal_at
        if self._seconds is None or since is None:
            return
        now = self._clock()
        spent = now - self._began
        expected = [spent / done * parts] if done else []
        expected += [statistics.median(self._steps)] if self._steps else []
        left = max(max(expected) - spent, 0.0) if expected else self._seconds
        if now - since + left + self.checkpoint_seconds > self._seconds:
            raise StepAbandoned(
                f"it would have taken {left:.1f} s more, and {self._seconds:g} s after SIGTERM the machine ends"
            )

    def restore_random(self) -> None:
        """Set the random number generators as they were when the step began."""
        _set_random_states(self._random)


def _random_states() -> dict[str, Any]:
    import numpy as np
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(), "cuda": cuda}


def _set_random_states(states: dict[str, Any]) -> None:
    import numpy as np
    import torch

    if not states:
        return
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state_all(states["cuda"])
