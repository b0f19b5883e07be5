"""Actions on a chart, on the screens of a run and of a comparison."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"chart": "Charts"}


def _action(name: str, keys: tuple[str, ...], title: str, help: str, label: str = "", rank: int = 5) -> Action:
    return Action(f"chart.{name}", keys, title, help, "chart", "Charts", label, rank)


ACTIONS: Final = (
    _action(
        "curve",
        ("m",),
        "Next curve",
        "Plot the next metric: loss, learning rate, gradient norm, memory, tokens/s, images/s, data wait, scores.",
        "curve",
        6,
    ),
    _action("curve_back", ("M",), "Previous curve", "Plot the previous metric."),
    _action(
        "pick",
        ("P",),
        "Choose a curve",
        "Choose a curve from a list: every number that a run writes into its journal.",
        "choose curve",
        8,
    ),
    _action("grid", ("number_sign",), "Grid of charts", "Toggle several charts side by side.", "grid", 7),
    _action("scale", ("y",), "Logarithmic axis", "Toggle the logarithmic axis of values."),
    _action("smoother", ("right_square_bracket",), "More smoothing", "Smooth the loss over more steps."),
    _action("rougher", ("left_square_bracket",), "Less smoothing", "Smooth the loss over fewer steps, down to none."),
    _action("closer", ("plus", "equals_sign"), "Zoom in", "Show half as many steps.", "zoom in", 8),
    _action("wider", ("minus",), "Zoom out", "Show twice as many steps."),
    _action("pan_left", ("less_than_sign",), "Earlier steps", "Move to earlier steps."),
    _action(
        "pan_right",
        ("greater_than_sign",),
        "Later steps",
        "Move to later steps; at the end it follows.",
    ),
    _action("whole", ("0",), "All steps", "Show every step again."),
)
