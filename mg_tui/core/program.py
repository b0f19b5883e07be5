"""How this program is called where it runs, so that a printed command can be pasted back.

Messages name commands as `model-garden …`. That works where the program's folder is on the PATH; from a clone that is
used with `uv run`, or with the path of the program, it does not.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

NAME: Final = "model-garden"
_SERVER_COMMAND: Final = re.compile(r"(?<![\w./-])model-garden (runs|train-vision|datasets)\b")
# Not a package (`model-garden-tui`), a URL or a path, and not called by something else already.
_COMMAND: Final = re.compile(r"(?<![\w./-])(?<!uv run )model-garden(?= [-a-z…])")
_server_option = ""


def runnable(text: str) -> str:
    """`text` with the commands in it as they work in this working directory."""
    if NAME not in text:
        return text
    name = program()
    if _server_option:
        text = _SERVER_COMMAND.sub(lambda match: f"{NAME} {_server_option} {match[1]}", text)
    return text if name == NAME else _COMMAND.sub(lambda _match: name, text)


def set_server(url: str | None) -> None:
    """Commands on runs and datasets, in messages of this process, are for the server at `url`."""
    global _server_option
    _server_option = "" if url is None else f"--server {shlex.quote(url)}"


def program(environ: Mapping[str, str] | None = None) -> str:
    """What runs this program in the user's shell: `model-garden`, `uv run model-garden`, or its path."""
    environ = os.environ if environ is None else environ
    # `uv run` puts the environment's folder on the PATH of what it starts, not of the shell it was typed in.
    return _program(environ.get("PATH", ""), "UV_RUN_RECURSION_DEPTH" in environ, str(Path.cwd()), sys.prefix)


@lru_cache(maxsize=16)
def _program(path: str, in_uv_run: bool, cwd: str, prefix: str) -> str:
    own = Path(prefix) / "bin" / NAME
    if in_uv_run:
        project = Path(prefix).parent
        return f"uv run {NAME}" if Path(cwd).is_relative_to(project) else f"uv run --project {_quote(project)} {NAME}"
    found = shutil.which(NAME, path=path)
    if found is not None or not own.exists():
        return NAME
    return _quote(own.relative_to(cwd) if own.is_relative_to(cwd) else own)


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
