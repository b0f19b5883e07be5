"""A thread that checks a run and starts or queues it, saying how far it is; and one that draws a sample dataset."""

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.config import Settings
from mg_tui.core.errors import GardenError, RunFailed

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.runs.operations import StartedRun

_PROGRESS_SECONDS: Final = 0.25  # seconds between two words about the progress
SAMPLE_ROWS: Final = 20


class PreflightStatus(Message):
    """What the check is at: images done and all of them, 0 when they are not counted yet."""

    def __init__(self, what: str, done: int = 0, total: int = 0) -> None:
        super().__init__()
        self.phase, self.done, self.total = what, done, total


class PreflightFailed(Message):
    """Nothing was started, and why."""

    def __init__(self, error: GardenError) -> None:
        super().__init__()
        self.error = error


class RunStarted(Message):
    """The run is started or queued; `skipped` rows are left out of it."""

    def __init__(self, begun: "StartedRun", skipped: int) -> None:
        super().__init__()
        self.launched, self.skipped_rows = begun, skipped


class SampleDatasetMade(Message):
    """A sample dataset is there."""

    def __init__(self, dataset: Path) -> None:
        super().__init__()
        self.dataset = dataset


class _Cancelled(Exception):
    """The check was cancelled."""


class RunStarter(threading.Thread):
    """Checks as every face does and starts the run, unless it is cancelled before."""

    def __init__(
        self,
        target: MessagePump,
        spec: "TrainingSpec",
        settings: Settings,
        *,
        cwd: Path,
        in_queue: bool = False,
        gpus: Sequence[str] | None = None,
    ) -> None:
        super().__init__(daemon=True, name="Starter")
        self._target, self._spec, self._settings, self._cwd = target, spec, settings, cwd
        self._in_queue, self._gpus = in_queue, gpus
        self._cancelled = False
        self._last_progress = 0.0

    def cancel(self) -> None:
        """End at the next opportunity; what has been started by then goes on."""
        self._cancelled = True

    def run(self) -> None:
        try:
            self._start()
        except _Cancelled:
            return
        except GardenError as error:
            self._post(PreflightFailed(error))
        except Exception as error:  # a bug must not leave the question open for ever
            self._post(PreflightFailed(RunFailed("the check itself failed", why=f"{type(error).__name__}: {error}")))

    def _start(self) -> None:
        from mg_tui.preflight import checks
        from mg_tui.runs import control, devices, launch, operations

        self._post(PreflightStatus("output folder, base model and dataset"))
        if self._gpus is not None:
            devices.require_devices(self._gpus, devices.find_devices())
        launch.check_output_dir(self._spec, cwd=self._cwd)
        found = checks.run_preflight(self._spec, self._settings, cwd=self._cwd, progress=self._progress)
        if self._cancelled:
            raise _Cancelled
        self._post(
            PreflightStatus("everything is well; the run is being put into the queue" if self._in_queue else "starting")
        )
        folder = launch.create_run(found.resolve_spec(self._spec), self._settings, cwd=self._cwd)
        begun = operations.start_or_queue(
            folder, control.requester("dashboard"), gpus=self._gpus, in_queue=self._in_queue
        )
        self._post(RunStarted(begun, len({problem.row for problem in found.dataset.problems})))

    def _progress(self, done: int, total: int) -> None:
        if self._cancelled:
            raise _Cancelled
        if time.monotonic() - self._last_progress > _PROGRESS_SECONDS or done == total:
            self._last_progress = time.monotonic()
            self._post(PreflightStatus("rows and images", done, total))

    def _post(self, message: Message) -> None:
        if not self._cancelled:
            _post(self._target, message)


class SampleDatasetMaker(threading.Thread):
    """Draws a sample dataset into the folder for things that can be made again, once."""

    def __init__(self, target: MessagePump, folder: Path) -> None:
        super().__init__(daemon=True, name="Sampler")
        self._target, self._folder = target, folder

    def run(self) -> None:
        from mg_tui.data.synthetic.vision_dataset import create_vision_dataset

        dataset = self._folder / "sample" / f"shapes-{SAMPLE_ROWS}.jsonl"
        try:
            if not dataset.is_file():
                create_vision_dataset(dataset, SAMPLE_ROWS, force=True)
        except GardenError as error:
            _post(self._target, PreflightFailed(error))
        except Exception as error:  # a bug must not vanish with its thread
            _post(
                self._target, PreflightFailed(RunFailed("no sample was made", why=f"{type(error).__name__}: {error}"))
            )
        else:
            _post(self._target, SampleDatasetMade(dataset))


def _post(target: MessagePump, message: Message) -> None:
    with contextlib.suppress(RuntimeError):  # the event loop has closed under it
        target.post_message(message)
