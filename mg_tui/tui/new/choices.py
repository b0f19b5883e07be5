"""What a form offers to choose from: known base models and datasets, and devices. Read in threads."""

from mg_tui.config import Settings
from mg_tui.runs import recents
from mg_tui.runs.recents import RecentItem
from mg_tui.tui.choice import Choice


def known_names(known: str, settings: Settings) -> list[RecentItem]:
    """Names of "models" or "datasets": recent ones, newest first, then those of plugins and garden.toml."""
    items = recents.read(settings.home, "models" if known == "models" else "datasets")
    used = {item.reference for item in items}
    if known == "models":
        from mg_tui.families.registry import load_registry

        local_first = sorted(load_registry().checkpoints, key=lambda checkpoint: checkpoint.path is None)
        names = [checkpoint.name for checkpoint in local_first]
    else:
        names = list(settings.datasets)
    return [*items, *(RecentItem(name, 0.0) for name in names if name not in used)]


def device_choices() -> list[Choice]:
    """The devices of this machine, and who uses them.

    Raises:
        EnvironmentProblem: the driver does not answer.
    """
    from mg_tui.runs import devices

    return [
        Choice(device.name, device.title, f"used by {device.used_by}" if device.used_by else "free")
        for device in devices.find_devices()
    ]
