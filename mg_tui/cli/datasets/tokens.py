"""Rows token by token for `datasets show --tokens`, as lines for a terminal."""

from collections.abc import Iterator
from typing import Any


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
