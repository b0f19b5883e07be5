"""A thread that estimates a run while its form is being filled in. The newest request wins.

The first estimate comes without the dataset; the dataset is then read, once for as long as it does not change, and the
estimate is posted again. Devices are sampled every few seconds, since other processes use them too.
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
from mg_tui.core.errors import GardenError, describe_exception
from mg_tui.core.text import one_line
from mg_tui.tui.new.run_estimate import LocalDeviceFit, RunEstimate, summarize_workload, trained_parts
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.dataset import Dataset
    from mg_tui.hardware.memory import ExampleSize, MemoryAdvisor
    from mg_tui.hardware.sampler import DeviceSampler
    from mg_tui.hardware.types import DeviceSnapshot

DEBOUNCE_SECONDS: Final = 0.25  # without another request before one is answered
DEVICE_POLL_SECONDS: Final = 5.0
MAX_DATASET_BYTES: Final = 256 << 20  # larger datasets are not read for an estimate


class EstimateReady(Message):
    """The estimate for request `number`, as far as it is known now."""

    def __init__(self, number: int, estimate: RunEstimate) -> None:
        super().__init__()
        self.number, self.estimate = number, estimate


@dataclass(frozen=True, slots=True)
class EstimateRequest:
    """What to estimate: the run, and whether its base model and dataset are chosen yet."""

    number: int
    spec: "TrainingSpec"
    cwd: Path
    has_model: bool
    has_dataset: bool


class _Superseded(Exception):
    """There is a newer request."""


class RunEstimator(threading.Thread):
    """Answers `request` with `EstimateReady` messages, the newest request first."""

    def __init__(self, target: MessagePump, settings: Settings, *, debounce: float = DEBOUNCE_SECONDS) -> None:
        super().__init__(daemon=True, name="RunEstimator")
        self._target, self._settings, self._debounce = target, settings, debounce
        self._request: EstimateRequest | None = None
        self._wake = threading.Event()
        self._ended = self._paused = False
        self._dataset_cache: dict[Any, Dataset] = {}  # the last one read
        self._row_cache: dict[Any, list[ExampleSize]] = {}  # of the last one measured
        self._sampler: DeviceSampler | None = None
        self._snapshot: DeviceSnapshot | None = None
        self._last_estimate: RunEstimate | None = None
        self._advisor: MemoryAdvisor | None = None

    def request(self, request: EstimateRequest) -> None:
        """Answer another request."""
        self._request = request
        if not self.is_alive() and not self._ended:
            self.start()
        self._wake.set()

    def pause(self) -> None:
        """Stop until resumed."""
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
            except Exception as error:  # a bug; the form goes on
                answered = request.number
                with contextlib.suppress(_Superseded):
                    self._post(request, RunEstimate(problems=(describe_exception(error),)))

    def _debounce_requests(self) -> bool:
        """Wait until no more requests come; True when the thread is to end."""
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
        """Without a GPU, a run on device auto is on the CPU."""
        if request.spec.device != "auto" or self._snapshot is None or self._snapshot.gpus:
            return request
        return replace(request, spec=request.spec.model_copy(update={"device": "cpu"}))

    def _is_newest(self, request: EstimateRequest) -> bool:
        return self._request is not None and self._request.number == request.number

    def _answer(self, request: EstimateRequest) -> None:
        estimate = self._without_dataset(request)
        if not request.has_dataset:
            self._post(request, estimate)
            return
        key = self._dataset_key(request)
        if key not in self._dataset_cache:
            self._post(request, replace(estimate, rows_read=(0, 0)))
        try:
            dataset = self._dataset(request, key, estimate)
            estimate = self._with_dataset(request, key, dataset, estimate)
        except GardenError as error:
            estimate = replace(estimate, problems=(*estimate.problems, _format_error(error)))
        self._post(request, estimate)

    def _without_dataset(self, request: EstimateRequest) -> RunEstimate:
        self._advisor = None
        if not request.has_model:
            return self._with_devices(request, RunEstimate(problems=("Choose a base model to see its memory.",)))
        from mg_tui.preflight import memory

        try:
            self._advisor = memory.make_advisor(
                request.spec,
                self._settings,
                cwd=request.cwd,
                read_dataset=False,
                device="cpu" if request.spec.device == "cpu" else "cuda",
            )
            return self._with_advisor(request, RunEstimate())
        except GardenError as error:
            return self._with_devices(request, RunEstimate(problems=(_format_error(error),)))

    def _with_advisor(self, request: EstimateRequest, estimate: RunEstimate) -> RunEstimate:
        from mg_tui.hardware.memory.candidates import local_candidates, settle_for
        from mg_tui.preflight.memory import process_count

        advisor = self._advisor
        assert advisor is not None
        places = [] if self._snapshot is None else local_candidates(self._snapshot, request.spec)
        count = process_count(request.spec)
        asked = settle_for(advisor, places, count=count, parallel=request.spec.parallel)
        estimate = replace(estimate, memory=asked.estimate(), advisor=asked, trained_parts=trained_parts(asked))
        return self._with_devices(request, estimate)

    def _with_devices(self, request: EstimateRequest, estimate: RunEstimate) -> RunEstimate:
        from mg_tui.hardware.memory.candidates import local_candidates
        from mg_tui.preflight.memory import process_count

        assert self._snapshot is not None
        snapshot = self._snapshot
        advisor, count = self._advisor, process_count(request.spec)
        fits = []
        for device in local_candidates(snapshot, request.spec):
            asked = None if advisor is None else advisor.settle(count, request.spec.parallel, device.free)
            fitting = asked is not None and asked.fits(device.free)
            suggestions = [] if asked is None or fitting else asked.suggestions(device.free)
            fits.append(LocalDeviceFit(device, fitting, suggestions[0].flags if suggestions else ""))
        return replace(estimate, device_fits=tuple(fits), why_no_gpu=snapshot.why_no_gpu)

    def _update_devices(self, request: EstimateRequest) -> None:
        if self._last_estimate is not None and self._last_estimate.rows_read is None:
            estimate = self._with_devices(request, self._last_estimate)
            if _visible_fits(estimate) != _visible_fits(self._last_estimate):
                self._post(request, estimate)

    # --- the dataset

    def _dataset_key(self, request: EstimateRequest) -> Any:
        """What a read dataset depends on: its file as it is now, and the data options of the spec."""
        from mg_tui.core.options import options_of

        options = {opt.name: opt for opt in options_of(type(request.spec))}
        group = options["dataset"].group
        values = tuple(
            getattr(request.spec, name)
            for name, opt in options.items()
            if opt.group == group and opt.kind in ("text", "path", "choice", "list")
        )
        size, modified = _file_stat(request)
        return (request.cwd, values, size, modified)

    def _dataset(self, request: EstimateRequest, key: Any, estimate: RunEstimate) -> "Dataset":
        if key not in self._dataset_cache:
            size, _modified = _file_stat(request)
            if size > MAX_DATASET_BYTES:
                raise GardenError(
                    f"the dataset is large ({size / 2**30:.1f} GiB) and is not read while you edit",
                    hint="check it under Datasets, or start the run to read it",
                )
            from mg_tui.preflight import memory

            dataset = memory.load_dataset_headers(
                request.spec, self._settings, cwd=request.cwd, progress=self._progress(request, estimate)
            )
            self._dataset_cache = {key: dataset}
        return self._dataset_cache[key]

    def _progress(self, request: EstimateRequest, estimate: RunEstimate) -> Callable[[int, int], None]:
        last = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal last
            if self._ended or not self._is_newest(request):
                raise _Superseded
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                self._post(request, replace(estimate, rows_read=(done, total)))

        return progress

    def _with_dataset(
        self, request: EstimateRequest, key: Any, dataset: "Dataset", estimate: RunEstimate
    ) -> RunEstimate:
        if self._advisor is None:
            return replace(estimate, workload=summarize_workload(request.spec, dataset, None, None))
        from mg_tui.families.registry import load_registry
        from mg_tui.preflight import memory

        spec = request.spec
        key = (key, spec.base_model, spec.revision, spec.train_on_prompt)
        if key not in self._row_cache:
            model = load_registry().resolve(spec.base_model, revision=spec.revision, choice=spec.family)
            self._row_cache = {key: list(memory.example_sizes(dataset, model, spec))}
        rows = self._row_cache[key]
        self._advisor = memory.make_advisor(
            spec, self._settings, cwd=request.cwd, rows=rows, device=self._advisor.device
        )
        return replace(
            self._with_advisor(request, estimate),
            workload=summarize_workload(spec, dataset, rows, self._advisor),
        )

    def _post(self, request: EstimateRequest, estimate: RunEstimate) -> None:
        if self._ended or not self._is_newest(request):
            raise _Superseded
        self._last_estimate = estimate
        if not post(self._target, EstimateReady(request.number, estimate)):
            self._ended = True


def _visible_fits(estimate: RunEstimate) -> list[tuple[bool, int]]:
    """Whether the run fits on each device, and its free memory in quarters of a GiB: less is not worth drawing."""
    return [(fit.fits, round(fit.place.free / 2**28)) for fit in estimate.device_fits]


def _file_stat(request: EstimateRequest) -> tuple[int, float]:
    """The bytes of the dataset's files, or of all datasets' together, and when one was last modified."""
    from mg_tui.core.dataset_parts import parse_part
    from mg_tui.core.paths import expand_user

    size, modified = 0, 0.0
    for text in (request.spec.dataset, *request.spec.additional_dataset):
        try:
            path = request.cwd / expand_user(text)
            if not path.exists():
                path = request.cwd / expand_user(parse_part(text).name)
            stat = path.stat()
        except (OSError, ValueError, GardenError):
            continue
        size, modified = size + stat.st_size, max(modified, stat.st_mtime)
    return size, modified


def _format_error(error: GardenError) -> str:
    """An error in one paragraph."""
    first, *rest = error.what.splitlines()
    sentences = [one_line(first, limit=300) + (f" ({one_line(rest[0], limit=200)})" if rest else "")]
    more = (error.where, error.why, error.hint and f"try: {error.hint}")
    sentences += [one_line(text, limit=300) for text in more if text]
    return "; ".join(sentences)
