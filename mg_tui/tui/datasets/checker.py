"""The thread of a check."""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import DataError, GardenError
from mg_tui.core.text import one_line
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.widgets.datasets.findings import RowSeverities

if TYPE_CHECKING:
    from mg_tui.config import Settings
    from mg_tui.data.checks.findings import CheckReport

POST_INTERVAL = 0.25  # seconds


class CheckProgress(Message):
    """How far a check is: a share of one, None when the whole is not known, and words for it."""

    def __init__(self, checker: "DatasetChecker", share: float | None, said: str) -> None:
        super().__init__()
        self.checker, self.share, self.status_text = checker, share, said


class CheckEnded(Message):
    """What was found with the marks of its rows, or why nothing could be."""

    def __init__(self, checker: "DatasetChecker", report: "CheckReport | None", error: GardenError | None) -> None:
        super().__init__()
        self.checker, self.report, self.error = checker, report, error
        self.severities = RowSeverities(report)


class DatasetChecker(threading.Thread):
    """Checks a dataset for a base model."""

    def __init__(self, target: MessagePump, opened: OpenDataset, settings: "Settings", base_model: str) -> None:
        super().__init__(daemon=True, name="check")
        self._target, self._dataset, self._settings, self._base_model = target, opened, settings, base_model
        self._stopped = self._ended = False
        self._posted = 0.0
        self.max_tokens = 0  # tokens that a row may have

    def stop(self) -> None:
        """End it early; the report says so."""
        self._stopped = True

    def abandon(self) -> None:
        """End it, and post nothing more."""
        self._stopped = self._ended = True

    def run(self) -> None:
        try:
            report = self._check()
        except GardenError as error:
            self._post(CheckEnded(self, None, error))
        except Exception as error:  # whatever a file or a library does, it is said
            why = one_line(f"{type(error).__name__}: {error}", limit=400)
            self._post(CheckEnded(self, None, DataError("the dataset cannot be checked", why=why)))
        else:
            self._post(CheckEnded(self, report, None))

    def _check(self) -> "CheckReport":
        from mg_tui.core.spec import TrainingSpec
        from mg_tui.data.checks.runner import run_checks
        from mg_tui.data.row_loader import ReadOptions
        from mg_tui.preflight.dataset_check import open_limits

        opened = self._dataset
        root = opened.options.image_root
        reading = ReadOptions(
            detected_format=opened.recognised,
            image_root=Path(root) if root else None,
            cwd=opened.cwd,
            cache=opened.cache,
            probe_depth="decode",
        )
        named = {"base_model": self._base_model, "dataset": opened.options.reference}
        spec = TrainingSpec.parse({**self._settings.train, **named})
        name = str(opened.source.path or opened.source.name)
        with open_limits(spec, self._settings, dataset=name) as limits:
            self.max_tokens = spec.max_seq_length
            return run_checks(opened.source, reading, limits, progress=self._progress, stop=lambda: self._stopped)

    def _progress(self, done: int, total: int) -> None:
        read = bool(total) and done >= total
        if not read and time.monotonic() - self._posted < POST_INTERVAL:
            return
        self._posted = time.monotonic()
        # What is read may still have to be counted: how long that takes is not known.
        share = done / total if total and not read else None
        self._post(CheckProgress(self, share, "counting tokens …" if read else "" if total else f"{done:,} rows"))

    def _post(self, message: Message) -> None:
        if self._ended:
            return
        try:
            self._target.post_message(message)
        except RuntimeError:  # the event loop has closed under it
            self._ended = True
