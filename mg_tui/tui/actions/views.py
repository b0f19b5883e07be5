"""Actions of the comparison of runs, of the devices, and of an image."""

from typing import Final

from mg_tui.tui.actions.action import Action

HEADINGS: Final = {"compare": "Comparing", "devices": "Devices", "image": "Image"}

ACTIONS: Final = (
    Action("compare.same", ("a",), "Every option", "Also show options with equal values.", "compare", "Comparing"),
    Action("compare.back", ("escape",), "Back", "Go back to the list of runs.", "compare", "Comparing", "back", 1),
    Action("devices.metric", ("m",), "Next metric", "Chart the next metric by device.", "devices", "Devices", "metric"),
    Action("devices.metric_back", ("M",), "Previous metric", "Chart the previous metric.", "devices", "Devices"),
    Action("devices.back", ("escape",), "Back", "Go back.", "devices", "Devices", "back", 1, in_palette=False),
    Action(
        "image.after",
        ("full_stop", "right"),
        "Next image",
        "Show the next image.",
        "image",
        "Image",
        "next",
    ),
    Action(
        "image.before", ("comma", "left"), "Previous image", "Show the one before it.", "image", "Image", "previous"
    ),
    Action("image.back", ("escape", "i"), "Back", "Go back.", "image", "Image", "back", 1, in_palette=False),
)
