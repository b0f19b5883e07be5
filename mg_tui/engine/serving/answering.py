"""What an engine is asked, and what it says while it answers. Free of torch."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mg_tui.core.errors import GardenError
from mg_tui.core.example import ImagePart, Message
from mg_tui.engine.inference.generation import Sampling

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ChatTask:
    """One request.

    Attributes:
        model: the served model's name.
        messages: the conversation; the path of an image is its file in the image store.
        sampling: how tokens are chosen.
        stop: texts that end the answer; they are not part of it.
    """

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    stop: tuple[str, ...] = ()

    @property
    def images(self) -> list[str]:
        """Files of the images, in order."""
        return [part.image.path for message in self.messages for part in message.parts if isinstance(part, ImagePart)]


@dataclass(frozen=True, slots=True)
class TextPiece:
    """The next piece of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The end of an answer; tokens as of `GeneratedAnswer`: the prompt's with its images, and those generated."""

    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


AnswerEvent = TextPiece | AnswerEnd | GardenError


class TooManyWaiting(GardenError):
    """The queue is full."""

    def __init__(self, waiting: int, seconds: int):
        super().__init__(f"{waiting} requests are waiting", hint=f"ask again in {seconds} s")
        self.seconds = seconds


class EngineEnded(GardenError):
    """The engine has ended, or is ending."""


class TaskRefused(GardenError):
    """A request that cannot be answered, for a reason of its own: it is too long, for example.

    Attributes:
        code: OpenAI's name of the reason, if it has one.
    """

    def __init__(self, what: str, *, code: str | None = None, why: str | None = None, hint: str | None = None):
        super().__init__(what, why=why, hint=hint)
        self.code = code


class ServingEngine(Protocol):
    """Answers requests to some models."""

    @property
    def names(self) -> tuple[str, ...]:
        """The served models."""
        ...

    @property
    def answering(self) -> int:
        """Requests being answered."""
        ...

    @property
    def waiting(self) -> int:
        """Requests that have no first token yet."""
        ...

    def start(self, task: ChatTask) -> "PendingAnswer":
        """Begin to answer; called in the event loop that will wait for it.

        Raises:
            TooManyWaiting: the queue is full.
            EngineEnded: nothing is answered any more.
        """
        ...

    def problem(self) -> str | None:
        """Why nothing can be answered any more; None if all is well."""
        ...

    def close(self) -> None:
        """End everything; requests that are not answered yet fail."""
        ...


@dataclass(slots=True, eq=False)
class PendingAnswer:
    """A request on its way through an engine, and the way back to the event loop that waits for it.

    Attributes:
        task: the request.
        on_cancel: called once when nobody waits any more.
        cancelled: nobody waits any more.
    """

    task: ChatTask
    on_cancel: "Callable[[PendingAnswer], None]"
    cancelled: bool = False
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _events: "asyncio.Queue[AnswerEvent]" = field(default_factory=asyncio.Queue)

    def send(self, event: AnswerEvent) -> None:
        """Pass an event on, from any thread; dropped where nobody waits any more."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:  # the event loop has ended
            self.cancelled = True

    async def next(self) -> TextPiece | AnswerEnd:
        """The next piece, or the end.

        Raises:
            TaskRefused: the request cannot be answered.
            GardenError: the engine failed.
        """
        event = await self._events.get()
        if isinstance(event, GardenError):
            raise event
        return event

    def cancel(self) -> None:
        """Nobody waits any more."""
        if not self.cancelled:
            self.cancelled = True
            self.on_cancel(self)
