"""Model Garden: fine-tune vision-language models from a terminal, on your own GPU box.

The rooms, lowest first: `core` (nouns), `config`, then `families`, `data`, `runs`, `hardware`, then `engine` (the
training process, started and never imported by the faces), then the faces `cli`, `tui` and `api`.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("model-garden-tui")
except PackageNotFoundError:  # a source tree on sys.path without an installed distribution
    __version__ = "0+unknown"
