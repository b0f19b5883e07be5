"""`python -m mg_tui.engine.answers.counting`: how many tokens conversations have, for checks that may not import torch.

    {"op": "open", ...}     as `mg_tui.engine.answers.tokens`
        -> ready {"base_model", "family", "seconds"}
    {"op": "count", "conversations": [[[role, [text or null, ...], learn], ...], ...]}
        -> counts {"counts": [[tokens, learned] or "why it cannot be counted", ...]}

A null stands for a picture, which counts as one token: what it really becomes depends on its size alone.
"""

from typing import Any, NoReturn

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.answers.channel import Channel, leave, serve
from mg_tui.engine.answers.tokens import Seer, open_encoder
from mg_tui.families.collate import ExampleEncoder

_PICTURE = ImagePart(ImageRef("", ""))


class Counter(Seer):
    """Holds the processor of one base model."""

    def count(self, values: dict[str, Any]) -> None:
        """Count conversations; replies `counts`."""
        if self._encoder is None:
            raise UsageError("no base model is open")
        found = [count(self._encoder, turns) for turns in values["conversations"]]
        self._channel.send("counts", counts=found)


def count(encoder: ExampleEncoder, turns: list[Any]) -> tuple[int, int] | str:
    """Tokens of a conversation with one for each picture, and learned tokens; or why it has none."""
    messages = tuple(
        Message(role, tuple(_PICTURE if part is None else TextPart(part) for part in parts), learn)
        for role, parts, learn in turns
    )
    try:
        ids, learned = encoder.marked_tokens(Example(0, messages))
    except GardenError as error:
        what = error.what.removeprefix("row 0: ")
        return f"{what} ({error.why})" if error.why else what
    return len(ids), sum(learned)


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    channel = Channel.on_stdio()
    counter = Counter(channel)
    serve(channel, {"open": counter.open, "count": counter.count})
    leave()


__all__ = ["Counter", "count", "main", "open_encoder"]

if __name__ == "__main__":
    main()
