"""`python -m mg_tui.engine.inference.inspect_tokens`: the tokens of a conversation, and which are supervised.

    {"op": "open", "base_model": "...", "min_pixels", "max_pixels", "system_prompt", "train_on_prompt", "revision"}
        -> ready {"base_model", "family", "seconds"}
    {"op": "row", "row": 12, "messages": [{"role": "user", "parts": [{"image": "/a"}, {"text": "..."}], "learn"}, ...]}
        -> row {"pieces": [[text, learned], ...], "tokens", "learned", "image_tokens",
                "images": [{"path", "size", "seen_at", "tokens"}]}

A piece is the text of one token, or of the few that form one character. Instead of its text an image's piece has the
image's index: its tokens are counted and not listed. Only the processor is loaded, not the model.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import Field

from mg_tui.core.errors import FamilyError, GardenError, UsageError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, Role, TextPart
from mg_tui.core.spec import DEFAULT_MAX_PIXELS, DEFAULT_MIN_PIXELS, FamilyChoice
from mg_tui.engine.inference.channel import Channel, serve_stdio
from mg_tui.engine.inference.generate import ChannelRequest, parse_request, silence_libraries

if TYPE_CHECKING:
    from mg_tui.data.images import ImageInfo
    from mg_tui.families.collate import ExampleEncoder

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MAX_TOKENS_PER_PIECE = 8  # tokens that are joined to get complete characters


class OpenRequest(ChannelRequest):
    """The base model, and how images are resized."""

    base_model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    min_pixels: Annotated[int, Field(ge=1)] = DEFAULT_MIN_PIXELS
    max_pixels: Annotated[int, Field(ge=1)] = DEFAULT_MAX_PIXELS
    system_prompt: str | None = None
    train_on_prompt: bool = False
    family: FamilyChoice = "known"


class TextContent(ChannelRequest):
    """A run of text."""

    text: str


class ImageContent(ChannelRequest):
    """An image, by its path."""

    image: str


class TurnContent(ChannelRequest):
    """One turn: text and images in order, and whether an answer is supervised."""

    role: Role
    parts: tuple[TextContent | ImageContent, ...]
    learn: bool = True

    def message(self) -> Message:
        """The turn as a `Message`."""
        parts = [
            TextPart(part.text) if isinstance(part, TextContent) else ImagePart(ImageRef(part.image, part.image))
            for part in self.parts
        ]
        return Message(self.role, tuple(parts), self.learn)


class RowRequest(ChannelRequest):
    """The conversation to tokenize."""

    row: Annotated[int, Field(ge=0)] = 0
    messages: Annotated[tuple[TurnContent, ...], Field(min_length=1)]


class TokenInspector:
    """Holds the processor of one base model."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._encoder: ExampleEncoder | None = None

    def open(self, values: dict[str, Any]) -> None:
        """Load the processor; replies `ready`."""
        request = parse_request(OpenRequest, values)
        began = time.monotonic()
        self._encoder = open_encoder(request)
        self._channel.send(
            "ready",
            base_model=request.base_model,
            family=self._encoder.family.key,
            seconds=round(time.monotonic() - began, 3),
        )

    def row(self, values: dict[str, Any]) -> None:
        """Tokenize a conversation; replies `row`."""
        request = parse_request(RowRequest, values)
        if self._encoder is None:
            raise UsageError("no base model is open")
        example = Example(request.row, tuple(turn.message() for turn in request.messages))
        self._channel.send("row", row=request.row, **inspect_example(self._encoder, example))


def open_encoder(request: OpenRequest) -> "ExampleEncoder":
    """The encoder that training would use.

    Raises:
        FamilyError: no family for the base model, or one with a collator of its own.
    """
    from mg_tui.families.collate import ExampleEncoder
    from mg_tui.families.contract import Preprocessing
    from mg_tui.families.registry import load_registry

    resolved = load_registry().resolve(request.base_model, revision=request.revision, fetch=True, choice=request.family)
    family = resolved.family
    if family is None:
        raise FamilyError(f"no model family is installed for {request.base_model}")
    silence_libraries()
    preprocessing = Preprocessing(request.min_pixels, request.max_pixels, request.system_prompt)
    hub = {"revision": request.revision} if request.revision and not resolved.local else {}
    processor = family.load_processor(family, resolved.source, preprocessing, **hub)
    collator = family.make_collator(family, processor, preprocessing, train_on_prompt=request.train_on_prompt)
    if not isinstance(collator, ExampleEncoder):
        raise FamilyError(f"{family.title} has a collator of its own", why="its tokens cannot be listed one by one")
    return collator


def inspect_example(encoder: "ExampleEncoder", example: Example) -> dict[str, Any]:
    """The tokens and images of an example; see the module's docstring.

    Raises:
        DataError: an image cannot be opened, or the chat template refuses the conversation.
    """
    from mg_tui.data.images import probe_image

    refs = [part.image for message in example.messages for part in message.parts if isinstance(part, ImagePart)]
    infos = [probe_image(ref.path) for ref in refs]
    ids, supervised = encoder.tokenize_with_supervision(example)
    tokenizer = encoder.processor.tokenizer
    placeholders = {int(tokenizer.convert_tokens_to_ids(token)) for token in image_placeholders(encoder)}
    images = [_describe_image(encoder, ref.path, info) for ref, info in zip(refs, infos, strict=True)]
    counted = sum(image["tokens"] or 0 for image in images)
    return {
        "pieces": split_pieces(tokenizer, ids, supervised, placeholders if refs else set()),
        "tokens": len(ids) + sum((image["tokens"] or 1) - 1 for image in images),
        "learned": sum(supervised),
        "image_tokens": counted if all(image["tokens"] is not None for image in images) else None,
        "images": images,
    }


def image_placeholders(encoder: "ExampleEncoder") -> list[str]:
    """The placeholder tokens of an image, from the processor."""
    named = [getattr(encoder.processor, name, None) for name in ("image_token", "boi_token", "img_token")]
    names = [token for token in named[:1] if isinstance(token, str)] or [t for t in named if isinstance(t, str)]
    return names or sorted(encoder.template.image_tokens)


def split_pieces(
    tokenizer: Any, ids: Sequence[int], supervised: Sequence[bool], placeholders: set[int]
) -> list[tuple[str | int, bool]]:
    """Text and whether it is supervised, token by token; for an image its index instead of text."""
    pieces: list[tuple[str | int, bool]] = []
    pending: list[int] = []
    image = 0
    for at, (token, is_supervised) in enumerate(zip(ids, supervised, strict=True)):
        if token in placeholders:
            pieces.append((image, is_supervised))
            image += 1
            continue
        pending.append(token)
        text = str(tokenizer.decode(pending, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        last = at + 1 == len(ids) or ids[at + 1] in placeholders or supervised[at + 1] != is_supervised
        if _REPLACEMENT in text and len(pending) < _MAX_TOKENS_PER_PIECE and not last:
            continue  # part of a character: the rest of it is in the next token
        pieces.append((text, is_supervised))
        pending = []
    return pieces


def _describe_image(encoder: "ExampleEncoder", path: str, info: "ImageInfo") -> dict[str, Any]:
    family, preprocessing = encoder.family, encoder.preprocessing
    size = (info.width, info.height)
    tokens = size_seen = None
    try:
        if family.image_tokens is not None:
            tokens = family.image_tokens(*size, preprocessing)
        if family.layout is not None and family.layout.resized is not None:
            size_seen = family.layout.resized(*size, preprocessing)
    except GardenError:
        tokens = None  # the dataset check reports why an image is refused
    return {"path": path, "size": size, "seen_at": size_seen, "tokens": tokens}


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    serve_stdio(lambda channel: {"open": (inspector := TokenInspector(channel)).open, "row": inspector.row})


if __name__ == "__main__":
    main()
