"""What a form can offer to choose from: base models and datasets known here, and devices. Read in threads."""

from typing import TYPE_CHECKING

from mg_tui.config import Settings

if TYPE_CHECKING:
    from mg_tui.tui.screens.choose import Choice


def known_names(known: str, settings: Settings) -> list[tuple[str, float]]:
    """Names to pick from, the newest first, each with the Unix time it was used, 0 where that is not known.

    After those that were used come the models that plugins list, and the datasets that garden.toml names.
    """
    from mg_tui.tui import recents

    found = [
        (item.reference, item.opened_at)
        for item in recents.read(settings.home, "models" if known == "models" else "datasets")
    ]
    used = {name for name, _when in found}
    if known == "models":
        from mg_tui.families.registry import load_registry

        listed = sorted(load_registry().checkpoints, key=lambda one: one.path is None)  # those that are here first
        found += [(one.name, 0.0) for one in listed if one.name not in used]
    else:
        found += [(name, 0.0) for name in settings.datasets if name not in used]
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
        for device in devices.find_devices()
    ]
