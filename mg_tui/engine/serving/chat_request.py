"""The body of OpenAI's `POST /v1/chat/completions`, as far as it is answered; the rest is refused by name.

What would change the answer and is not supported is an error, never ignored: `n`, `logprobs`, `tools`, penalties, a
`response_format` other than text. At their neutral values they are accepted, since some clients always send them.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mg_tui.core.example import ImagePart, ImageRef, Message, Role, TextPart

MAX_IMAGES: Final = 32  # of one request
MAX_MESSAGES: Final = 1_000
MAX_STOPS: Final = 16


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageUrl(_Part):
    """An image: a data URI or an http(s) URL. `detail` is accepted and has no effect: pixels are those of training."""

    url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high", "original"] | None = None


class ChatText(_Part):
    """A text."""

    type: Literal["text"]
    text: str


class ChatImage(_Part):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class ChatMessage(_Part):
    """One turn. `developer` is OpenAI's newer word for `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[ChatText | ChatImage, Field(discriminator="type")]]
    name: str | None = None

    @model_validator(mode="after")
    def _images_of_users(self) -> "ChatMessage":
        if self.role != "user" and any(isinstance(part, ChatImage) for part in self._parts()):
            raise ValueError("only a user's message can have images")
        return self

    def _parts(self) -> "list[ChatText | ChatImage]":
        return [ChatText(type="text", text=self.content)] if isinstance(self.content, str) else list(self.content)

    @property
    def urls(self) -> list[str]:
        """The images, in order."""
        return [part.image_url.url for part in self._parts() if isinstance(part, ChatImage)]

    def message(self, files: list[str]) -> Message:
        """The turn, its images being the first of `files`, which are taken from it."""
        role: Role = "system" if self.role == "developer" else self.role
        return Message(
            role,
            tuple(
                TextPart(part.text) if isinstance(part, ChatText) else ImagePart(ImageRef(path, path))
                for part in self._parts()
                for path in ([""] if isinstance(part, ChatText) else [files.pop(0)])
            ),
        )


class StreamOptions(BaseModel):
    """`include_usage`: a last chunk with token counts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A chat completion request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: str | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # No effect on the answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    # Only at the value that changes nothing.
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    logprobs: Literal[False] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("response_format")
    @classmethod
    def _text_only(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value not in (None, {"type": "text"}):
            raise ValueError('only {"type": "text"} is supported')
        return value

    @model_validator(mode="after")
    def _answerable(self) -> "ChatRequest":
        if self.messages[-1].role != "user":
            raise ValueError("messages: the last one has to be the user's")
        if len(self.urls) > MAX_IMAGES:
            raise ValueError(f"messages: at most {MAX_IMAGES} images, got {len(self.urls)}")
        return self

    @property
    def urls(self) -> list[str]:
        """All images, in order."""
        return [url for message in self.messages for url in message.urls]

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def token_limit(self) -> int | None:
        """The length of the answer that the request names."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    def conversation(self, files: list[str]) -> tuple[Message, ...]:
        """The messages, with the files of their images, in order."""
        left = list(files)
        return tuple(message.message(left) for message in self.messages)
