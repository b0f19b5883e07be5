"""A thread that reckons what a run would cost while its form is being filled in. The newest question wins.

The first answer comes without the dataset; the dataset is then read, once for as long as it stays the same, and the
answer is given again. Devices are looked at every few seconds, since others use them too.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.config import Settings
from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line, printable
from mg_tui.tui.new.run_estimate import LocalDeviceFit, RunEstimate, summarize_workload, trained_parts

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.dataset import Dataset
    from mg_tui.hardware.memory import ExampleSize, MemoryAdvisor
    from mg_tui.hardware.sampler import DeviceSampler
    from mg_tui.hardware.types import DeviceSnapshot

DEBOUNCE_SECONDS: Final = 0.25  # seconds without another key before anything is reckoned
DEVICE_POLL_SECONDS: Final = 5.0  # seconds between two looks at the devices
MAX_DATASET_BYTES: Final = 256 << 20  # bytes of a dataset that is read without being asked to


class EstimateReady(Message):
    """What is known now of the run last asked about."""

    def __init__(self, number: int, outlook: RunEstimate) -> None:
        super().__init__()
        self.number, self.estimate = number, outlook


@dataclass(frozen=True, slots=True)
class EstimateRequest:
    """A question: the run, and what of it is a blank."""

    number: int
    spec: "TrainingSpec"
    cwd: Path
    has_model: bool
    has_dataset: bool
    ignore_size_limit: bool = False


class _Superseded(Exception):
    """There is a newer question."""


class RunEstimator(threading.Thread):
    """Answers `ask` with `EstimateReady` messages, a later question before an earlier one."""

    def __init__(self, target: MessagePump, settings: Settings, *, debounce: float = DEBOUNCE_SECONDS) -> None:
        super().__init__(daemon=True, name="Forecaster")
        self._target, self._settings, self._debounce = target, settings, debounce
        self._request: EstimateRequest | None = None
        self._wake = threading.Event()
        self._ended = self._paused = False
        self._dataset_cache: dict[Any, Dataset] = {}  # the last one read
        self._row_cache: dict[Any, list[ExampleSize]] = {}  # of the last one measured
        self._sampler: DeviceSampler | None = None
        self._snapshot: DeviceSnapshot | None = None
        self._last_estimate: RunEstimate | None = None
        self._memory_question: MemoryAdvisor | None = None

    def request(self, request: EstimateRequest) -> None:
        """Take up another question."""
        self._request = request
        if not self.is_alive() and not self._ended:
            self.start()
        self._wake.set()

    def pause(self) -> None:
        """Look at no devices until resumed."""
        self._paused = True

    def resume(self) -> None:
        """Go on."""
        self._paused = False
        self._wake.set()

    def stop(self) -> None:
        """Let the thread finish by itself."""
        self._ended = True
        self._wake.set()

    def run(self) -> None:
        answered = -1
        while not self._ended:
            self._wake.wait(None if self._paused or self._request is None else DEVICE_POLL_SECONDS)
            if self._debounce_requests() or self._paused or self._request is None:
                continue
            request = self._request
            try:
                self._sample_devices()
                request = self._with_device(request)
                if request.number != answered:
                    self._answer(request)
                    answered = request.number
                else:
                    self._update_devices(request)
            except _Superseded:
                continue
            except Exception as error:  # whatever it is, the form can be filled in and says it
                answered = request.number
                why = printable(f"{type(error).__name__}: {error}", limit=400)
                with contextlib.suppress(_Superseded):
                    self._post(request, RunEstimate(problems=(why,)))

    def _debounce_requests(self) -> bool:
        """Wait until nothing more is asked; True when the thread is to end."""
        while self._wake.is_set() and not self._ended:
            self._wake.clear()
            self._wake.wait(self._debounce)
        return self._ended

    # --- answering

    def _sample_devices(self) -> None:
        if self._sampler is None:
            from mg_tui.hardware.sampler import DeviceSampler

            self._sampler = DeviceSampler()
        self._snapshot = self._sampler.sample()

    def _with_device(self, request: EstimateRequest) -> EstimateRequest:
        """Where there is no GPU and none is asked for, the run would be on the CPU."""
        if request.spec.device != "auto" or self._snapshot is None or self._snapshot.gpus:
            return request
        return replace(request, spec=request.spec.model_copy(update={"device": "cpu"}))

    def _is_newest(self, request: EstimateRequest) -> bool:
        return self._request is not None and self._request.number == request.number

    def _answer(self, request: EstimateRequest) -> None:
        outlook = self._without_dataset(request)
        if not request.has_dataset:
            self._post(request, outlook)
            return
        key = self._dataset_key(request)
        if key not in self._dataset_cache:
            self._post(request, replace(outlook, rows_read=(0, 0)))
        try:
            dataset = self._dataset(request, key, outlook)
            outlook = self._with_dataset(request, key, dataset, outlook)
        except GardenError as error:
            outlook = replace(outlook, problems=(*outlook.problems, _format_error(error)))
        self._post(request, outlook)

    def _without_dataset(self, request: EstimateRequest) -> RunEstimate:
        self._memory_question = None
        if not request.has_model:
            return self._with_devices(request, RunEstimate(problems=("Choose a base model to see what it needs.",)))
        from mg_tui.preflight import memory

        try:
            self._memory_question = memory.make_advisor(
                request.spec,
                self._settings,
                cwd=request.cwd,
                read_dataset=False,
                device="cpu" if request.spec.device == "cpu" else "cuda",
            )
            return self._with_question(request, RunEstimate())
        except GardenError as error:
            return self._with_devices(request, RunEstimate(problems=(_format_error(error),)))

    def _with_question(self, request: EstimateRequest, outlook: RunEstimate) -> RunEstimate:
        question = self._memory_question
        assert question is not None
        outlook = replace(outlook, memory=question.estimate(), question=question, trained_parts=trained_parts(question))
        return self._with_devices(request, outlook)

    def _with_devices(self, request: EstimateRequest, outlook: RunEstimate) -> RunEstimate:
        from mg_tui.hardware.memory.candidates import local_candidates

        assert self._snapshot is not None
        snapshot = self._snapshot
        question = self._memory_question
        fits = []
        for place in local_candidates(snapshot, request.spec):
            fitting = question is not None and question.fits(place.free)
            remedies = [] if question is None or fitting else question.suggestions(place.free)
            fits.append(LocalDeviceFit(place, fitting, remedies[0].flags if remedies else ""))
        return replace(outlook, device_fits=tuple(fits), why_no_gpu=snapshot.why_no_gpu)

    def _update_devices(self, request: EstimateRequest) -> None:
        if self._last_estimate is not None and self._last_estimate.rows_read is None:
            now = self._with_devices(request, self._last_estimate)
            if [(fit.fits, _rounded_free_memory(fit)) for fit in now.device_fits] != [
                (fit.fits, _rounded_free_memory(fit)) for fit in self._last_estimate.device_fits
            ]:
                self._post(request, now)

    # --- the dataset

    def _dataset_key(self, request: EstimateRequest) -> Any:
        """What a dataset that was read depends on: its file as it is now, and the words of the spec's data options."""
        from mg_tui.core.options import options_of

        described = {opt.name: opt for opt in options_of(type(request.spec))}
        group = described["dataset"].group
        words = tuple(
            getattr(request.spec, name)
            for name, opt in described.items()
            if opt.group == group and opt.kind in ("text", "path", "choice", "list")
        )
        size, changed = _file_stat(request)
        return (request.cwd, words, size, changed)

    def _dataset(self, request: EstimateRequest, key: Any, outlook: RunEstimate) -> "Dataset":
        if key not in self._dataset_cache:
            size, _changed = _file_stat(request)
            if size > MAX_DATASET_BYTES and not request.ignore_size_limit:
                raise GardenError(
                    f"the dataset is large ({size / 2**30:.1f} GiB) and is not read while the form is filled in",
                    hint="a run of the check in Datasets, or the start itself, reads it",
                )
            from mg_tui.preflight import memory

            read = memory.load_dataset_headers(
                request.spec, self._settings, cwd=request.cwd, progress=self._progress(request, outlook)
            )
            self._dataset_cache = {key: read}
        return self._dataset_cache[key]

    def _progress(self, request: EstimateRequest, outlook: RunEstimate) -> Callable[[int, int], None]:
        last = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal last
            if self._ended or not self._is_newest(request):
                raise _Superseded
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                self._post(request, replace(outlook, rows_read=(done, total)))

        return progress

    def _with_dataset(
        self, request: EstimateRequest, key: Any, dataset: "Dataset", outlook: RunEstimate
    ) -> RunEstimate:
        if self._memory_question is None:
            return replace(outlook, workload=summarize_workload(request.spec, dataset, None, None))
        from mg_tui.families.registry import load_registry
        from mg_tui.preflight import memory

        spec = request.spec
        key = (key, spec.base_model, spec.revision, spec.train_on_prompt)
        if key not in self._row_cache:
            model = load_registry().resolve(spec.base_model, revision=spec.revision)
            self._row_cache = {key: list(memory.example_sizes(dataset, model, spec))}
        rows = self._row_cache[key]
        self._memory_question = memory.make_advisor(
            spec, self._settings, cwd=request.cwd, rows=rows, device=self._memory_question.device
        )
        return replace(
            self._with_question(request, outlook),
            workload=summarize_workload(spec, dataset, rows, self._memory_question),
        )

    def _post(self, request: EstimateRequest, outlook: RunEstimate) -> None:
        if self._ended or not self._is_newest(request):
            raise _Superseded
        self._last_estimate = outlook
        try:
            self._target.post_message(EstimateReady(request.number, outlook))
        except RuntimeError:  # the event loop has closed under it
            self._ended = True


def _rounded_free_memory(fit: LocalDeviceFit) -> float:
    """Free memory by quarters of a GiB: what is smaller is not worth drawing."""
    return round(fit.place.free / 2**28)


def _file_stat(request: EstimateRequest) -> tuple[int, float]:
    from mg_tui.core.paths import expand_user

    try:
        found = (request.cwd / expand_user(request.spec.dataset)).stat()
    except (OSError, ValueError, GardenError):
        return 0, 0.0
    return found.st_size, found.st_mtime


def _format_error(error: GardenError) -> str:
    """An error in one paragraph."""
    first, *rest = error.what.splitlines()
    said = [one_line(first, limit=300) + (f" ({one_line(rest[0], limit=200)})" if rest else "")]
    more = (error.where, error.why, error.hint and f"try: {error.hint}")
    said += [one_line(text, limit=300) for text in more if text]
    return "; ".join(said)
