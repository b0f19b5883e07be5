"""Actions on a chart, on the screens of a run and of a comparison."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"chart": "On a chart"}


def _action(name: str, keys: tuple[str, ...], title: str, help: str, label: str = "", rank: int = 5) -> Action:
    return Action(f"chart.{name}", keys, title, help, "chart", "On a chart", label, rank)


ACTIONS: Final = (
    _action(
        "curve",
        ("m",),
        "Next curve",
        "Draw the next curve: loss, learning rate, gradient norm, memory, tokens or images a second, data wait.",
        "curve",
        6,
    ),
    _action("curve_back", ("M",), "Previous curve", "Draw the curve before."),
    _action("scale", ("y",), "Logarithmic axis", "Draw the curve on a logarithmic axis, and back."),
    _action("smoother", ("right_square_bracket",), "Smoother", "Smooth the loss over more steps."),
    _action("rougher", ("left_square_bracket",), "Less smooth", "Smooth the loss over fewer steps, down to none."),
    _action("closer", ("plus", "equals_sign"), "Zoom in", "Show half as many steps.", "zoom in", 8),
    _action("wider", ("minus",), "Zoom out", "Show twice as many steps."),
    _action("pan_left", ("less_than_sign",), "Earlier steps", "Move the zoomed chart to earlier steps."),
    _action("pan_right", ("greater_than_sign",), "Later steps", "Move it to later ones; at the end it follows."),
    _action("whole", ("0",), "All steps", "Show every step again."),
)
