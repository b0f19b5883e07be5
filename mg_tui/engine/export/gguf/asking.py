"""Asks GGUF files the rows that a model was asked, as the model was asked them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mg_tui.core.errors import UsageError
from mg_tui.core.example import Example
from mg_tui.core.text import pluralize
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.export.gguf.gguf_file import ARCHITECTURE, read_gguf
from mg_tui.engine.export.gguf.llama_answers import (
    ImageTokenLimits,
    LlamaCli,
    LlamaFiles,
    LlamaQuestion,
    as_questions,
    image_token_limits,
    usable_threads,
)
from mg_tui.engine.inference.channel import ProgressChannel
from mg_tui.runs.llama_cpp import LlamaCpp, find_llama_cpp
from mg_tui.runs.result_metadata import ResultMetadata

_DEFAULT_CONTEXT = 8192


@dataclass(frozen=True, slots=True)
class GgufModel:
    """Files and the llama.cpp that asks them."""

    files: LlamaFiles
    llama: LlamaCpp


def locate_gguf(text: Path, projector: Path | None, cache: Path) -> GgufModel:
    """A text model with its vision tower, and the llama.cpp that asks them; see `locate_files`.

    Raises:
        UsageError: as by `locate_files`.
        EnvironmentProblem: llama.cpp is not here.
    """
    return GgufModel(locate_files(text, projector), find_llama_cpp(cache))


def locate_files(text: Path, projector: Path | None) -> LlamaFiles:
    """A text model with its vision tower: the one given, or the only one beside it.

    Args:
        text: the text model's file.
        projector: the vision tower's file, if it was named.

    Raises:
        UsageError: a file is no GGUF or not of its kind, or cut off, or there is no vision tower or several.
    """
    if read_gguf(text).is_projector:
        raise UsageError(
            "this GGUF file is a vision tower, not a text model", where=str(text), hint="give the other file"
        )
    if projector is None:
        beside = sorted(path for path in text.parent.glob("*.gguf") if "mmproj" in path.name.lower() and path != text)
        if len(beside) != 1:
            names = ", ".join(path.name for path in beside[:4])
            raise UsageError(
                "which vision tower belongs to the GGUF file is not clear",
                where=str(text),
                why=f"there are {names} beside it" if beside else "there is no mmproj*.gguf beside it",
                hint="name it with --mmproj",
            )
        projector = beside[0]
    if not read_gguf(projector).is_projector:
        raise UsageError("this GGUF file is no vision tower", where=str(projector), hint="name another with --mmproj")
    return LlamaFiles(text.absolute(), projector.absolute())


def choose_questions(
    examples: Sequence[Example], metadata: ResultMetadata, say: Callable[[str], None]
) -> list[LlamaQuestion]:
    """The rows that llama-mtmd-cli can be asked; the others are said.

    Raises:
        UsageError: none can.
    """
    questions = as_questions(examples, metadata.system_prompt)
    if left := len(examples) - len(questions):
        say(f"{pluralize(left, 'row')} left out: llama-mtmd-cli is asked one question about images, no conversation")
    if not questions:
        raise UsageError(
            "llama-mtmd-cli can be asked none of these rows",
            why="it takes one question with at least one image",
            hint="name rows of that kind with --dataset",
        )
    return questions


class GgufAsker:
    """Asks files by llama-mtmd-cli, with the image limits and the special tokens of a model.

    Args:
        llama: whose program it is.
        processor: the model's.
        metadata: how it was trained.
        max_new_tokens: of an answer.
    """

    def __init__(self, llama: LlamaCpp, processor: Any, metadata: ResultMetadata, max_new_tokens: int) -> None:
        self._llama = llama
        tokenizer = processor.tokenizer
        # Their texts are not in the model's own answers either.
        self._special = [str(token) for token in tokenizer.all_special_tokens]
        self._max_new_tokens = max_new_tokens
        self.limits: ImageTokenLimits | None = image_token_limits(processor, metadata.preprocessing)
        self.threads = usable_threads()

    def ask(self, files: LlamaFiles, questions: Sequence[LlamaQuestion], channel: ProgressChannel) -> list[ModelAnswer]:
        """The answers, with notices on the way where it takes long.

        Raises:
            UsageError: a file is no GGUF, or is damaged.
            EnvironmentProblem: the program cannot be started.
        """
        cli = LlamaCli(
            self._llama.ask,
            limits=self.limits,
            special=self._special,
            context=_context_length(files.text),
            max_new_tokens=self._max_new_tokens,
        )

        def tell(done: int) -> None:
            if done % 10 == 0 and done < len(questions):
                channel.send_notice(f"{done} of {len(questions)} rows answered")

        return cli.ask(files, questions, tell)


def _context_length(text: Path) -> int:
    head = read_gguf(text)
    found = head.values.get(f"{head.values.get(ARCHITECTURE)}.context_length")
    return found if isinstance(found, int) else _DEFAULT_CONTEXT
