"""A thread that runs the preflight and starts or queues the run; and one that makes a sample dataset."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.config import Settings
from mg_tui.core.errors import GardenError, RunFailed, describe_exception
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.doctor.findings import MachineFinding
    from mg_tui.runs.operations import StartedRun

_PROGRESS_SECONDS: Final = 0.25  # between two progress messages
SAMPLE_ROWS: Final = 20


class PreflightStatus(Message):
    """The phase of the preflight, and images done of all; 0 before they are counted."""

    def __init__(self, phase: str, done: int = 0, total: int = 0) -> None:
        super().__init__()
        self.phase, self.done, self.total = phase, done, total


class PreflightFailed(Message):
    """Why nothing was started."""

    def __init__(self, error: GardenError) -> None:
        super().__init__()
        self.error = error


class RunStarted(Message):
    """The run is started or queued, without `skipped_rows` bad rows; `machine`: what the doctor found that matters."""

    def __init__(self, launched: "StartedRun", skipped_rows: int, machine: "Sequence[MachineFinding]" = ()) -> None:
        super().__init__()
        self.launched, self.skipped_rows, self.machine = launched, skipped_rows, machine


class SampleDatasetMade(Message):
    """The sample dataset is written."""

    def __init__(self, dataset: Path) -> None:
        super().__init__()
        self.dataset = dataset


class _Cancelled(Exception):
    """The check was cancelled."""


class RunStarter(threading.Thread):
    """Runs the preflight that every face runs and starts the run, unless it is cancelled before."""

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
        super().__init__(daemon=True, name="RunStarter")
        self._target, self._spec, self._settings, self._cwd = target, spec, settings, cwd
        self._in_queue, self._gpus = in_queue, gpus
        self._cancelled = False
        self._last_progress = 0.0

    def cancel(self) -> None:
        """End at the next opportunity; a run that is started by then goes on."""
        self._cancelled = True

    def run(self) -> None:
        try:
            self._start()
        except _Cancelled:
            return
        except GardenError as error:
            self._post(PreflightFailed(error))
        except Exception as error:  # a bug must not leave the screen open forever
            self._post(PreflightFailed(RunFailed("the check failed", why=describe_exception(error))))

    def _start(self) -> None:
        from mg_tui.preflight import checks
        from mg_tui.runs import control, devices, launch, operations
        from mg_tui.runs.device_request import check_process_count

        self._post(PreflightStatus("output folder, base model and dataset"))
        if self._gpus is not None:
            available = devices.find_devices()
            devices.require_devices(self._gpus, available)
            check_process_count(self._spec.processes, self._gpus, available)
        launch.check_output_dir(self._spec, cwd=self._cwd)
        preflight = checks.run_preflight(self._spec, self._settings, cwd=self._cwd, progress=self._progress)
        if self._cancelled:
            raise _Cancelled
        self._post(PreflightStatus("all checks passed; queueing the run" if self._in_queue else "starting"))
        folder = launch.create_run(preflight.resolve_spec(self._spec), self._settings, cwd=self._cwd)
        launched = operations.start_or_queue(
            folder, control.requester("dashboard"), gpus=self._gpus, in_queue=self._in_queue
        )
        skipped = len({problem.row for problem in preflight.dataset.problems})
        self._post(RunStarted(launched, skipped, preflight.machine))

    def _progress(self, done: int, total: int) -> None:
        if self._cancelled:
            raise _Cancelled
        if time.monotonic() - self._last_progress > _PROGRESS_SECONDS or done == total:
            self._last_progress = time.monotonic()
            self._post(PreflightStatus("rows and images", done, total))

    def _post(self, message: Message) -> None:
        if not self._cancelled:
            post(self._target, message)


class SampleDatasetMaker(threading.Thread):
    """Makes a sample dataset in the cache folder, unless it is there."""

    def __init__(self, target: MessagePump, folder: Path) -> None:
        super().__init__(daemon=True, name="SampleDatasetMaker")
        self._target, self._folder = target, folder

    def run(self) -> None:
        from mg_tui.data.synthetic.vision_dataset import create_vision_dataset

        dataset = self._folder / "sample" / f"shapes-{SAMPLE_ROWS}.jsonl"
        try:
            if not dataset.is_file():
                create_vision_dataset(dataset, SAMPLE_ROWS, force=True)
        except GardenError as error:
            post(self._target, PreflightFailed(error))
        except Exception as error:  # a bug must not vanish with its thread
            problem = RunFailed("could not create the sample dataset", why=describe_exception(error))
            post(self._target, PreflightFailed(problem))
        else:
            post(self._target, SampleDatasetMade(dataset))
