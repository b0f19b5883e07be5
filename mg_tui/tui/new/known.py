"""What a form can offer to choose from: base models and datasets known here, and devices. Read in threads."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mg_tui.tui.screens.choose import Choice


def known_names(known: str, home: Path) -> list[tuple[str, float]]:
    """Names to pick from, the newest first, each with the Unix time it was used, 0 where that is not known.

    Of models those that plugins list come after those that were used.
    """
    from mg_tui.tui import recents

    found = [(item.given, item.when) for item in recents.read(home, "models" if known == "models" else "datasets")]
    if known == "models":
        from mg_tui.families.registry import load_registry

        used = {name for name, _when in found}
        listed = sorted(load_registry().checkpoints, key=lambda one: one.path is None)  # those that are here first
        found += [(one.name, 0.0) for one in listed if one.name not in used]
    return found


def device_choices() -> "list[Choice]":
    """The devices of this machine, and who uses them.

    Raises:
        EnvironmentProblem: the driver does not answer.
    """
    from mg_tui.runs import devices
    from mg_tui.tui.screens.choose import Choice

    return [
        Choice(device.name, device.title, f"used by {device.used_by}" if device.used_by else "free")
        for device in devices.found()
    ]
