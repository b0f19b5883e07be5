"""An evaluation from its spec to its results: rows read and checked, answered, scored and compared."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.files import write_atomic
from mg_tui.core.text import one_line
from mg_tui.data.dataset import require_examples, require_no_bad_rows, write_rejects
from mg_tui.data.evaluation_rows import EvaluationRow, EvaluationRows, load_evaluation_rows
from mg_tui.data.policy import read_policy
from mg_tui.engine.evaluation.answerer import Answerer, ModelAnswer
from mg_tui.engine.evaluation.conclusion import write_conclusion
from mg_tui.engine.evaluation.endpoint import Endpoint
from mg_tui.engine.evaluation.local import LocalModel, LocalModels
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.metrics.choose import settle_metrics
from mg_tui.metrics.contract import BoxFrame, Metric, Prediction
from mg_tui.metrics.results import AnsweredRow, ResultsWriter, read_answers
from mg_tui.runs.caller_bounds import read_caller_bounds
from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.journal import JournalWriter

if TYPE_CHECKING:
    from mg_tui.core.evaluation_spec import EvaluationSpec

_STEP_SECONDS: Final = 0.2  # between two events that say how far it is


class EvaluationJob:
    """One evaluation, once.

    Attributes:
        answered: rows answered so far, those of both models.
    """

    def __init__(
        self,
        folder: EvaluationFolder,
        journal: JournalWriter,
        stopper: StopHandler,
        *,
        cwd: Path,
        home: Path,
        cache: Path,
    ):
        self.folder = folder
        self.answered = 0
        self._journal = journal
        self._stopper = stopper
        self._cwd, self._home, self._cache = cwd, home, cache
        self._began = self._said = time.monotonic()
        self._total = 0

    def describe_stop(self) -> dict[str, Any]:
        """How far it came; for `stopped`."""
        return {"step": self.answered, "checkpoint": None}

    def run(self) -> dict[str, Any]:
        """Do it; returns what the journal's last event says.

        Raises:
            GardenError: what is wrong, for a person.
            StopRequested: somebody asked it to stop; answers are on the disk.
        """
        spec = self.folder.read_evaluation_spec()
        with self._stopper.interruptible():
            models = LocalModels(spec, self._home, self._cache / "features") if spec.endpoint is None else None
        for note in models.notes if models is not None else ():
            self._journal.write("warning", what=note)
        self._phase("loading data")
        with self._stopper.interruptible():
            inputs = load_evaluation_rows(
                spec,
                cwd=self._cwd,
                cache=self._cache,
                trained=models.trained_fields if models is not None else None,
                policy=read_policy(read_caller_bounds(self.folder.path)),
            )
        self._require_good_rows(spec, inputs)
        self._record_fields(inputs)
        metrics, reason = self._choose_metrics(spec, inputs)
        _require_columns(spec, inputs)
        sides = _sides(spec, models, self.folder)
        self._plan(inputs, len(sides))
        written = []
        for directory, answerer in sides:
            written.append(directory)
            self._answer(spec, inputs, directory, answerer, metrics, reason)
        if spec.speed:
            self._phase("measuring speed")
            from mg_tui.engine.evaluation.speed import measure_speed

            examples = [row.example for row in inputs.rows]
            measure_speed(self.folder.speed_file, sides[0][1], examples, spec, self._poll)
        self._phase("writing results")
        scores = write_conclusion(self.folder, spec, compared=len(written) > 1)
        return {
            "steps": self.answered,
            "seconds": round(time.monotonic() - self._began, 3),
            "result": str(self.folder.results_dir),
            "metrics": scores,
        }

    # --- before the first answer -------------------------------------------------------------------------------------

    def _require_good_rows(self, spec: "EvaluationSpec", inputs: EvaluationRows) -> None:
        dataset, aside = inputs.dataset, self.folder.skipped_rows_file
        source = str(dataset.detected_format) if dataset.detected_format is not None else ""
        self._journal.write("decision", what="dataset format", value=dataset.address, why=source)
        if not dataset.problems:
            aside.unlink(missing_ok=True)
        elif spec.on_bad_row == "stop":
            require_no_bad_rows(dataset)
        else:
            count = write_rejects(aside, dataset.problems)
            self._journal.write("rows_skipped", count=count, file=aside.name)
        require_examples(dataset)

    def _record_fields(self, inputs: EvaluationRows) -> None:
        """Which fields were read, so that rows can be taken from the dataset again without the model."""
        if (detected := inputs.dataset.detected_format) is not None:
            names: dict[str, Any] = {
                purpose: getattr(detected.fields, purpose) for purpose in ("text", "image", "response")
            }
            if detected.fields.boxes is not None:
                names["boxes"] = asdict(detected.fields.boxes)
            write_atomic(self.folder.fields_file, (json.dumps(names, ensure_ascii=False) + "\n").encode())

    def _choose_metrics(self, spec: "EvaluationSpec", inputs: EvaluationRows) -> tuple[list[Metric], str]:
        """The metrics and why; that they take the references is seen before anything is answered.

        Raises:
            UsageError: there is no such metric.
            DataError: a reference is not of a type that a metric takes.
        """
        blank = [
            Prediction(row.example.row, "", row.references, tuple(image.path for image in row.example.images))
            for row in inputs.rows
        ]
        metrics, reason = settle_metrics(spec.metrics, blank)
        names = ", ".join(metric.name for metric in metrics)
        self._journal.write("decision", what="metrics", value=names, why=reason)
        return metrics, reason

    def _plan(self, inputs: EvaluationRows, sides: int) -> None:
        self._total = len(inputs.rows) * sides
        self._journal.write("plan", examples=len(inputs.rows), steps=self._total)

    # --- answers -----------------------------------------------------------------------------------------------------

    def _answer(
        self,
        spec: "EvaluationSpec",
        inputs: EvaluationRows,
        directory: Path,
        answerer: Answerer,
        metrics: list[Metric],
        reason: str,
    ) -> None:
        numbers = [row.example.row for row in inputs.rows]
        with ResultsWriter(directory, self._results_spec(spec, inputs, directory, answerer)) as writer:
            done = writer.done & set(numbers)
            self.answered += len(done)
            self._progress(force=True)
            if len(done) < len(numbers):
                self._phase("answering", str(getattr(answerer, "label", "")))
                rows = {row.example.row: row for row in inputs.rows}

                def take(answer: ModelAnswer) -> None:
                    number = answer.example.row
                    if number in writer.done:
                        return
                    writer.add(_answered(rows[number], answer, box_frame(spec, inputs, rows[number], answer)))
                    self.answered += 1
                    self._progress()

                examples = [row.example for row in inputs.rows]
                answerer.answer(examples, done, take, self._poll)
            self._progress(force=True)
            writer.finish(metrics, rows=numbers, reason=reason, group_by=spec.group_by or None)

    def _results_spec(
        self, spec: "EvaluationSpec", inputs: EvaluationRows, directory: Path, answerer: Answerer
    ) -> Mapping[str, Any]:
        """What decides the answers. Where all are there already, the model need not be loaded to know it."""
        rows: dict[str, Any] = {
            "dataset": inputs.dataset.address,
            "split": spec.split,
            "limit": spec.limit,
            "rows": len(inputs.rows),
            "fingerprint": inputs.fingerprint,
            "system_prompt": spec.system_prompt,
            "max_new_tokens": spec.max_new_tokens,
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "seed": spec.seed if spec.temperature > 0 else None,
        }
        before = read_json_file(directory / "evaluation.json")
        if before is not None and all(before.get(name) == value for name, value in rows.items()):
            answered = {row.row for row in read_answers(directory)}
            if all(row.example.row in answered for row in inputs.rows):
                return {name: value for name, value in before.items() if name != "schema"}
        if isinstance(answerer, LocalModel):
            self._phase("loading model", answerer.label)
            with self._stopper.interruptible():
                answerer.loaded()
        return {**answerer.identity, **rows}

    def _poll(self) -> None:
        self._stopper.poll(raise_on="stop")

    # --- journal -----------------------------------------------------------------------------------------------------

    def _phase(self, name: str, detail: str | None = None) -> None:
        self._poll()
        self._journal.write("phase", name=name, detail=detail)

    def _progress(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._said >= _STEP_SECONDS:
            self._said = now
            self._journal.write("step", step=self.answered)


def _sides(spec: "EvaluationSpec", models: LocalModels | None, folder: EvaluationFolder) -> list[tuple[Path, Answerer]]:
    """Where the answers of which model go: the one that is evaluated, and the one it is compared with."""
    sides: list[tuple[Path, Answerer]] = []
    if models is not None:
        sides.append((folder.results_dir, models.model()))
        if spec.compare is not None:
            sides.append((folder.before_dir, models.before()))
        return sides
    sides.append((folder.results_dir, Endpoint(spec, spec.model)))
    if spec.compare is not None:
        sides.append((folder.before_dir, Endpoint(spec, spec.compare)))
    return sides


def _require_columns(spec: "EvaluationSpec", inputs: EvaluationRows) -> None:
    """Raises UsageError when no row has a column to group by; at the end, when scores are grouped, is too late."""
    known = list(dict.fromkeys(name for row in inputs.rows for name in row.columns))
    for name in spec.group_by:
        if name not in known:
            raise UsageError(
                f"no row has a column {one_line(name, limit=60)!r} to group by",
                why=f"there are {', '.join(one_line(column, limit=40) for column in known[:20])}" if known else None,
                hint="leave --group-by out, or add the column to the dataset",
            )


def box_frame(
    spec: "EvaluationSpec", inputs: EvaluationRows, row: EvaluationRow, answer: ModelAnswer
) -> BoxFrame | None:
    """The units of an answer's boxes and of the references', and the sizes of the row's first image.

    Raises:
        UsageError: boxes were written for images of another size than the model's.
    """
    detected = inputs.dataset.detected_format
    written = detected.fields.boxes if detected is not None else None
    reference = written.units if written is not None else "pixels"
    units = spec.boxes or reference
    if written is None and spec.boxes is None:
        return None
    images = row.example.images
    info = inputs.dataset.image_infos.get(images[0].path) if images else None
    seen = answer.image_sizes[0][1] if answer.image_sizes else None
    image = (info.width, info.height) if info is not None else None
    expected = written.frame(image) if written is not None and image is not None else None
    if reference == "resized" and None not in (seen, expected) and seen != expected:
        raise UsageError(
            f"the model sees an image of {image} pixels as {seen}, and box_format = resized wrote boxes for {expected}",
            where=f"row {row.example.row}",
            why="its family resizes images otherwise",
            hint="give the units of its boxes: --box-format thousandths or pixels",
        )
    return BoxFrame(units, reference, image, seen if "resized" in (units, reference) else None)


def _answered(row: EvaluationRow, answer: ModelAnswer, boxes: BoxFrame | None) -> AnsweredRow:
    return AnsweredRow.of(
        row.example,
        answer.text,
        row.references,
        columns=row.columns,
        boxes=boxes,
        error=answer.error,
        timing=answer.timing,
    )
