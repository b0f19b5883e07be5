"""The installed torch, read from its files: importing it takes seconds."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ASSIGNMENT: Final = re.compile(r"^(?P<name>__version__|cuda|hip)\b[^=\n]*=\s*['\"](?P<value>[^'\"]+)['\"]", re.M)


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """A build of torch: its version, and the CUDA version (major, minor) it was built for, None without CUDA.

    `problem`: why its files say nothing; the rest is then unknown.
    """

    version: str
    cuda: tuple[int, int] | None = None
    rocm: str | None = None
    problem: str | None = None


def find_torch_build() -> TorchBuild | None:
    """The torch of this environment; None when there is none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return read_torch_build(Path(spec.origin).parent / "version.py")


def read_torch_build(file: Path) -> TorchBuild:
    """The build that a `torch/version.py` describes."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        return TorchBuild("of unknown version", problem=f"{file}: {error.strerror}")
    values = {match["name"]: match["value"] for match in _ASSIGNMENT.finditer(text)}
    version = values.get("__version__")
    if version is None:
        return TorchBuild("of unknown version", problem=f"{file} has no version")
    digits = re.match(r"(\d+)\.(\d+)", values.get("cuda", ""))
    return TorchBuild(version, (int(digits[1]), int(digits[2])) if digits else None, values.get("hip"))
