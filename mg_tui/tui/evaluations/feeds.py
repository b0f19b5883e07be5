"""Threads that read the list of evaluations, and one evaluation: its journal, and its rows while they are written."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.message import Message
from textual.message_pump import MessagePump

from mg_tui.core.errors import GardenError, RunFailed
from mg_tui.core.text import one_line
from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.state import RunState
from mg_tui.tui.evaluations.detail import EvaluationDetail
from mg_tui.tui.evaluations.listing import EvaluationItem, build_item
from mg_tui.tui.feeds import Feed

if TYPE_CHECKING:
    from mg_tui.metrics.contract import Metric
    from mg_tui.metrics.results.index import RowIndex
    from mg_tui.runs.store import RunStore, RunSummarizer
    from mg_tui.runs.watch import RunWatch

FIRST_LINES: Final = 2_000
MORE_LINES: Final = 20_000


class EvaluationsUpdated(Message):
    """The evaluations of the home folder, newest first."""

    def __init__(self, items: tuple[EvaluationItem, ...]) -> None:
        super().__init__()
        self.items = items


class EvaluationUpdated(Message):
    """One evaluation."""

    def __init__(self, detail: EvaluationDetail) -> None:
        super().__init__()
        self.detail = detail


class EvaluationsFeed(Feed):
    """The list of evaluations; posts only when one changed."""

    subject = "the list of evaluations"

    def __init__(self, target: MessagePump, home: Path, seconds: float) -> None:
        super().__init__(target, seconds)
        self._home = home
        self._store: RunStore | None = None
        self._last: tuple[EvaluationItem, ...] | None = None

    def read(self) -> Message | None:
        if self._store is None:
            from mg_tui.runs.store import RunStore

            self._store = RunStore(self._home, EvaluationFolder)
        now = time.time()
        items = tuple(build_item(summary, now) for summary in self._store.refresh())
        if items == self._last:
            return None
        self._last = items
        return EvaluationsUpdated(items)


def _lines(index: "RowIndex") -> int:
    """How many lines to read at once: few at first, which are shown soon."""
    return FIRST_LINES if not len(index) else MORE_LINES


def _index(folder: Path, name: str, metrics: Sequence[str] = (), columns: Sequence[str] = ()) -> "RowIndex":
    from mg_tui.metrics.results import index

    return index.RowIndex(folder / name, metrics, columns)


class _Side:
    """The answers of one model: as they come, and once they are scored from the final file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.index = _index(folder, "answers.jsonl")
        self.summary: Mapping[str, Any] | None = None
        self.problem: GardenError | None = None
        self._scored: RowIndex | None = None  # the final file while it is read

    def refresh(self) -> bool:
        """Read what is new; returns whether there is more to read."""
        try:
            if self.summary is None and self.problem is None:
                self._find_summary()
            return self._read()
        except GardenError as error:
            self.problem = error
            return False

    def _find_summary(self) -> None:
        from mg_tui.metrics.results.index import read_summary

        self.summary = read_summary(self._folder)
        if self.summary is not None:
            names = [one["name"] for one in self.summary["metrics"]]
            self._scored = _index(self._folder, "rows.jsonl", names, list(self.summary["groups"]))

    def _read(self) -> bool:
        if self._scored is None:
            return self.index.refresh(_lines(self.index))
        more = self._scored.refresh(_lines(self._scored))
        # Rows that came one by one stay until the scored ones are all there.
        if not more or not len(self.index) or self.index is self._scored:
            self.index = self._scored
        if not more:
            self._check_count()
        return more

    def _check_count(self) -> None:
        from mg_tui.metrics.results.index import damaged_results

        assert self.summary is not None
        index, expected = self.index, self.summary["rows"]
        if index.damaged or len(index) != expected:
            lines = f" and {index.damaged} lines that are no rows" if index.damaged else ""
            why = f"it has {len(index)} rows{lines}; the summary counts {expected} rows"
            self.problem = damaged_results(index.path, why)


class EvaluationFeed(Feed):
    """One evaluation; posts while it runs and whenever something was written."""

    subject = "the evaluation"

    def __init__(self, target: MessagePump, folder: EvaluationFolder, seconds: float) -> None:
        super().__init__(target, seconds)
        self._folder = folder
        self._watch: RunWatch | None = None
        self._summarizer: RunSummarizer | None = None
        self._results: _Side | None = None
        self._before: _Side | None = None
        self._metrics: dict[str, Metric] | None = None
        self._scored: EvaluationDetail | None = None  # with what does not change any more
        self._last: tuple[Any, ...] | None = None

    def read(self) -> Message | None:
        from mg_tui.runs.store import RunSummarizer
        from mg_tui.runs.watch import RunWatch

        watch = self._watch = self._watch or RunWatch(self._folder)
        summarizer = self._summarizer = self._summarizer or RunSummarizer(watch)
        item = build_item(summarizer.refresh(), time.time())
        results = self._results = self._results or _Side(self._folder.results_dir)
        if self._before is None and item.spec.get("compare"):
            self._before = _Side(self._folder.before_dir)
        before = self._before
        sides = [side for side in (results, before) if side is not None]
        pending = [side.refresh() for side in sides]
        reading = any(pending)
        if reading:
            self._wake.set()  # read on at once; what was read is shown meanwhile
        current = (
            watch.view.last_number,
            item.state,
            reading,
            *((len(side.index), id(side.index), side.problem) for side in sides),
        )
        if current == self._last and item.state.ended:
            return None
        self._last = current
        problem = next((side.problem for side in sides if side.problem), None) or _failure(watch, item)
        detail = EvaluationDetail(
            item=item,
            rows=results.index,
            count=len(results.index),
            before=before.index if before is not None else None,
            before_count=len(before.index) if before is not None else 0,
            reading=reading,
            summary=results.summary,
            before_summary=before.summary if before is not None else None,
            problem=problem,
            warnings=tuple(watch.view.warnings),
        )
        return EvaluationUpdated(self._with_scores(detail))

    def _with_scores(self, detail: EvaluationDetail) -> EvaluationDetail:
        """With the metrics, what changed, and the speed, once there are scores."""
        if detail.summary is None:
            return detail
        if self._metrics is None:
            self._metrics = _installed_metrics(detail.summary)
        if self._scored is None or not self._scored.item.state.ended:
            compared = detail.before_summary is not None
            changes = _changes(read_json_file(self._folder.comparison_file)) if compared else {}
            self._scored = replace(detail, comparison=changes, speed=read_json_file(self._folder.speed_file))
        known = self._scored
        return replace(detail, comparison=known.comparison, metrics=self._metrics, speed=known.speed)


def _installed_metrics(summary: Mapping[str, Any]) -> "dict[str, Metric]":
    """The metrics that scored, as far as the same version is installed."""
    from mg_tui.metrics.registry import load_metrics

    versions = {one["name"]: one.get("version") for one in summary["metrics"]}
    return {one.name: one for one in load_metrics().metrics if versions.get(one.name) == one.version}


def _changes(comparison: Mapping[str, Any] | None) -> Mapping[str, Mapping[str, Any]]:
    """What changed by metric; metrics without the numbers that are shown are left out."""
    found = comparison.get("metrics") if comparison is not None else None
    if not isinstance(found, list):
        return {}
    return {one["name"]: one for one in found if _is_change(one)}


def _is_change(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    numbers = [value.get("before"), value.get("after"), value.get("change")]
    interval = value.get("interval")
    numbers += [interval.get("low"), interval.get("high")] if isinstance(interval, dict) else [None]
    return all(isinstance(number, int | float) for number in numbers) and isinstance(value.get("verdict"), str)


def _failure(watch: "RunWatch", item: EvaluationItem) -> GardenError | None:
    """Why an evaluation failed or ended, as an error; None for one that did not."""
    error = watch.view.error
    if item.state is RunState.FAILED:
        texts = {name: one_line(str(error[name]), limit=1_000) for name in ("where", "why", "hint") if error.get(name)}
        return RunFailed(str(error.get("what") or error.get("error") or "the evaluation failed"), **texts)
    if item.state in (RunState.CRASHED, RunState.INTERRUPTED):
        return RunFailed(item.status_text, hint="r resumes it; l shows its log")
    if item.problem:
        return RunFailed(item.problem, where=str(item.folder.path))
    return None
