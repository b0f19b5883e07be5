"""What makes a model quicker and its results no other: done once, after it is loaded and adapted."""

from typing import Any

from mg_tui.engine import attention, lora, patches

Decision = tuple[str, Any, str]


def quicken(model: Any, *, trees: bool) -> list[Decision]:
    """Change how `model` computes, not what; returns what was done, for the journal.

    Args:
        model: with its adapters, on its device.
        trees: whether it will be given masks of trees and its attention is torch's own.
    """
    done: list[Decision] = []
    if trees:
        attention.install(model)
        done.append(("tree attention", "by blocks", "pictures and branches see nothing of each other"))
    if layers := lora.fuse(model):
        done.append(("LoRA layers", f"{layers} as one function each", "plain ones in float32, without dropout"))
    if patches.as_products(model):
        done.append(("patch embedding", "matrix product", "its kernel is as large as a patch"))
    return done
