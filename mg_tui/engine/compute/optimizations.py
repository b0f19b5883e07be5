"""Optimizations that keep a model's results: applied once, after it is loaded and adapted."""

from collections.abc import Callable
from typing import Any

from mg_tui.engine.compute import attention, flex_attention, fused_lora, patch_embedding, swiglu

DecisionFields = tuple[str, Any, str]  # what was chosen, the value, why: a `decision` event of the journal


def apply_optimizations(
    model: Any,
    *,
    trees: bool,
    requested: str = "auto",
    warn: Callable[[str, str], None] | None = None,
    causal: bool = True,
) -> list[DecisionFields]:
    """Apply all that suit `model`; returns the decisions, for the journal.

    Args:
        model: with its adapters, on its device.
        trees: whether it gets masks of trees and uses torch's own attention.
        requested: the option `attention`: `auto` uses flex attention where it suits, `flex` wherever it runs.
        warn: called with (what, why) if flex attention should be used and does not work.
        causal: its attention is causal, without windows; other masks have no kernel of their own.
    """
    done: list[DecisionFields] = []
    if trees:
        done.append(_install_tree_attention(model, requested, warn, causal=causal))
    if layers := fused_lora.fuse(model):
        done.append(("LoRA layers", f"{layers} as one function each", "plain layers in float32, without dropout"))
    unchanged: list[str] = []
    if blocks := swiglu.fuse(model, unchanged.append):
        done.append(("gated blocks", f"{blocks} as one function each", "one in four tensors less saved for backward"))
    done += [("gated blocks", "left unchanged", f"their trial failed: {error}") for error in unchanged]
    if patch_embedding.use_matrix_products(model):
        done.append(("patch embedding", "matrix product", "its kernel is as large as a patch"))
    return done


def _install_tree_attention(
    model: Any, requested: str, warn: Callable[[str, str], None] | None, *, causal: bool
) -> DecisionFields:
    if not causal:
        attention.install(model)
        why = "windows and images whose tokens see each other are in the blocks' masks"
        return "tree attention", "by blocks", f"images and branches do not attend to each other; {why}"
    why_not = {"auto": flex_attention.unsuitable_reason(model), "flex": None}.get(
        requested, f"{requested} was requested"
    )
    if why_not is None:
        why_not = flex_attention.try_attention(model)
        if why_not is None:
            flex_attention.install(model)
            why = "requested" if requested == "flex" else "one kernel that skips masked blocks; its trial succeeded"
            return "tree attention", "flex", why
        if warn is not None:
            warn("flex attention does not work: packed layouts use attention by blocks", why_not)
    attention.install(model)
    return "tree attention", "by blocks", f"images and branches do not attend to each other; {why_not}"
