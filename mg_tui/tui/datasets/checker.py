"""The thread that checks a dataset."""

import threading
import time
from typing import TYPE_CHECKING

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import DataError, GardenError, describe_exception
from mg_tui.tui.datasets.finding_rows import RowSeverities
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.posting import post

if TYPE_CHECKING:
    from mg_tui.config import Settings
    from mg_tui.data.checks.findings import CheckReport

POST_INTERVAL = 0.25  # seconds


class CheckProgress(Message):
    """Progress of a check: a share of one, None when the total is unknown, and a status text."""

    def __init__(self, checker: "DatasetChecker", share: float | None, status_text: str) -> None:
        super().__init__()
        self.checker, self.share, self.status_text = checker, share, status_text


class CheckEnded(Message):
    """The report with the severities of its rows, or the error."""

    def __init__(self, checker: "DatasetChecker", report: "CheckReport | None", error: GardenError | None) -> None:
        super().__init__()
        self.checker, self.report, self.error = checker, report, error
        self.severities = RowSeverities(report)


class DatasetChecker(threading.Thread):
    """Checks a dataset for a base model."""

    def __init__(self, target: MessagePump, dataset: OpenDataset, settings: "Settings", base_model: str) -> None:
        super().__init__(daemon=True, name="check")
        self._target, self._dataset, self._settings, self._base_model = target, dataset, settings, base_model
        self._stopped = self._ended = False
        self._posted = 0.0
        self.max_tokens = 0  # maximum length of a row; known once the check runs

    def stop(self) -> None:
        """End the check early; the report is marked incomplete."""
        self._stopped = True

    def abandon(self) -> None:
        """End the check and post nothing more."""
        self._stopped = self._ended = True

    def run(self) -> None:
        try:
            report = self._check()
        except GardenError as error:
            self._post(CheckEnded(self, None, error))
        except Exception as error:  # whatever a file or a library raises
            problem = DataError("the dataset cannot be checked", why=describe_exception(error))
            self._post(CheckEnded(self, None, problem))
        else:
            self._post(CheckEnded(self, report, None))

    def _check(self) -> "CheckReport":
        from mg_tui.core.spec import TrainingSpec
        from mg_tui.data.checks.runner import run_checks
        from mg_tui.preflight.dataset_check import open_limits, read_options

        dataset, settings = self._dataset, self._settings
        values = {"base_model": self._base_model, "dataset": dataset.reference}
        spec = TrainingSpec.parse({**settings.train, **dataset.options, **values})
        # Every pixel, as a run does before it starts: a truncated image has a valid header.
        options = read_options(spec, dataset.detected, cwd=dataset.cwd, cache=dataset.cache, depth="decode")
        with open_limits(spec, settings, dataset=dataset.source.address) as limits:
            self.max_tokens = spec.max_seq_length
            return run_checks(dataset.source, options, limits, progress=self._progress, stop=lambda: self._stopped)

    def _progress(self, done: int, total: int) -> None:
        all_read = bool(total) and done >= total
        if not all_read and time.monotonic() - self._posted < POST_INTERVAL:
            return
        self._posted = time.monotonic()
        # After the last row, tokens may still have to be counted; how long that takes is unknown.
        share = done / total if total and not all_read else None
        self._post(CheckProgress(self, share, "counting tokens …" if all_read else "" if total else f"{done:,} rows"))

    def _post(self, message: Message) -> None:
        if not self._ended and not post(self._target, message):
            self._ended = True
