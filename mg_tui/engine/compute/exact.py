"""What makes a model quicker and its results no other: done once, after it is loaded and adapted."""

from collections.abc import Callable
from typing import Any

from mg_tui.engine.compute import attention, flex, gated, lora, patches

Decision = tuple[str, Any, str]


def quicken(
    model: Any, *, trees: bool, asked: str = "auto", warn: Callable[[str, str], None] | None = None
) -> list[Decision]:
    """Change how `model` computes, not what; returns what was done, for the journal.

    Args:
        model: with its adapters, on its device.
        trees: whether it will be given masks of trees and its attention is torch's own.
        asked: the option `attention`: `auto` takes flex attention where it suits, `flex` wherever it runs.
        warn: told (what, why) if flex attention should be used and does not work here.
    """
    done: list[Decision] = []
    if trees:
        done.append(_tree_attention(model, asked, warn))
    if layers := lora.fuse(model):
        done.append(("LoRA layers", f"{layers} as one function each", "plain ones in float32, without dropout"))
    if blocks := gated.fuse(model):
        done.append(("gated blocks", f"{blocks} as one function each", "one tensor in four less to keep for backward"))
    if patches.as_products(model):
        done.append(("patch embedding", "matrix product", "its kernel is as large as a patch"))
    return done


def _tree_attention(model: Any, asked: str, warn: Callable[[str, str], None] | None) -> Decision:
    why_not = {"auto": flex.why_not(model), "flex": None}.get(asked, f"{asked} was asked for")
    if why_not is None:
        why_not = flex.trial(model)
        if why_not is None:
            flex.install(model)
            why = "asked for" if asked == "flex" else "one kernel, which skips what is not seen; its trial went well"
            return "tree attention", "flex", why
        if warn is not None:
            warn("flex attention does not work here: packed layouts have their attention by blocks", why_not)
    attention.install(model)
    return "tree attention", "by blocks", f"pictures and branches see nothing of each other; {why_not}"
