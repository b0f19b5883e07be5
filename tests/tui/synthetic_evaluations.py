"""Made-up evaluations to look at: their folders as the real writers leave them, answered by a model that errs at times.

`evaluate(home, dataset)` evaluates rows of a made-up dataset; nothing is loaded and no process starts.
"""

import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.events import Event
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.results import AnsweredRow, ResultsWriter, compare_results, read_results
from mg_tui.runs.evaluations import EvaluationFolder
from tests.tui.synthetic_places import photo

KINDS: Final = ("invoice", "receipt", "letter")
METRICS: Final = ("exact_match_folded", "anls")
PHOTOS: Final = ("chelsea", "coffee", "rocket")
NOW: Final = 1_764_000_000.0


@dataclass(frozen=True, slots=True)
class SyntheticEvaluation:
    """What a synthetic evaluation is like.

    Attributes:
        rows: how many rows the dataset has.
        answered: how many of them have an answer; all when None.
        compare: what it is compared with.
        state: the last event; "running" and "created" have none.
        errors: numbers of rows that could not be answered.
        ago: seconds between its start and `NOW`.
    """

    model: str = "20251124-120000-abcd-receipts"
    rows: int = 60
    answered: int | None = None
    compare: str | None = "base"
    state: str = "finished"
    errors: tuple[int, ...] = ()
    ago: float = 600.0
    metrics: tuple[str, ...] = METRICS


def make_rows(file: Path, count: int, *, references: Callable[[str], Any] = str) -> Path:
    """A dataset of questions about photos, which lie beside it; every row has a kind and a number of its own."""
    (file.parent / "photos").mkdir(parents=True, exist_ok=True)
    for name in PHOTOS:
        shutil.copy(photo(name), file.parent / "photos" / f"{name}.jpg")
    lines = [
        json.dumps(
            {
                "text": _question(number),
                "image": f"photos/{_photo(number)}.jpg",
                "response": references(_expected(number)),
                "kind": _kind(number),
                "id": f"r-{number}",
            }
        )
        for number in range(1, count + 1)
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def _question(number: int) -> str:
    return f"What is the total of paper {number}?"


def _expected(number: int) -> str:
    return f"{number * 7} euros"


def _photo(number: int) -> str:
    return PHOTOS[number % len(PHOTOS)]


def _kind(number: int) -> str:
    return KINDS[number % len(KINDS)]


def evaluate(home: Path, dataset: Path, what: SyntheticEvaluation | None = None) -> EvaluationFolder:
    """The folder of an evaluation of a dataset made by `make_rows`."""
    what = what or SyntheticEvaluation()
    spec = EvaluationSpec.parse(
        {"model": what.model, "dataset": str(dataset), "compare": what.compare, "metrics": what.metrics}
    )
    folder = EvaluationFolder.create(home, spec, versions={"model-garden-tui": "0.3.0"}, cwd=dataset.parent)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(NOW - what.ago))
    folder = EvaluationFolder(folder.path.rename(folder.path.with_name(f"{stamp}-{folder.id[16:]}")))
    sides = [(folder.results_dir, 0.8), *([(folder.before_dir, 0.3)] if what.compare else [])]
    answered = what.rows if what.answered is None else what.answered
    for path, skill in sides:
        _write_answers(path, what, dataset, skill, answered)
    if what.state == "finished" and what.compare:
        _write_comparison(folder)
    _write_journal(folder, spec, what, answered * len(sides))
    return folder


def _write_answers(folder: Path, what: SyntheticEvaluation, dataset: Path, skill: float, answered: int) -> None:
    dice = random.Random(skill)
    with ResultsWriter(folder, {"model": folder.name, "dataset": str(dataset)}) as writer:
        for number in range(1, answered + 1):
            right = dice.random() < (skill if number % 3 else skill / 2)
            writer.add(
                AnsweredRow(
                    row=number,
                    question=_question(number),
                    answer="" if number in what.errors else _expected(number) if right else f"{number} dollars",
                    references=(_expected(number),),
                    images=(str(dataset.parent / "photos" / f"{_photo(number)}.jpg"),),
                    columns={"kind": _kind(number)},
                    error="photo.jpg cannot be read: it is truncated" if number in what.errors else None,
                )
            )
        if what.state == "finished":
            metrics = load_metrics().named(what.metrics)
            writer.finish(metrics, rows=range(1, what.rows + 1), reason="As asked.", group_by=["kind"])


def _write_comparison(folder: EvaluationFolder) -> None:
    before, after = read_results(folder.before_dir), read_results(folder.results_dir)
    changes = [
        {**asdict(change), "sentence": change.sentence} for change in compare_results(before, after, load_metrics())
    ]
    record = {"before": "base", "after": "receipts", "metrics": changes}
    folder.comparison_file.write_text(json.dumps(record), encoding="utf-8")


def _write_journal(folder: EvaluationFolder, spec: EvaluationSpec, what: SyntheticEvaluation, answers: int) -> None:
    began, total = NOW - what.ago, what.rows * (2 if what.compare else 1)
    events: list[tuple[float, str, dict[str, Any]]] = [
        (0.0, "created", {"name": None, "spec_digest": "0", "spec": spec.model_dump(mode="json"), "cwd": "/"})
    ]
    if what.state != "created":
        events += [
            (1.0, "started", {"pid": 4242, "host": "box", "attempt": 1, "resumed_from": None}),
            (2.0, "plan", {"examples": what.rows, "steps": total}),
            (3.0, "phase", {"name": "answering", "detail": "receipts"}),
            (4.0, "step", {"step": 0}),
            *((4.0 + n, "step", {"step": max(answers * n // 10, 1)}) for n in range(1, 11) if answers),
        ]
    last: dict[str, dict[str, Any]] = {
        "finished": {"steps": total, "seconds": 12.0, "result": str(folder.results_dir), "metrics": _scores(folder)},
        "stopped": {"step": answers, "checkpoint": None, "by": "ada@box (dashboard)"},
        "failed": {
            "error": "EnvironmentProblem",
            "what": "the server answered with status 401",
            "where": "http://localhost:8000/v1",
            "why": "who are you",
            "hint": "set MODEL_GARDEN_API_KEY",
            "exit_code": 3,
        },
    }
    if what.state in last:
        events.append((16.0, what.state, last[what.state]))
    lines = [Event(n, began + after, kind, data).to_line() for n, (after, kind, data) in enumerate(events, start=1)]
    folder.journal_file.write_text("".join(lines), encoding="utf-8")
    folder.log_file.write_text("loading receipts\nanswering\n", encoding="utf-8")


def _scores(folder: EvaluationFolder) -> dict[str, float]:
    if not (folder.results_dir / "summary.json").is_file():
        return {}
    return {one["name"]: one["score"] for one in read_results(folder.results_dir).summary["metrics"]}


def add_answers(folder: EvaluationFolder, numbers: Sequence[int]) -> None:
    """As a running evaluation does: append answers."""
    with (folder.results_dir / "answers.jsonl").open("ab") as file:
        for number in numbers:
            row = AnsweredRow(number, _question(number), "late", (_expected(number),), columns={"kind": _kind(number)})
            file.write(row.line())
