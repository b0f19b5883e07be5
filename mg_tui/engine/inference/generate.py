"""`python -m mg_tui.engine.inference.generate`: a loaded model answers requests in JSON lines.

    {"op": "load", "model": "...", "home": "...", "base_model", "device", "dtype", "quantization",
     "min_pixels", "max_pixels"}                                                                         -> ready
    {"op": "generate", "images": [...], "prompt": "...", "system_prompt", "max_new_tokens", "temperature", "top_p",
     "seed"}                                                                                -> text, text, ..., answer
    {"op": "generate", "messages": [{"role": "user", "text": "...", "images": [...]}, ...]}  a conversation instead
    {"op": "cancel"}                                                        ends the current answer, which is returned

The protocol is that of `mg_tui.runs.engine_process`. All fields but `model` and the prompt are optional. A second
`load` replaces the first model.
"""

import gc
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mg_tui.core.errors import UsageError
from mg_tui.core.example import ImagePart, ImageRef, Message, Role, TextPart
from mg_tui.core.precision import DTypeName, QuantizationName
from mg_tui.engine.inference.channel import Channel, serve_stdio
from mg_tui.families.registry import load_registry

if TYPE_CHECKING:
    from mg_tui.engine.inference.generation import GeneratedAnswer
    from mg_tui.engine.inference.loading import LoadedModel


RequestT = TypeVar("RequestT", bound=BaseModel)


class ChannelRequest(BaseModel):
    """Base of all requests: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoadModelRequest(ChannelRequest):
    """The model to load, and how."""

    model: Annotated[str, Field(min_length=1)]
    home: Path
    base_model: str | None = None
    device: Literal["auto", "cuda", "cpu"] = "auto"
    dtype: DTypeName | Literal["auto"] = "auto"
    quantization: QuantizationName | Literal["auto"] = "auto"
    min_pixels: Annotated[int, Field(ge=1)] | None = None
    max_pixels: Annotated[int, Field(ge=1)] | None = None


class ChatTurn(ChannelRequest):
    """One turn of a conversation; its images precede its text, as in training."""

    role: Role
    text: str
    images: tuple[str, ...] = ()

    def message(self) -> Message:
        """The turn as a `Message`."""
        images = [ImagePart(ImageRef(str(Path(path).absolute()), path)) for path in self.images]
        return Message(self.role, (*images, TextPart(self.text)))


class GenerateRequest(ChannelRequest):
    """The prompt or conversation, and how tokens are sampled."""

    prompt: str | None = None
    images: tuple[str, ...] = ()
    system_prompt: str | None = None
    messages: tuple[ChatTurn, ...] = ()
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0)] | None = None

    def conversation(self) -> list[Message]:
        """The messages, beginning with the system prompt if there is one.

        Raises:
            UsageError: neither or both of prompt and messages are set.
        """
        if (self.prompt is None) == (not self.messages):
            raise UsageError("give either a prompt or messages")
        turns = list(self.messages) or [ChatTurn(role="user", text=self.prompt or "", images=self.images)]
        if turns[-1].role != "user":
            raise UsageError("the conversation has to end with the user's turn")
        system = [ChatTurn(role="system", text=self.system_prompt)] if self.system_prompt is not None else []
        return [turn.message() for turn in (*system, *turns)]


class InferenceSession:
    """A loaded model, or none yet."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._loaded: LoadedModel | None = None

    def load(self, values: dict[str, Any]) -> None:
        """Load a model; replies `ready` with what was loaded and how."""
        request = parse_request(LoadModelRequest, values)
        # Errors in files are found before torch is imported.
        from mg_tui.engine.inference.locator import locate_model

        registry = load_registry()
        located = locate_model(request.model, home=request.home, registry=registry, base_model=request.base_model)
        for note in located.notes:
            self._channel.send_notice(note)
        from mg_tui.engine.inference import loading
        from mg_tui.engine.inference.pixel_limits import RequestedLimits

        silence_libraries()
        self._loaded = None
        gc.collect()
        began = time.monotonic()
        loaded = loading.load_located(
            located,
            registry,
            device=request.device,
            dtype=request.dtype,
            quantization=request.quantization,
            limits=RequestedLimits(request.min_pixels, request.max_pixels),
        )
        self._loaded = loaded
        self._channel.send(
            "ready",
            model=located.label,
            folder=str(located.folder) if located.folder else None,
            kind=loaded.metadata.kind,
            base_model=located.base.name,
            family=loaded.family.key,
            device=loaded.device,
            dtype=loaded.dtype,
            quantization=loaded.quantization,
            min_pixels=loaded.metadata.min_pixels,
            max_pixels=loaded.metadata.max_pixels,
            limits_from=loaded.limits_from,
            seconds=round(time.monotonic() - began, 3),
        )

    def generate(self, values: dict[str, Any]) -> None:
        """Generate an answer; sends `text` while it is generated and replies `answer` with the whole record."""
        request = parse_request(GenerateRequest, values)
        messages = request.conversation()
        if self._loaded is None:
            raise UsageError("no model is loaded")
        from mg_tui.data.images import open_image
        from mg_tui.engine.inference.generation import Sampling, generate_answer, make_encoder
        from mg_tui.engine.inference.loading import translate_out_of_memory

        refs = [part.image for message in messages for part in message.parts if isinstance(part, ImagePart)]
        images = [open_image(ref.path) for ref in refs]
        loaded = self._loaded
        sampling = Sampling(request.max_new_tokens, request.temperature, request.top_p, request.seed)
        with translate_out_of_memory("the conversation"):
            answer = generate_answer(
                loaded.model,
                make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing),
                messages,
                images,
                sampling,
                on_text=lambda text: self._channel.send("text", text=text),
                cancelled=self._channel.cancelled,
            )
        self._channel.send("answer", **answer_record(answer, [ref.original for ref in refs]))


def answer_record(answer: "GeneratedAnswer", paths: list[str]) -> dict[str, Any]:
    """An answer as one JSON object: times in seconds, sizes in pixels as [width, height]."""
    return {
        "answer": answer.text,
        "tokens": answer.tokens,
        "seconds": round(answer.seconds, 4),
        "first_token_seconds": round(answer.first_token_seconds, 4),
        "tokens_per_second": round(answer.tokens_per_second, 2),
        "ended": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "image_tokens": answer.image_tokens,
        "images": [
            {"path": path, "size": size, "seen_at": processed_size}
            for path, (size, processed_size) in zip(paths, answer.image_sizes, strict=True)
        ],
        "seed": answer.seed,
    }


def parse_request(kind: type[RequestT], values: dict[str, Any]) -> RequestT:
    """A request from loose values.

    Raises:
        UsageError: naming what cannot be used.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, problem['loc'])) or 'request'}: {problem['msg']}") from None


def silence_libraries() -> None:
    """Leave progress bars and advice of the libraries out of the log."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    serve_stdio(lambda channel: {"load": (session := InferenceSession(channel)).load, "generate": session.generate})


if __name__ == "__main__":
    main()
