"""Model Garden: fine-tune vision-language models from a terminal, on your own GPU box.

The rooms, lowest first: `core` (nouns), `config`, then `families`, `data`, `runs`, `hardware`, then `engine` (the
training process, started and never imported by the faces), then the faces `cli`, `tui` and `api`.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`__version__`, looked up when asked for: reading package metadata takes a third of the time of `--help`."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("model-garden-tui")
    except PackageNotFoundError:  # a source tree on sys.path without an installed distribution
        return "0+unknown"
