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
from mg_tui.tui.new.outlook import Fit, Outlook, trained_parts, work_of

if TYPE_CHECKING:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.data.dataset import Dataset
    from mg_tui.hardware.devices import DeviceSampler, DeviceSnapshot
    from mg_tui.hardware.memory import Question, Row

DEBOUNCE: Final = 0.25  # seconds without another key before anything is reckoned
LOOK_AGAIN: Final = 5.0  # seconds between two looks at the devices
LARGEST: Final = 256 << 20  # bytes of a dataset that is read without being asked to


class Forecast(Message):
    """What is known now of the run last asked about."""

    def __init__(self, number: int, outlook: Outlook) -> None:
        super().__init__()
        self.number, self.outlook = number, outlook


@dataclass(frozen=True, slots=True)
class Request:
    """A question: the run, and what of it is a blank."""

    number: int
    spec: "TrainingSpec"
    cwd: Path
    has_model: bool
    has_dataset: bool
    any_size: bool = False


class _Superseded(Exception):
    """There is a newer question."""


class Forecaster(threading.Thread):
    """Answers `ask` with `Forecast` messages, a later question before an earlier one."""

    def __init__(self, target: MessagePump, settings: Settings, *, debounce: float = DEBOUNCE) -> None:
        super().__init__(daemon=True, name="Forecaster")
        self._target, self._settings, self._debounce = target, settings, debounce
        self._request: Request | None = None
        self._wake = threading.Event()
        self._ended = self._paused = False
        self._datasets: dict[Any, Dataset] = {}  # the last one read
        self._rows: dict[Any, list[Row]] = {}  # of the last one measured
        self._sampler: DeviceSampler | None = None
        self._snapshot: DeviceSnapshot | None = None
        self._shown: Outlook | None = None
        self._question: Question | None = None

    def ask(self, request: Request) -> None:
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

    def end(self) -> None:
        """Let the thread finish by itself."""
        self._ended = True
        self._wake.set()

    def run(self) -> None:
        answered = -1
        while not self._ended:
            self._wake.wait(None if self._paused or self._request is None else LOOK_AGAIN)
            if self._settle() or self._paused or self._request is None:
                continue
            request = self._request
            try:
                self._look()
                request = self._settled(request)
                if request.number != answered:
                    self._answer(request)
                    answered = request.number
                else:
                    self._look_again(request)
            except _Superseded:
                continue
            except Exception as error:  # whatever it is, the form can be filled in and says it
                answered = request.number
                why = printable(f"{type(error).__name__}: {error}", limit=400)
                with contextlib.suppress(_Superseded):
                    self._post(request, Outlook(unknown=(why,)))

    def _settle(self) -> bool:
        """Wait until nothing more is asked; True when the thread is to end."""
        while self._wake.is_set() and not self._ended:
            self._wake.clear()
            self._wake.wait(self._debounce)
        return self._ended

    # --- answering

    def _look(self) -> None:
        if self._sampler is None:
            from mg_tui.hardware.devices import DeviceSampler

            self._sampler = DeviceSampler()
        self._snapshot = self._sampler.sample()

    def _settled(self, request: Request) -> Request:
        """Where there is no GPU and none is asked for, the run would be on the CPU."""
        if request.spec.device != "auto" or self._snapshot is None or self._snapshot.gpus:
            return request
        return replace(request, spec=request.spec.model_copy(update={"device": "cpu"}))

    def _newest(self, request: Request) -> bool:
        return self._request is not None and self._request.number == request.number

    def _answer(self, request: Request) -> None:
        outlook = self._without_dataset(request)
        if not request.has_dataset:
            self._post(request, outlook)
            return
        key = self._dataset_key(request)
        if key not in self._datasets:
            self._post(request, replace(outlook, reading=(0, 0)))
        try:
            dataset = self._dataset(request, key, outlook)
            outlook = self._with_dataset(request, key, dataset, outlook)
        except GardenError as error:
            outlook = replace(outlook, unknown=(*outlook.unknown, _said(error)))
        self._post(request, outlook)

    def _without_dataset(self, request: Request) -> Outlook:
        self._question = None
        if not request.has_model:
            return self._with_devices(request, Outlook(unknown=("Choose a base model to see what it needs.",)))
        from mg_tui.ahead import forecast

        try:
            self._question = forecast.question(
                request.spec,
                self._settings,
                cwd=request.cwd,
                read_dataset=False,
                device="cpu" if request.spec.device == "cpu" else "cuda",
            )
            return self._with_question(request, Outlook())
        except GardenError as error:
            return self._with_devices(request, Outlook(unknown=(_said(error),)))

    def _with_question(self, request: Request, outlook: Outlook) -> Outlook:
        question = self._question
        assert question is not None
        outlook = replace(outlook, memory=question.estimate(), question=question, trained=trained_parts(question))
        return self._with_devices(request, outlook)

    def _with_devices(self, request: Request, outlook: Outlook) -> Outlook:
        from mg_tui.hardware.memory.places import places_here

        assert self._snapshot is not None
        snapshot = self._snapshot
        question = self._question
        fits = []
        for place in places_here(snapshot, request.spec):
            fitting = question is not None and question.fits(place.free)
            remedies = [] if question is None or fitting else question.remedies(place.free)
            fits.append(Fit(place, fitting, remedies[0].flags if remedies else ""))
        return replace(outlook, fits=tuple(fits), why_no_gpu=snapshot.why_no_gpu)

    def _look_again(self, request: Request) -> None:
        if self._shown is not None and self._shown.reading is None:
            now = self._with_devices(request, self._shown)
            if [(fit.fits, _coarse(fit)) for fit in now.fits] != [(fit.fits, _coarse(fit)) for fit in self._shown.fits]:
                self._post(request, now)

    # --- the dataset

    def _dataset_key(self, request: Request) -> Any:
        """What a dataset that was read depends on: its file as it is now, and the words of the spec's data options."""
        from mg_tui.core.options import options_of

        described = {opt.name: opt for opt in options_of(type(request.spec))}
        group = described["dataset"].group
        words = tuple(
            getattr(request.spec, name)
            for name, opt in described.items()
            if opt.group == group and opt.kind in ("text", "path", "choice", "list")
        )
        size, changed = _stat(request)
        return (request.cwd, words, size, changed)

    def _dataset(self, request: Request, key: Any, outlook: Outlook) -> "Dataset":
        if key not in self._datasets:
            size, _changed = _stat(request)
            if size > LARGEST and not request.any_size:
                raise GardenError(
                    f"the dataset is large ({size / 2**30:.1f} GiB) and is not read while the form is filled in",
                    hint="a run of the check in Datasets, or the start itself, reads it",
                )
            from mg_tui.ahead import forecast

            read = forecast.read(
                request.spec, self._settings, cwd=request.cwd, progress=self._progress(request, outlook)
            )
            self._datasets = {key: read}
        return self._datasets[key]

    def _progress(self, request: Request, outlook: Outlook) -> Callable[[int, int], None]:
        last = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal last
            if self._ended or not self._newest(request):
                raise _Superseded
            if time.monotonic() - last > 0.5:
                last = time.monotonic()
                self._post(request, replace(outlook, reading=(done, total)))

        return progress

    def _with_dataset(self, request: Request, key: Any, dataset: "Dataset", outlook: Outlook) -> Outlook:
        if self._question is None:
            return replace(outlook, work=work_of(request.spec, dataset, None, None))
        from mg_tui.ahead import forecast
        from mg_tui.families.registry import load_registry

        spec = request.spec
        key = (key, spec.base_model, spec.revision, spec.train_on_prompt)
        if key not in self._rows:
            model = load_registry().resolve(spec.base_model, revision=spec.revision)
            self._rows = {key: list(forecast.rows_of(dataset, model, spec))}
        rows = self._rows[key]
        self._question = forecast.question(
            spec, self._settings, cwd=request.cwd, rows=rows, device=self._question.device
        )
        return replace(self._with_question(request, outlook), work=work_of(spec, dataset, rows, self._question))

    def _post(self, request: Request, outlook: Outlook) -> None:
        if self._ended or not self._newest(request):
            raise _Superseded
        self._shown = outlook
        try:
            self._target.post_message(Forecast(request.number, outlook))
        except RuntimeError:  # the event loop has closed under it
            self._ended = True


def _coarse(fit: Fit) -> float:
    """Free memory by quarters of a GiB: what is smaller is not worth drawing."""
    return round(fit.place.free / 2**28)


def _stat(request: Request) -> tuple[int, float]:
    from mg_tui.core.paths import expanded

    try:
        found = (request.cwd / expanded(request.spec.dataset)).stat()
    except (OSError, ValueError, GardenError):
        return 0, 0.0
    return found.st_size, found.st_mtime


def _said(error: GardenError) -> str:
    """An error in one paragraph."""
    first, *rest = error.what.splitlines()
    said = [one_line(first, limit=300) + (f" ({one_line(rest[0], limit=200)})" if rest else "")]
    more = (error.where, error.why, error.hint and f"try: {error.hint}")
    said += [one_line(text, limit=300) for text in more if text]
    return "; ".join(said)
