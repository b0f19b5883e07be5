"""The check of a dataset with a base model: what `datasets check`, the dashboard and a run's preflight all ask for.

Tokens are counted by the family's own processor, in engine processes that are started only when the cache lacks a count
and ended with the check; nothing here imports torch.
"""

import hashlib
import json
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.config import Settings
from mg_tui.core.example import Example, ImagePart
from mg_tui.core.paths import expanded
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.asked import open_asked
from mg_tui.data.check import CheckDepth, usable_cores
from mg_tui.data.checking import Limits, Progress, Reading, Stop, check
from mg_tui.data.checks.lengths import PictureTokens, TextTokens
from mg_tui.data.findings import Report
from mg_tui.data.kept_counts import KeptCounts
from mg_tui.data.sources.base import Source

if TYPE_CHECKING:
    from mg_tui.families.registry import ResolvedModel
    from mg_tui.runs.child import EngineChild

PROGRAM: Final = "mg_tui.engine.counting"
# A counting process takes half a gigabyte and four seconds to start: more than a few pay only for millions of rows.
_MOST_CHILDREN: Final = 4
# Whatever decides how text becomes tokens, of a checkpoint's files.
_TOKEN_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
)


def inspect(
    spec: TrainingSpec,
    settings: Settings,
    *,
    cwd: Path,
    depth: CheckDepth = "header",
    count_tokens: bool = True,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Report:
    """Check a dataset as a run with `spec` would read it.

    Args:
        spec: the run; relative paths in it are seen from `cwd`.
        depth: read headers of pictures, or decode every pixel.
        count_tokens: with the spec's base model; without, lengths are not judged and no model is needed.
        progress, stop: see `mg_tui.data.checking.check`.

    Raises:
        DataError: the dataset cannot be read at all.
        FamilyError: no family for the base model.
        EnvironmentProblem: a hub cannot be reached, or the cache cannot be written.
    """
    source, reading = open_dataset(spec, settings, cwd=cwd, depth=depth)
    with checking(spec, settings, source, cwd=cwd, count=count_tokens) as how:
        return check(source, reading, how.limits, evaluation=how.evaluation, progress=progress, stop=stop)


@dataclass(frozen=True, slots=True)
class Checking:
    """What rows are held against, and the evaluation dataset with how it is read, if there is one."""

    limits: Limits
    evaluation: tuple[Source, Reading] | None


@contextmanager
def checking(
    spec: TrainingSpec, settings: Settings, source: Source, *, cwd: Path, count: bool = True
) -> Iterator[Checking]:
    """What a check of `source` needs, counting processes included, which end with the context.

    Raises as `inspect`.
    """
    evaluation = open_dataset(spec, settings, cwd=cwd, evaluation=True) if spec.eval_dataset else None
    if not count:
        yield Checking(Limits(spec.max_seq_length, spec.min_pixels, spec.max_pixels), evaluation)
        return
    with limits_of(spec, settings, kept_for=str(source.path or source.name)) as limits:
        yield Checking(limits, evaluation)


def open_dataset(
    spec: TrainingSpec, settings: Settings, *, cwd: Path, depth: CheckDepth = "header", evaluation: bool = False
) -> tuple[Source, Reading]:
    """The dataset of a run, or its evaluation dataset, and how its rows are read.

    Raises:
        DataError: it is not there, or is no dataset.
        EnvironmentProblem: a hub cannot be reached.
    """
    source, recognised = open_asked(spec, evaluation=evaluation, cwd=cwd, cache=settings.cache)
    return source, Reading(
        recognised=recognised,
        image_root=cwd / expanded(spec.image_root) if spec.image_root else None,
        cwd=cwd,
        cache=settings.cache,
        system_prompt=spec.system_prompt,
        depth=depth,
    )


@contextmanager
def limits_of(spec: TrainingSpec, settings: Settings, *, kept_for: str) -> Iterator[Limits]:
    """What rows are held against, with a counter that lives as long as the context.

    Raises:
        FamilyError: no family for the base model.
        EnvironmentProblem: its configuration is on a hub that cannot be reached.
    """
    from mg_tui.families.registry import load_registry

    model = load_registry().resolve(spec.base_model, revision=spec.revision, fetch=True)
    counter = ProcessCounter(spec, model)
    kept = KeptCounts(counter, settings.cache, kept_for)
    try:
        yield Limits(
            spec.max_seq_length,
            spec.min_pixels,
            spec.max_pixels,
            counter=kept,
            picture_tokens=picture_tokens_of(model),
            lanes=counter.lanes,
        )
        kept.save()
    finally:
        counter.close()


def picture_tokens_of(model: "ResolvedModel") -> PictureTokens | None:
    """How the model's family counts a picture's tokens by its size, refusals included; None when it does not."""
    from functools import lru_cache

    from mg_tui.families.contract import Preprocessing

    count = model.family.image_tokens if model.family is not None else None
    if count is None:
        return None

    @lru_cache(maxsize=65_536)
    def tokens(width: int, height: int, least: int, most: int) -> int:
        return count(width, height, Preprocessing(least, most))

    return tokens


class ProcessCounter:
    """Counts text tokens in engine processes, started when first asked; see `TextCounter`. Thread-safe."""

    def __init__(self, spec: TrainingSpec, model: "ResolvedModel", lanes: int | None = None):
        self.lanes = lanes or min(usable_cores(), _MOST_CHILDREN)
        self._open = {
            "base_model": model.source if model.local else spec.base_model,
            "revision": spec.revision,
            "min_pixels": spec.min_pixels,
            "max_pixels": spec.max_pixels,
            "system_prompt": spec.system_prompt,
            "train_on_prompt": spec.train_on_prompt,
        }
        self.identity = _identity(spec, model)
        self._idle: queue.LifoQueue[EngineChild] = queue.LifoQueue()
        self._children: list[EngineChild] = []
        self._lock = threading.Lock()

    def count(self, examples: Sequence[Example]) -> list[TextTokens]:
        """See `TextCounter`.

        Raises:
            FamilyError: the family cannot count rows one by one.
            RunFailed: the process ended without an answer.
        """
        child = self._child()
        try:
            said = [_said(example) for example in examples]
            *_passing, reply = child.stream("count", conversations=said)
        finally:
            self._idle.put(child)
        return [one if isinstance(one, str) else (int(one[0]), int(one[1])) for one in reply["counts"]]

    def _child(self) -> "EngineChild":
        from mg_tui.runs.child import EngineChild

        try:
            return self._idle.get_nowait()
        except queue.Empty:
            child = EngineChild(PROGRAM)
            with self._lock:
                self._children.append(child)
            for _event in child.stream("open", **self._open):
                pass
            return child

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            children, self._children = self._children, []
        for child in children:
            child.close(0.1)


def _said(example: Example) -> list[tuple[str, list[str | None], bool]]:
    return [
        (message.role, [None if isinstance(part, ImagePart) else part.text for part in message.parts], message.learn)
        for message in example.messages
    ]


def _identity(spec: TrainingSpec, model: "ResolvedModel") -> str:
    """Changes whenever a conversation's tokens could: files of the checkpoint, options, the library."""
    from mg_tui.families import hub

    folder = Path(model.source) if model.local else hub.cached_snapshot(model.source, spec.revision)
    files: list[Any] = []
    for name in _TOKEN_FILES:
        try:
            status = (folder / name).stat() if folder is not None else None
        except OSError:
            status = None
        files.append((name, status and (status.st_size, status.st_mtime_ns)))
    said = [model.source, spec.revision, str(folder), files, spec.system_prompt, spec.train_on_prompt]
    return hashlib.sha256(json.dumps([*said, version("transformers")]).encode("utf-8", "surrogatepass")).hexdigest()


__all__ = [
    "Checking",
    "ProcessCounter",
    "checking",
    "inspect",
    "limits_of",
    "open_dataset",
    "picture_tokens_of",
]
