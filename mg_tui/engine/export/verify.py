"""Whether another form of a model answers rows like the model.

One model is in memory at a time. Both are loaded in the same dtype. A GGUF file is asked by llama-mtmd-cli, with the
image limits that the model was trained with.
"""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mg_tui.core.errors import UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.core.text import one_line, pluralize
from mg_tui.data.policy import read_policy
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.export.agreement import compare_answers
from mg_tui.engine.export.asking_request import AskingRequest
from mg_tui.engine.export.gguf.asking import GgufAsker, GgufModel, choose_questions, locate_gguf
from mg_tui.engine.export.gguf.gguf_file import CHAT_TEMPLATE, read_gguf
from mg_tui.engine.export.questions import ask_model, ask_server, ask_without_adapter, error_of_first, load_rows
from mg_tui.engine.inference.channel import ProgressChannel
from mg_tui.engine.inference.generate import parse_request, silence_libraries
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.families.chat_template import ChatTemplate
from mg_tui.families.registry import Registry, load_registry

if TYPE_CHECKING:
    from mg_tui.engine.inference.loading import LoadedModel

_PHASE_COUNT = 3


class VerifyRequest(AskingRequest):
    """The model, what is compared with it, and what both are asked."""

    against: Annotated[str, Field(min_length=1)]
    name: str | None = None
    mmproj: Path | None = None
    device: Literal["auto", "cuda", "cpu"] = "auto"
    dtype: DTypeName | Literal["auto"] = "auto"
    quantization: QuantizationName | Literal["auto"] = "none"

    @property
    def is_server(self) -> bool:
        """Whether a server is compared."""
        return self.against.startswith(("http://", "https://"))


class Verifier:
    """Compares models, one pair at a time, without state between them."""

    def __init__(self, channel: ProgressChannel) -> None:
        self._channel = channel

    def verify(self, values: dict[str, Any]) -> None:
        """Ask both the same rows; replies `verified` with the agreement, whether or not they agree."""
        request = parse_request(VerifyRequest, values)
        registry = load_registry()
        located = locate_model(request.model, home=request.home, registry=registry, base_model=request.base_model)
        # Errors in what it is compared with are found before the first model is loaded.
        gguf = None if request.is_server else find_gguf(request)
        other = None if request.is_server or gguf is not None else self._locate_other(request, registry)
        if request.name and not request.is_server:
            raise UsageError("--name is the name of a server's model", why="--against is no URL")
        if request.mmproj is not None and gguf is None:
            raise UsageError("--mmproj is the vision tower of a GGUF file", why="--against is none")
        silence_libraries()
        from mg_tui.engine.inference.loading import load_located

        how = {"device": request.device, "quantization": request.quantization}
        self._at(0, f"loading {located.label}")
        loaded = load_located(located, registry, dtype=request.dtype, **how)  # type: ignore[arg-type]
        examples, source = load_rows(
            loaded,
            cwd=request.cwd,
            cache=request.cache,
            dataset=request.dataset,
            count=request.rows,
            policy=read_policy(request.bounds),
        )
        asker = None
        if gguf is not None:
            asker = GgufAsker(gguf.llama, loaded.processor, loaded.metadata, request.max_new_tokens)
            questions = choose_questions(examples, loaded.metadata, self._channel.send_notice)
            examples = [question.example for question in questions]
            self._compare_templates(gguf, loaded)
        self._at(1, f"asking {located.label} {pluralize(len(examples), 'row')}: {source}")
        expected, dtype = ask_model(loaded, examples, request.max_new_tokens), loaded.dtype
        if (error := error_of_first(expected)) is not None:
            raise error
        base = ask_without_adapter(loaded, examples, request.max_new_tokens)
        del loaded
        gc.collect()
        self._at(2, f"asking {one_line(request.against, limit=200)}")
        answers: list[ModelAnswer]
        if gguf is not None and asker is not None:
            answers = asker.ask(gguf.files, questions, self._channel)
        elif other is None:
            answers = ask_server(request.against, request.name, examples, request.max_new_tokens)
        else:
            loaded = load_located(other, registry, dtype=dtype, **how)  # type: ignore[arg-type]
            answers = ask_model(loaded, examples, request.max_new_tokens)
        agreement = compare_answers(expected, answers, base, required=request.min_agreement)
        self._channel.send(
            "verified",
            model=located.label,
            against=request.against,
            source=source,
            dtype=dtype,
            max_new_tokens=request.max_new_tokens,
            **agreement.as_dict(),
        )

    def _at(self, done: int, what: str) -> None:
        self._channel.send("progress", what=what, done=done, total=_PHASE_COUNT)

    def _compare_templates(self, gguf: GgufModel, loaded: "LoadedModel") -> None:
        template = ChatTemplate(loaded.processor, loaded.family.title).source
        if read_gguf(gguf.files.text).values.get(CHAT_TEMPLATE) != template:
            self._channel.send_notice("the GGUF file has another chat template than the model")

    def _locate_other(self, request: VerifyRequest, registry: Registry) -> LocatedModel:
        file = expand_user(request.against)
        if file.is_file():
            raise UsageError(
                "what the model is compared with is a file",
                where=str(file),
                hint="give a GGUF file, a folder with a model or an adapter, or the URL of a server",
            )
        located = locate_model(request.against, home=request.home, registry=registry)
        for note in located.notes:
            self._channel.send_notice(note)
        return located


def find_gguf(request: VerifyRequest) -> GgufModel | None:
    """The GGUF file to compare with, its vision tower and the llama.cpp to ask it by; None where no such file is named.

    Raises:
        UsageError: the file is none, or which vision tower belongs to it is not clear.
        EnvironmentProblem: llama.cpp is not here.
    """
    file = expand_user(request.against)
    if file.suffix != ".gguf" or not file.is_file():
        return None
    return locate_gguf(file, request.mmproj, request.cache)
