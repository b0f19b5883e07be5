"""What a run may read and use when somebody started it over the network: written once into its folder, and never wider.

Whoever starts the run's process later, an owner at a terminal included, starts it within these bounds.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.files import write_atomic

BOUNDS_FILE: Final = "bounds.json"

# The owner's credentials, and where libraries look for them.
_TOKEN_VARIABLES: Final = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACEHUB_API_TOKEN",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MODEL_GARDEN_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
_ALLOW_PRIVATE_URLS: Final = "MODEL_GARDEN_ALLOW_PRIVATE_URLS"
_NO_FILE: Final = "/dev/null/none"  # a path that cannot exist


@dataclass(frozen=True, slots=True)
class CallerBounds:
    """Bounds of a run.

    Attributes:
        roots: folders it may read data from.
        private: folders and files inside these that it may not.
        own_tokens: whether the owner's Hugging Face and Weights & Biases tokens may be used.
    """

    roots: tuple[str, ...]
    private: tuple[str, ...] = ()
    own_tokens: bool = False


def write_caller_bounds(folder: Path, bounds: CallerBounds) -> None:
    """Write the bounds into a new run's folder.

    Raises:
        OSError: they cannot be written.
    """
    record = {"roots": bounds.roots, "private": bounds.private, "own_tokens": bounds.own_tokens}
    write_atomic(folder / BOUNDS_FILE, (json.dumps(record) + "\n").encode())


def read_caller_bounds(folder: Path) -> CallerBounds | None:
    """The bounds of a run; None for a run of this user's own.

    Raises:
        EnvironmentProblem: they cannot be read: the run may not be started then.
    """
    path = folder / BOUNDS_FILE
    try:
        record = json.loads(path.read_bytes())
        roots, private = tuple(map(str, record["roots"])), tuple(map(str, record["private"]))
        return CallerBounds(roots, private, record["own_tokens"] is True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EnvironmentProblem(
            "Cannot read what this run may read.", where=str(path), why=getattr(error, "strerror", None) or "damaged"
        ) from error


def hide_tokens(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the owner's tokens, and in which libraries find no saved ones."""
    kept = {name: value for name, value in environ.items() if name not in (*_TOKEN_VARIABLES, _ALLOW_PRIVATE_URLS)}
    return {**kept, "HF_TOKEN_PATH": _NO_FILE, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "NETRC": _NO_FILE}


def bounded_environment(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run's process.

    Raises:
        EnvironmentProblem: its bounds cannot be read.
    """
    bounds = read_caller_bounds(folder)
    return dict(environ) if bounds is None or bounds.own_tokens else hide_tokens(environ)


def hide_own_tokens() -> None:
    """Take the owner's tokens out of this process's environment, and of everything that it starts."""
    kept = hide_tokens(os.environ)
    for name in set(os.environ) - kept.keys():
        del os.environ[name]
    os.environ.update(kept)
