"""Asks llama-mtmd-cli rows, greedily: the files themselves answer, with their own chat template and image sizes."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.example import Example, ImagePart, with_system_prompt
from mg_tui.core.preprocessing import Preprocessing
from mg_tui.core.text import one_line
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.export.gguf.programs import last_words
from mg_tui.runs.llama_cpp import ASK

MARKER: Final = "<__media__>"  # `mtmd_default_marker()`: where an image stands in a prompt
_ROW_SECONDS: Final = 1800  # a row that takes longer hangs
_SPARE_CONTEXT: Final = 1024


@dataclass(frozen=True, slots=True)
class LlamaFiles:
    """What llama.cpp loads: the text model, the vision tower with its projector, an adapter if there is one."""

    text: Path
    projector: Path
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class ImageTokenLimits:
    """The least and the most tokens of an image, as llama.cpp counts them; `exact` if pixels divide evenly.

    `side` is that of the square a token covers, in pixels.
    """

    least: int
    most: int
    exact: bool
    side: int

    @property
    def options(self) -> list[str]:
        """Words of a command line."""
        return ["--image-min-tokens", str(self.least), "--image-max-tokens", str(self.most)]


@dataclass(frozen=True, slots=True)
class LlamaQuestion:
    """A row as llama-mtmd-cli can be asked it; `prompt` has a mark for each image.

    `sizes` are widths and heights that the images are resized to beforehand, where they are; as by the model's own
    processor, so that llama.cpp has nothing to resize.
    """

    example: Example
    system: str | None
    prompt: str
    sizes: tuple[tuple[int, int], ...] = ()


def image_token_limits(processor: Any, preprocessing: Preprocessing) -> ImageTokenLimits | None:
    """The pixel limits of training as numbers of tokens; None for a processor without such limits.

    A token is a square of `patch_size * merge_size` pixels a side.
    """
    from mg_tui.families.image_limits import resizes_by_area

    images = processor.image_processor
    patch, merge = getattr(images, "patch_size", None), getattr(images, "merge_size", 1)
    if not resizes_by_area(processor) or not isinstance(patch, int) or not isinstance(merge, int):
        return None
    area = (patch * merge) ** 2
    least, most = -(-preprocessing.min_pixels // area), preprocessing.max_pixels // area
    exact = least * area == preprocessing.min_pixels and most * area == preprocessing.max_pixels
    return ImageTokenLimits(max(least, 1), max(most, 1), exact, patch * merge)


def as_questions(examples: Sequence[Example], system_prompt: str | None) -> list[LlamaQuestion]:
    """The rows that can be asked: one question about at least one image, after a system prompt or none."""
    found = [_as_question(example, system_prompt) for example in examples]
    return [question for question in found if question is not None]


def _as_question(example: Example, system_prompt: str | None) -> LlamaQuestion | None:
    messages = with_system_prompt(example.prompt, system_prompt)
    system = messages[0].text if messages and messages[0].role == "system" else None
    rest = messages[1:] if system is not None else messages
    # Without an image llama-mtmd-cli waits for somebody to type.
    if len(rest) != 1 or rest[0].role != "user" or not example.images:
        return None
    text = "".join(MARKER if isinstance(part, ImagePart) else part.text for part in rest[0].parts)
    if text.count(MARKER) != len(example.images) or "\0" in text:
        return None
    return LlamaQuestion(example, system or None, text)


class LlamaCli:
    """llama-mtmd-cli, which loads the files and answers one row a call.

    Args:
        program: the file of llama-mtmd-cli.
        limits: of the images' tokens; None: llama.cpp's own.
        special: texts of the tokenizer's special tokens: they are not part of an answer.
        context: the model's longest context, in tokens.
        max_new_tokens: of an answer.
    """

    def __init__(
        self,
        program: Path,
        *,
        limits: ImageTokenLimits | None,
        special: Sequence[str],
        context: int,
        max_new_tokens: int,
    ) -> None:
        self._program = program
        self._limits = limits
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        self._context = context
        self._max_new_tokens = max_new_tokens

    def ask(
        self, files: LlamaFiles, questions: Sequence[LlamaQuestion], on_answer: Callable[[int], None]
    ) -> list[ModelAnswer]:
        """The greedy answers; a row that fails has an error in the place of its answer.

        Args:
            files: what is asked.
            questions: the rows.
            on_answer: is told how many rows are done.

        Raises:
            EnvironmentProblem: the program cannot be started.
        """
        answers = []
        for number, question in enumerate(questions, 1):
            answers.append(self._ask(files, question))
            on_answer(number)
        return answers

    def _ask(self, files: LlamaFiles, question: LlamaQuestion) -> ModelAnswer:
        from PIL.Image import Resampling

        from mg_tui.data.images import open_image

        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="model-garden-") as name:
            folder = Path(name)
            try:
                # As PNG in RGB: llama.cpp reads fewer formats, and does not turn a photo as its EXIF says.
                for index, reference in enumerate(question.example.images):
                    image = open_image(reference.path)
                    if question.sizes:
                        image = image.resize(question.sizes[index], Resampling.BICUBIC)
                    image.save(folder / f"{index}.png")
            except GardenError as error:
                return ModelAnswer(question.example, "", error=error.what)
            except OSError as error:
                raise EnvironmentProblem(
                    "an image could not be written", where=str(folder), why=error.strerror or str(error)
                ) from None
            code, output, errors = self._run(self._words(files, question), folder)
        if code:
            why = "it took too long" if code is _TIMED_OUT else last_words(errors.splitlines())
            return ModelAnswer(question.example, "", error=f"{ASK} failed: {one_line(why, limit=300)}")
        text = self._special.sub("", output).strip()
        return ModelAnswer(question.example, text, timing={"seconds": round(time.monotonic() - began, 4)})

    def _words(self, files: LlamaFiles, question: LlamaQuestion) -> list[str]:
        words = [str(self._program), "-m", str(files.text), "--mmproj", str(files.projector)]
        if files.adapter is not None:
            words += ["--lora", str(files.adapter)]
        if self._limits is not None:
            words += self._limits.options
        if question.system is not None:
            words += ["-sys", question.system]
        for index in range(len(question.example.images)):
            words += ["--image", f"{index}.png"]
        # A text of n bytes has at most n tokens.
        length = len((question.prompt + (question.system or "")).encode()) + self._max_new_tokens + _SPARE_CONTEXT
        images = len(question.example.images) * (self._limits.most if self._limits is not None else 4096)
        words += ["--ctx-size", str(min(length + images, self._context)), "--predict", str(self._max_new_tokens)]
        words += [
            "--temp",
            "0",
            "--seed",
            "0",
            "--jinja",
            "--no-escape",
            "--no-warmup",
            "--threads",
            str(usable_threads()),
        ]
        return [*words, "-p", question.prompt]

    def _run(self, words: Sequence[str], folder: Path) -> tuple[int, str, str]:
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=_ROW_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _TIMED_OUT, "", ""
        except OSError as error:
            raise EnvironmentProblem(
                f"{ASK} cannot be started", where=str(self._program), why=error.strerror or str(error)
            ) from None
        except ValueError as error:
            raise UsageError("a row cannot be asked", why=str(error)) from None
        return done.returncode, done.stdout, done.stderr


_TIMED_OUT: Final = 10**6


def usable_threads() -> int:
    """As many threads as there are cores for this process."""
    return max(1, len(os.sched_getaffinity(0)))
