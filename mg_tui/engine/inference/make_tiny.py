"""`python -m mg_tui.engine.inference.make_tiny`: random checkpoints of a family, for front ends, which have no torch.

    {"op": "make", "family": "gemma3", "folder": "..."}
        -> made {"folder", "parameters"}

What is there already stays; a folder is there when it is whole.
"""

import math
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

from mg_tui.engine.inference.channel import Channel, serve_stdio
from mg_tui.engine.inference.generate import silence_libraries
from mg_tui.families.registry import load_registry
from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint


class TinyMaker:
    """Makes checkpoints, without state between them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def make(self, values: dict[str, Any]) -> None:
        """Write a checkpoint into a folder unless it is there; replies `made`.

        Raises:
            FamilyError: there is no such family, or it has no recipe.
        """
        folder = Path(values["folder"])
        if not folder.is_dir():
            silence_libraries()
            family = load_registry().by_key(str(values["family"]))
            work = folder.with_name(f".{folder.name}.{os.getpid()}")
            shutil.rmtree(work, ignore_errors=True)
            make_tiny_checkpoint(family, work)
            try:
                work.rename(folder)
            except OSError:  # another process was quicker: its checkpoint is the same one
                shutil.rmtree(work)
        self._channel.send("made", folder=str(folder), parameters=count_parameters(folder))


def count_parameters(folder: Path) -> int:
    """Numbers in the safetensors files of a folder, by their headers."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="np") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    serve_stdio(lambda channel: {"make": TinyMaker(channel).make})


if __name__ == "__main__":
    main()
