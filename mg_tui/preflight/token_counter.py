"""Counts tokens of conversations and images without importing torch: text by the family's own processor in engine
processes that are started on first use, images by the family's formula.
"""

import hashlib
import json
import queue
import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.example import Example, ImagePart
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.checks.lengths import ImageTokenCounter, TextTokenCounts
from mg_tui.hardware.host import usable_cores

if TYPE_CHECKING:
    from mg_tui.families.registry import ResolvedModel
    from mg_tui.runs.engine_process import EngineProcess

COUNTING_PROGRAM: Final = "mg_tui.engine.inference.count_tokens"
# A counting process takes half a gigabyte and four seconds to start: more of them pay off only for millions of rows.
_MAX_PROCESSES: Final = 4
# Files of a checkpoint that determine its tokenization.
_TOKENIZER_FILES: Final = (
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


def family_image_tokens(model: "ResolvedModel", system_prompt: str | None = None) -> ImageTokenCounter | None:
    """The counter of image tokens of the model's family, cached by size; None when the family has none.

    It raises DataError for sizes that the family does not support.
    """
    from functools import lru_cache

    from mg_tui.families import hub
    from mg_tui.families.contract import Preprocessing
    from mg_tui.families.image_limits import translated_settings
    from mg_tui.families.processor_settings import read_processor_settings

    family = model.family
    count = family.image_tokens if family is not None else None
    if family is None or count is None:
        return None
    folder = Path(model.source) if model.local else hub.cached_snapshot(model.source, None)
    settings = read_processor_settings(folder)

    @lru_cache(maxsize=65_536)
    def tokens(width: int, height: int, min_pixels: int, max_pixels: int) -> int:
        known = Preprocessing(min_pixels, max_pixels, system_prompt, settings)
        return count(width, height, replace(known, settings={**settings, **translated_settings(family, known)}))

    return tokens


class TokenCounterPool:
    """Counts text tokens in engine processes, started on first use; see `TextTokenCounter`. Thread-safe.

    Args:
        lanes: processes; by default one per usable core, at most four.
    """

    def __init__(self, spec: TrainingSpec, model: "ResolvedModel", lanes: int | None = None):
        self.lanes = lanes or min(usable_cores(), _MAX_PROCESSES)
        self._open = {
            "base_model": model.source if model.local else spec.base_model,
            "revision": spec.revision,
            "min_pixels": spec.min_pixels,
            "max_pixels": spec.max_pixels,
            "system_prompt": spec.system_prompt,
            "train_on_prompt": spec.train_on_prompt,
            "family": spec.family,
        }
        self.identity = counter_identity(spec, model)
        self._idle: queue.LifoQueue[EngineProcess] = queue.LifoQueue()
        self._children: list[EngineProcess] = []
        self._lock = threading.Lock()
        self._closed = False

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        """See `TextTokenCounter`.

        Raises:
            FamilyError: the family cannot count rows one by one.
            RunFailed: the process ended without a reply.
        """
        child = self._child()
        try:
            records = [_conversation_record(example) for example in examples]
            *_events, reply = child.stream("count", conversations=records)
        finally:
            self._idle.put(child)
        return [item if isinstance(item, str) else (int(item[0]), int(item[1])) for item in reply["counts"]]

    def _child(self) -> "EngineProcess":
        from mg_tui.runs.engine_process import EngineProcess

        try:
            return self._idle.get_nowait()
        except queue.Empty:
            with self._lock:
                if self._closed:
                    raise EnvironmentProblem("token counting was canceled") from None
                child = EngineProcess(COUNTING_PROGRAM)
                self._children.append(child)
            for _event in child.stream("open", **self._open):
                pass
            return child

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._closed = True
            children, self._children = self._children, []
        for child in children:
            child.close(1.0)


def _conversation_record(example: Example) -> list[tuple[str, list[str | None], bool]]:
    return [
        (
            message.role,
            [None if isinstance(part, ImagePart) else part.text for part in message.parts],
            message.supervised,
        )
        for message in example.messages
    ]


def counter_identity(spec: TrainingSpec, model: "ResolvedModel") -> str:
    """A hash of everything that determines token counts: files of the checkpoint, options, library version.

    See `TextTokenCounter`.
    """
    from mg_tui.families import hub

    folder = Path(model.source) if model.local else hub.cached_snapshot(model.source, spec.revision)
    files: list[Any] = []
    for name in _TOKENIZER_FILES:
        try:
            status = (folder / name).stat() if folder is not None else None
        except OSError:
            status = None
        files.append((name, status and (status.st_size, status.st_mtime_ns)))
    parts = [model.source, spec.revision, str(folder), files, spec.system_prompt, spec.train_on_prompt]
    return hashlib.sha256(json.dumps([*parts, version("transformers")]).encode("utf-8", "surrogatepass")).hexdigest()
