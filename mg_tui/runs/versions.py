"""The versions of Python and of the packages that a run depends on."""

import contextlib
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_VERSIONED_PACKAGES: Final = (
    "model-garden-tui",
    "torch",
    "torchvision",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "unsloth",
)


def package_versions() -> dict[str, str]:
    """Versions by package name, those installed, read from package metadata without importing anything."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONED_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
