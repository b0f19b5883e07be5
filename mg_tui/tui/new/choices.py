"""What a form offers to choose from: known base models and datasets, and devices. Read in threads."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from mg_tui.config import Settings
from mg_tui.runs import recents
from mg_tui.runs.recents import RecentItem
from mg_tui.tui.choice import Choice

if TYPE_CHECKING:
    from mg_tui.runs.devices import Device


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


_BUSY_PERCENT: Final = 50  # of the CPU: with less to do, other programs hardly slow a run


def device_choices(home: Path) -> list[Choice]:
    """The devices of this machine, and who uses them: runs of this home, and other programs.

    Raises:
        EnvironmentProblem: the driver does not answer.
    """
    from mg_tui.runs import devices

    locks = devices.DeviceLocks(home)
    return [
        Choice(device.name, device.title, _describe_use(device, locked=not locks.is_free(device.name)))
        for device in devices.find_devices()
    ]


def _describe_use(device: "Device", *, locked: bool) -> str:
    """Who uses a device, or that nobody does."""
    from mg_tui.runs.devices import CPU

    if device.used_by:
        return f"used by {device.used_by}"
    if locked:
        return "used by a run"
    if device.name == CPU:
        import psutil

        if (busy := psutil.cpu_percent(interval=0.1)) >= _BUSY_PERCENT:
            return f"{busy:.0f}% busy with other programs"
    return "free"
