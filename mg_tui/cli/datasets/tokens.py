"""Rows token by token for `datasets show --tokens`; `mg_tui.engine.inference.inspect_tokens` tokenizes them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mg_tui.core.spec import TrainingSpec

if TYPE_CHECKING:
    from mg_tui.data.row_loader import LoadedRow
    from mg_tui.runs.engine_process import EngineProcess


def format_tokens(row: dict[str, Any]) -> Iterator[Any]:
    """Lines of rich text for a reply of `inspect_row`; supervised text stands between ⟦ and ⟧."""
    from rich.text import Text

    from mg_tui.core.text import printable

    if "refused" in row:
        yield Text(f"  ✗ {printable(row['refused'])}", style="red")
        return
    text, inside = Text(), False
    for piece, supervised in row["pieces"]:
        if supervised != inside:
            text.append("⟦" if supervised else "⟧", style="bold green")
            inside = supervised
        if isinstance(piece, int):
            text.append(_format_image(row["images"][piece], piece), style="magenta")
        else:
            text.append(printable(piece), style="green" if supervised else "dim")
    if inside:
        text.append("⟧", style="bold green")
    yield from text.split("\n")
    images = f", {row['image_tokens']:,} of them image tokens" if row["image_tokens"] else ""
    yield Text(f"  {row['tokens']:,} tokens{images}; {row['learned']:,} supervised", style="bold")


def _format_image(image: dict[str, Any], index: int) -> str:
    size, at = image["size"], image.get("seen_at")
    resized = f" resized to {at[0]} x {at[1]}" if at else ""
    tokens = f": {image['tokens']:,} tokens" if image["tokens"] is not None else ""
    return f"[image {index + 1}, {size[0]} x {size[1]}{resized}{tokens}]"


def open_token_inspector(spec: TrainingSpec) -> "EngineProcess":
    """Start a process that holds the tokenizer and processor of the spec's base model.

    Raises:
        FamilyError: no family for the base model.
        EnvironmentProblem: the hub cannot be reached.
    """
    from mg_tui.cli.progress import spinner
    from mg_tui.runs.engine_process import EngineProcess

    child = EngineProcess("mg_tui.engine.inference.inspect_tokens")
    fields = ("base_model", "revision", "min_pixels", "max_pixels", "system_prompt", "train_on_prompt", "family")
    try:
        with spinner(f"loading the tokenizer of {spec.base_model}") as notify:
            for event in child.stream("open", **{name: getattr(spec, name) for name in fields}):
                if event["event"] == "notice":
                    notify(str(event["text"]))
    except BaseException:
        child.close(0.1)
        raise
    return child


def inspect_row(inspector: "EngineProcess", row: "LoadedRow") -> dict[str, Any]:
    """Tokenize a row; returns the reply of the process, or `{"refused": reason}`."""
    from mg_tui.core.errors import DataError
    from mg_tui.core.example import TextPart

    if row.example is None:
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
        for message in row.example.messages
    ]
    try:
        *_progress, reply = inspector.stream("row", row=row.number, messages=messages)
    except DataError as error:
        return {"refused": error.what + (f" ({error.why})" if error.why else "")}
    return {name: reply[name] for name in ("tokens", "learned", "image_tokens", "images", "pieces")}
