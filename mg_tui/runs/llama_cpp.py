"""Where llama.cpp is: LLAMA_CPP_DIR, programs on the PATH, or what `model-garden export --setup gguf` has built."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.paths import expand_user

FOLDER_VARIABLE: Final = "LLAMA_CPP_DIR"
QUANTIZE: Final = "llama-quantize"
ASK: Final = "llama-mtmd-cli"
SERVER: Final = "llama-server"
PROGRAMS: Final = (QUANTIZE, ASK, SERVER)  # what `--setup gguf` builds
CONVERTER: Final = "convert_hf_to_gguf.py"
LORA_CONVERTER: Final = "convert_lora_to_gguf.py"
# The release of llama-cpp-python whose source package has the llama.cpp that is built.
VERSION: Final = "0.3.36"
SETUP_HINT: Final = (
    "build it once with `model-garden export --setup gguf`, or name the folder of a built llama.cpp in LLAMA_CPP_DIR"
)
_PROGRAM_FOLDERS: Final = ("build/bin", "bin", "")


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp's programs and the folder of its converter; `origin` says for messages where they are from."""

    source: Path
    quantize: Path
    ask: Path
    origin: str


def built_folder(cache: Path) -> Path:
    """Where `--setup gguf` puts what it builds."""
    return cache / "llama.cpp" / VERSION


def find_llama_cpp(cache: Path, environment: Mapping[str, str] = os.environ) -> LlamaCpp:
    """The llama.cpp to use: the folder that LLAMA_CPP_DIR names, else that on the PATH, else the one built here.

    Raises:
        UsageError: the folder named is none, or incomplete.
        EnvironmentProblem: there is none.
    """
    named = environment.get(FOLDER_VARIABLE)
    if named:
        return _in_named_folder(expand_user(named))
    built = built_folder(cache)
    on_path = {name: shutil.which(name, path=environment.get("PATH")) for name in (QUANTIZE, ASK)}
    if all(on_path.values()):
        ask = Path(str(on_path[ASK]))
        source = next(_sources_of(ask, environment, built), None)
        if source is not None:
            return LlamaCpp(source, Path(str(on_path[QUANTIZE])), ask, "the PATH")
    if (built / "bin" / ASK).is_file() and (built / CONVERTER).is_file():
        return LlamaCpp(built, built / "bin" / QUANTIZE, built / "bin" / ASK, str(built))
    raise EnvironmentProblem(
        "llama.cpp is not here",
        why=f"{FOLDER_VARIABLE} is not set, there is none on the PATH, and none was built in {built}",
        hint=SETUP_HINT,
    )


def find_llama_server(cache: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """llama-server: that of the folder that LLAMA_CPP_DIR names, else that on the PATH, else the one built here.

    Raises:
        EnvironmentProblem: there is none.
    """
    named, built = environment.get(FOLDER_VARIABLE), built_folder(cache)
    found = _program(expand_user(named), SERVER) if named else None
    if found is None and (on_path := shutil.which(SERVER, path=environment.get("PATH"))) is not None:
        found = Path(on_path)
    if found is None:
        found = _program(built, SERVER)
    if found is not None:
        return found
    here = f"the folder that {FOLDER_VARIABLE} names has none" if named else f"{FOLDER_VARIABLE} is not set"
    old = (built / "bin" / ASK).is_file()
    raise EnvironmentProblem(
        "llama-server is not here",
        why=f"{here}, there is none on the PATH, and "
        + (f"what was built in {built} is from before it was part of that" if old else f"none was built in {built}"),
        hint=("build it again" if old else "build it once")
        + f" with `model-garden export --setup gguf`, or name the folder of a llama.cpp with it in {FOLDER_VARIABLE}",
    )


def is_built(cache: Path) -> bool:
    """Whether what `--setup gguf` builds is there, whole."""
    folder = built_folder(cache)
    return (folder / "built.json").is_file() and all(_program(folder, name) is not None for name in PROGRAMS)


def _in_named_folder(folder: Path) -> LlamaCpp:
    programs = {name: _program(folder, name) for name in (QUANTIZE, ASK)}
    lacking = [name for name, path in programs.items() if path is None]
    if not (folder / CONVERTER).is_file():
        lacking.insert(0, CONVERTER)
    if lacking:
        raise UsageError(
            f"the llama.cpp that {FOLDER_VARIABLE} names is not complete",
            where=str(folder),
            why=f"it lacks {', '.join(lacking)}" if folder.is_dir() else "there is no such folder",
            hint=f"build its targets {QUANTIZE} and {ASK}, or unset {FOLDER_VARIABLE}",
        )
    return LlamaCpp(folder, _given(programs[QUANTIZE]), _given(programs[ASK]), f"{FOLDER_VARIABLE}, {folder}")


def _given(path: Path | None) -> Path:
    assert path is not None
    return path


def _program(folder: Path, name: str) -> Path | None:
    for place in _PROGRAM_FOLDERS:
        path = folder / place / name
        if path.is_file() and os.access(path, os.X_OK):
            return path.absolute()
    return None


def _sources_of(program: Path, environment: Mapping[str, str], built: Path) -> Iterator[Path]:
    """Folders with the converter that may belong to a program on the PATH."""
    converter = shutil.which(CONVERTER, path=environment.get("PATH"))
    if converter is not None:
        yield Path(converter).resolve().parent
    for folder in list(program.resolve().parents)[:3]:
        if (folder / CONVERTER).is_file():
            yield folder
    if (built / CONVERTER).is_file():
        yield built
