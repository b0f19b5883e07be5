"""`generate-vision --batch ROWS --output ANSWERS`: many prompts answered by one model, into a file that grows.

Each line of the output is one answer. Interrupted and called again, it goes on after what is there: the rows, the model
and how answers are drawn have to be the same.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.config import Settings
from mg_tui.core.errors import EnvironmentProblem, GardenError, RunFailed, UsageError
from mg_tui.core.text import one_line, printable

if TYPE_CHECKING:
    from mg_tui.data.image_resolver import ImageResolver
    from mg_tui.data.rows import Row

_PROMPT_FIELDS: Final = ("prompt", "question", "text", "instruction", "query", "input")
_ID_FIELDS: Final = ("id", "question_id", "uid")
BATCH_PROGRAM: Final = "mg_tui.engine.evaluation.batch"


@dataclass(frozen=True, slots=True)
class BatchPrompt:
    """A row that is asked. `images` as given, `paths` where they are; `error` says why it cannot be asked."""

    row: int
    prompt: str
    images: tuple[str, ...]
    paths: tuple[str, ...]
    id: Any = None
    error: str | None = None


def generate_batch(
    settings: Settings,
    model: str,
    rows: Path,
    output: Path,
    *,
    load: Mapping[str, Any],
    sampling: Mapping[str, Any],
    default_prompt: str | None,
) -> dict[str, int]:
    """Answer every row of a file that has no answer yet; returns how many rows there are, were answered, and failed.

    Args:
        rows: a dataset of any format whose rows have a prompt and images.
        load: how the model is loaded.
        sampling: how answers are drawn, and the system prompt.
        default_prompt: asked of rows without a prompt of their own.

    Raises:
        UsageError: the file has no rows, a row has no prompt, or the output is of something else.
        GardenError: the model cannot be loaded.
        EnvironmentProblem: the output cannot be written.
    """
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.runs.engine_process import EngineProcess

    prompts = read_prompts(rows, settings.cache, default_prompt)
    drawn = {name: value for name, value in sampling.items() if value is not None}
    decisive = {name: value for name, value in drawn.items() if name != "batch_size"}
    decisive |= {name: load[name] for name in ("min_pixels", "max_pixels") if load.get(name) is not None}
    with BatchOutput(output, model, decisive) as answers:
        answers.require_same_rows(prompts)
        counts = {"rows": len(prompts), "answered": 0, "failed": 0, "before": len(answers.done)}
        todo = [prompt for prompt in prompts if prompt.row not in answers.done]
        for prompt in [prompt for prompt in todo if prompt.error is not None]:
            answers.add(prompt, "", prompt.error)
            counts["failed"] += 1
        pending = {prompt.row: prompt for prompt in todo if prompt.error is None}
        if not pending:
            return counts
        with EngineProcess(BATCH_PROGRAM) as child:
            request_with_spinner(
                child, f"loading {printable(model)}", "load", model=model, home=str(settings.home), **load
            )
            sent = [{"row": p.row, "prompt": p.prompt, "images": p.paths} for p in pending.values()]
            with _progress(len(pending)) as show:
                for event in child.stream("batch", rows=sent, **drawn):
                    if event["event"] == "progress":
                        answers.add(pending[event["row"]], event["answer"], event["error"])
                        counts["failed" if event["error"] else "answered"] += 1
                        show(event["done"])
        return counts


def read_prompts(path: Path, cache: Path, default_prompt: str | None) -> list[BatchPrompt]:
    """The prompts of a file.

    Raises:
        UsageError: there is no row, or one without a prompt.
        DataError: the file cannot be read.
    """
    from mg_tui.data.image_resolver import ImageResolver
    from mg_tui.data.sources.opener import open_source

    source = open_source(str(path), cwd=Path.cwd(), cache=cache)
    resolver = ImageResolver(source.base, None, Path.cwd(), cache)
    prompts = [_read_prompt(row, resolver, default_prompt, str(path)) for row in source.rows()]
    if not prompts:
        raise UsageError("the file has no rows", where=str(path))
    return prompts


def _read_prompt(row: "Row", resolver: "ImageResolver", default_prompt: str | None, where: str) -> BatchPrompt:
    from mg_tui.data.field_map import FIELD_ALIASES

    if row.values is None:
        raise UsageError(f"row {row.number} cannot be read", where=where, why=str(row.problem) if row.problem else None)
    values = row.values
    text = next((values[name] for name in _PROMPT_FIELDS if isinstance(values.get(name), str)), default_prompt)
    if text is None or not text.strip():
        raise UsageError(
            f"row {row.number} has no prompt",
            where=where,
            hint=f"name it {' or '.join(_PROMPT_FIELDS[:2])}, or give --prompt for all rows",
        )
    name = next((name for name in ("images", *FIELD_ALIASES["image"]) if values.get(name)), None)
    images = [] if name is None else values[name] if isinstance(values[name], list) else [values[name]]
    if not all(isinstance(image, str) for image in images):
        raise UsageError(f"row {row.number}: {name} is no path or URL, and no list of them", where=where)
    identity = next((values[key] for key in _ID_FIELDS if key in values), None)
    try:
        paths = tuple(resolver.resolve(image).ref.path for image in images)
    except GardenError as error:
        return BatchPrompt(row.number, text, tuple(images), (), identity, one_line(error.what))
    return BatchPrompt(row.number, text, tuple(images), paths, identity)


class BatchOutput:
    """The file of answers. A context manager that holds it for this process alone.

    Raises:
        UsageError: the file has something else, or answers of another model or drawn otherwise.
        RunFailed: another process is writing it.
        EnvironmentProblem: it cannot be written.
    """

    def __init__(self, path: Path, model: str, sampling: Mapping[str, Any]):
        self.path = path
        self._head = {"model": model, "sampling": dict(sampling)}
        self.done: dict[int, dict[str, Any]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._problem(error) from None
        try:
            self._open()
        except BaseException:
            os.close(self._fd)
            raise

    def _open(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFailed("another process is writing these answers", where=str(self.path)) from None
        with os.fdopen(os.dup(self._fd), "rb") as file:
            data = file.read()
        whole, newline, torn = data.rpartition(b"\n")
        for number, line in enumerate((whole + newline).splitlines(), 1):
            self._take_line(number, line)
        if torn:  # left by a process that died while writing
            os.ftruncate(self._fd, len(data) - len(torn))

    def _take_line(self, number: int, line: bytes) -> None:
        try:
            record = json.loads(line)
            row = int(record["row"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                "the output file has something else than answers",
                where=f"{self.path}, line {number}",
                hint="choose another file with --output",
            ) from None
        for name, value in self._head.items():
            if record.get(name) != value:
                raise UsageError(
                    f"the output file has answers with another {name}",
                    where=str(self.path),
                    why=f"{json.dumps(record.get(name))} there, {json.dumps(value)} now",
                    hint="choose another file with --output",
                )
        self.done[row] = record

    def require_same_rows(self, prompts: Sequence[BatchPrompt]) -> None:
        """Raises UsageError when the file has answers to other rows."""
        known = {prompt.row: prompt for prompt in prompts}
        for row, record in self.done.items():
            prompt = known.get(row)
            if prompt is None or (record.get("prompt"), record.get("images")) != (prompt.prompt, list(prompt.images)):
                raise UsageError(
                    f"the output file has an answer to another row {row}",
                    where=str(self.path),
                    hint="choose another file with --output",
                )

    def add(self, prompt: BatchPrompt, answer: str, error: str | None) -> None:
        """Write one answer.

        Raises:
            EnvironmentProblem: it cannot be written; the file is left as it was.
        """
        record: dict[str, Any] = {"row": prompt.row}
        if prompt.id is not None:
            record["id"] = prompt.id
        record |= {"prompt": prompt.prompt, "images": prompt.images, "answer": answer}
        if error is not None:
            record["error"] = error
        line = (json.dumps({**record, **self._head}, ensure_ascii=False, default=str) + "\n").encode("utf-8", "replace")
        before = os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(28, os.strerror(28))
        except OSError as problem:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)
            raise self._problem(problem) from None

    def __enter__(self) -> "BatchOutput":
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def _problem(self, error: OSError) -> EnvironmentProblem:
        return EnvironmentProblem("the answers cannot be written", where=str(self.path), why=error.strerror)


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A progress bar with ETA on a terminal; elsewhere nothing."""
    import sys

    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("answering"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("answering", total=total)
        yield lambda done: bar.update(task, completed=done)
