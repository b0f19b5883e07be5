"""Rows token by token, as `datasets show --tokens` prints them: asked of `mg_tui.engine.inference.inspect_tokens`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.row_loader import LoadedRow
    from mg_tui.runs.engine_process import EngineProcess


def format_tokens(seen: dict[str, Any]) -> Iterator[Any]:
    """What the model sees of a row as lines of rich text; learned text stands between ⟦ and ⟧."""
    from rich.text import Text

    from mg_tui.core.text import printable

    if "refused" in seen:
        yield Text(f"  ✗ {printable(seen['refused'])}", style="red")
        return
    text, learning = Text(), False
    for piece, learned in seen["pieces"]:
        if learned != learning:
            text.append("⟦" if learned else "⟧", style="bold green")
            learning = learned
        if isinstance(piece, int):
            text.append(_format_image(seen["images"][piece], piece), style="magenta")
        else:
            text.append(printable(piece), style="green" if learned else "dim")
    if learning:
        text.append("⟧", style="bold green")
    yield from text.split("\n")
    images = f", {seen['image_tokens']:,} of them image tokens" if seen["image_tokens"] else ""
    yield Text(f"  {seen['tokens']:,} tokens{images}; {seen['learned']:,} supervised", style="bold")


def _format_image(image: dict[str, Any], index: int) -> str:
    size, at = image["size"], image.get("seen_at")
    resized = f" resized to {at[0]} x {at[1]}" if at else ""
    tokens = f": {image['tokens']:,} tokens" if image["tokens"] is not None else ""
    return f"[image {index + 1}, {size[0]} x {size[1]}{resized}{tokens}]"


def open_token_inspector(spec: TrainingSpec) -> "EngineProcess":
    """A process that has the tokenizer of the spec's base model.

    Raises:
        FamilyError: no family for the base model.
        EnvironmentProblem: it is on a hub that cannot be reached.
    """
    from mg_tui.cli.spinner import spinner
    from mg_tui.runs.engine_process import EngineProcess

    child = EngineProcess("mg_tui.engine.inference.inspect_tokens")
    asked = ("base_model", "revision", "min_pixels", "max_pixels", "system_prompt", "train_on_prompt")
    try:
        with spinner(f"loading the tokenizer of {spec.base_model}") as say:
            for event in child.stream("open", **{name: getattr(spec, name) for name in asked}):
                if event["event"] == "notice":
                    say(str(event["text"]))
    except BaseException:
        child.close(0.1)
        raise
    return child


def inspect_row(seer: "EngineProcess", judged: "LoadedRow") -> dict[str, Any]:
    """The row token by token, or why it cannot be."""
    from mg_tui.core.errors import DataError
    from mg_tui.core.example import TextPart

    if judged.example is None:
        return {"refused": "rows with errors cannot be tokenized"}
    messages = [
        {
            "role": message.role,
            "learn": message.supervised,
            "parts": [
                {"text": part.text} if isinstance(part, TextPart) else {"image": part.image.path}
                for part in message.parts
            ],
        }
        for message in judged.example.messages
    ]
    try:
        *_passing, reply = seer.stream("row", row=judged.number, messages=messages)
    except DataError as error:
        return {"refused": error.what + (f" ({error.why})" if error.why else "")}
    return {name: reply[name] for name in ("tokens", "learned", "image_tokens", "images", "pieces")}
