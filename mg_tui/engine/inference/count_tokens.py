"""`python -m mg_tui.engine.inference.count_tokens`: token counts of conversations, for processes without torch.

    {"op": "open", ...}     as `mg_tui.engine.inference.inspect_tokens`
        -> ready {"base_model", "family", "seconds"}
    {"op": "count", "conversations": [[[role, [text or null, ...], learn], ...], ...]}
        -> counts {"counts": [[tokens, learned] or "why it cannot be counted", ...]}

A null stands for an image, which counts as one token: its real number of tokens depends on its size alone.
"""

from typing import Any, NoReturn

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.batching.token_counting import describe_failure
from mg_tui.engine.inference.channel import serve_stdio
from mg_tui.engine.inference.inspect_tokens import TokenInspector, open_encoder
from mg_tui.families.collate import ExampleEncoder

_IMAGE = ImagePart(ImageRef("", ""))


class ConversationCounter(TokenInspector):
    """Holds the processor of one base model."""

    def count(self, values: dict[str, Any]) -> None:
        """Count conversations; replies `counts`."""
        if self._encoder is None:
            raise UsageError("no base model is open")
        self._channel.send("counts", counts=count_conversations(self._encoder, values["conversations"]))


def count_conversations(encoder: ExampleEncoder, conversations: list[list[Any]]) -> list[tuple[int, int] | str]:
    """Tokens of each conversation, one for each image, and its supervised tokens; or why they cannot be counted."""
    examples = [
        Example(
            0,
            tuple(
                Message(role, tuple(_IMAGE if part is None else TextPart(part) for part in parts), learn)
                for role, parts, learn in turns
            ),
        )
        for turns in conversations
    ]
    counts = encoder.count_tokens(examples)
    return [describe_failure(count) if isinstance(count, GardenError) else count for count in counts]


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    serve_stdio(lambda channel: {"open": (counter := ConversationCounter(channel)).open, "count": counter.count})


__all__ = ["ConversationCounter", "count_conversations", "main", "open_encoder"]

if __name__ == "__main__":
    main()
