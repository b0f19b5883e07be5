"""An environment for each peer, made by uv."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from peers.base import Peer

import mg_tui

MARKER_FILE = "made-for-benchmarks.json"
REPORTED_PACKAGES = ("torch", "transformers", "peft", "accelerate")


class InstallFailed(Exception):
    """A peer cannot be installed here; says why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a peer is installed: its folder of programs, and the versions it runs on."""

    programs: Path
    versions: dict[str, str]


def current_environment() -> Environment:
    """The one this process runs in."""
    programs = Path(sys.executable).parent
    _compile_bytecode(programs, str(Path(mg_tui.__file__).parent))
    return _inspect(programs, ("model-garden-tui",))


def make_environment(peer: Peer, folder: Path) -> Environment:
    """Install a peer into a folder of its own, unless it is there as asked for.

    Raises:
        InstallFailed: uv is not there, or cannot do it.
    """
    place = folder / peer.key.removesuffix("-cpu")
    options = json.dumps({"requirements": peer.requirements, "removed": peer.removed})
    mark = place / MARKER_FILE
    if not mark.exists() or mark.read_text() != options:
        folder.mkdir(parents=True, exist_ok=True)
        python = str(place / "bin" / "python")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        _run_uv("venv", "--clear", "--python", version, str(place), cwd=folder)
        _run_uv("pip", "install", "--python", python, *peer.requirements, cwd=folder)
        if peer.removed:
            _run_uv("pip", "uninstall", "--python", python, *peer.removed, cwd=folder)
        _compile_bytecode(place / "bin")
        mark.write_text(options)
    names = tuple(requirement.split("==")[0] for requirement in peer.requirements if "==" in requirement)
    return _inspect(place / "bin", names)


def _compile_bytecode(programs: Path, *more: str) -> None:
    """Have Python's bytecode ready, as pip leaves it and uv does not: else it is the first start that is measured."""
    code = "import compileall, sys, sysconfig; [compileall.compile_dir(p, quiet=2, workers=0) for p in sys.argv[1:]]"
    code += "; compileall.compile_dir(sysconfig.get_path('purelib'), quiet=2, workers=0)"
    subprocess.run([str(programs / "python"), "-c", code, *more], capture_output=True, check=False)


def _inspect(programs: Path, names: tuple[str, ...]) -> Environment:
    code = (
        "import importlib.metadata as m, json, sys\n"
        "found = {'python': sys.version.split()[0]}\n"
        "for name in sys.argv[1:]:\n"
        "    try: found[name] = m.version(name)\n"
        "    except m.PackageNotFoundError: pass\n"
        "print(json.dumps(found))"
    )
    expected = dict.fromkeys((*names, *REPORTED_PACKAGES))
    answer = subprocess.run(
        [str(programs / "python"), "-c", code, *expected], capture_output=True, text=True, check=True
    )
    return Environment(programs, json.loads(answer.stdout))


def _run_uv(*arguments: str, cwd: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise InstallFailed("uv is not found")
    # Without this project's constraints, which are not the peers'.
    done = subprocess.run([uv, "--no-config", "--quiet", *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise InstallFailed((done.stderr.strip().splitlines() or ["uv failed"])[-1])
