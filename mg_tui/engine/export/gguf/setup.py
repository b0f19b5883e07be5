"""`python -m mg_tui.engine.export.gguf.setup`: builds llama.cpp's programs once, into the cache.

    {"op": "setup", "cache": "..."}  -> notice, progress {"what", "done", "total"}, ..., ready {"folder", "seconds"}

llama.cpp comes with the source package of llama-cpp-python, which the package registry has with a known checksum. The
build goes on in a hidden folder beside its place: an interrupted one is continued by the next, and a folder that is at
its place is complete.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.core.files import fsync_folder
from mg_tui.engine.export.gguf.programs import run_program
from mg_tui.engine.inference.channel import Channel, exit_process, serve
from mg_tui.engine.inference.generate import ChannelRequest, parse_request
from mg_tui.runs.llama_cpp import (
    CONVERTER,
    FOLDER_VARIABLE,
    LORA_CONVERTER,
    PROGRAMS,
    VERSION,
    built_folder,
    is_built,
)

SDIST_SHA256: Final = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_PACKAGE: Final = "llama-cpp-python"
# For machines without them; released together with the source above.
_BUILD_TOOLS: Final = {"cmake": "4.4.4", "ninja": "1.13.2"}
_NEEDED_BYTES: Final = 2 << 30  # source, objects and programs
_COMPILE_JOB_BYTES: Final = 1 << 30  # memory that one compiler may take
_KEPT: Final = (CONVERTER, LORA_CONVERTER, "conversion", "gguf-py", "LICENSE")
_OPTIONS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=ON",
    # The server's web page: it would be downloaded from the Hub while the server is compiled, and nobody is shown it.
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DGGML_CCACHE=OFF",
)
_STEP: Final = re.compile(r"^\[(\d+)/(\d+)\]")
_NETWORK_HINT: Final = (
    f"check the network and the package index; without one, build llama.cpp elsewhere and name its folder in "
    f"{FOLDER_VARIABLE}"
)


class SetupRequest(ChannelRequest):
    """Where the build goes."""

    cache: Path


class LlamaCppBuilder:
    """Builds llama.cpp, once."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def setup(self, values: dict[str, Any]) -> None:
        """Download, configure, compile, check, publish; replies `ready` with the folder."""
        request = parse_request(SetupRequest, values)
        target = built_folder(request.cache)
        began = time.monotonic()
        with _only_builder(target):
            built = not is_built(request.cache)
            if built:
                self._build(target, began)
        record = json.loads((target / "built.json").read_text(encoding="utf-8"))
        self._channel.send("ready", folder=str(target), built=built, **record)

    def _at(self, what: str) -> None:
        self._channel.send_notice(what)

    def _build(self, target: Path, began: float) -> None:
        work = target.parent / f".{target.name}.part"
        work.mkdir(parents=True, exist_ok=True)
        _require_tools_and_room(work)
        log = work / "setup.log"
        source = self._unpack(self._download(work, log), work)
        environment = _build_environment(work, log, self._at)
        jobs = _job_count()
        self._at(f"compiling with {jobs} jobs: about {max(1, round(16 / jobs))} minutes")
        cmake, build = str(shutil.which("cmake", path=environment["PATH"])), work / "build"
        run_program(
            [cmake, "-S", source, "-B", build, "-G", "Ninja", *_OPTIONS],
            "llama.cpp could not be configured",
            log=log,
            environment=environment,
        )
        run_program(
            [cmake, "--build", build, "--target", *PROGRAMS, "-j", str(jobs)],
            "llama.cpp could not be compiled",
            log=log,
            environment=environment,
            on_line=self._report_step,
            hint="the log has everything the compiler said; run the command again to continue",
        )
        for name in PROGRAMS:
            # llama-quantize exits with 1 after its help.
            command: list[str | Path] = [build / "bin" / name, "--help"]
            run_program(command, f"{name} was compiled and does not start", log=log, accepted=(0, 1))
        self._publish(work, source, target, {"version": VERSION, "seconds": round(time.monotonic() - began, 1)})

    def _report_step(self, line: str) -> None:
        if found := _STEP.match(line):
            self._channel.send("progress", what="compiling", done=int(found[1]), total=int(found[2]))

    def _download(self, work: Path, log: Path) -> Path:
        """The source package, by pip: it knows the user's index, proxy and credentials."""
        found = next(work.glob("llama_cpp_python-*.tar.gz"), None)
        if found is None or _sha256(found) != SDIST_SHA256:
            self._at(f"downloading {_PACKAGE} {VERSION}, which has the source of llama.cpp")
            requirement = work / "requirements.txt"
            requirement.write_text(f"{_PACKAGE}=={VERSION} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
            options: list[str | Path] = [
                "--no-deps",
                "--no-binary",
                _PACKAGE,
                "--require-hashes",
                "--dest",
                work,
                "-r",
                requirement,
            ]
            run_program(
                [*_pip(), "download", "--disable-pip-version-check", "--progress-bar", "off", *options],
                "the source of llama.cpp could not be downloaded",
                log=log,
                hint=_NETWORK_HINT,
            )
            found = next(work.glob("llama_cpp_python-*.tar.gz"), None)
        if found is None or _sha256(found) != SDIST_SHA256:
            raise RunFailed("the source of llama.cpp is not the expected one", where=str(work), hint=_NETWORK_HINT)
        return found

    def _unpack(self, package: Path, work: Path) -> Path:
        """llama.cpp's folder; unpacked beside its place and renamed."""
        source = work / "source"
        if not source.is_dir():
            self._at("unpacking")
            unpacked = work / "unpacking"
            shutil.rmtree(unpacked, ignore_errors=True)
            with tarfile.open(package) as archive:
                archive.extractall(unpacked, filter="data")
            inner = next(unpacked.glob("*/vendor/llama.cpp"), None)
            if inner is None:
                raise RunFailed("the source package has no llama.cpp", where=str(package))
            inner.rename(source)
            shutil.rmtree(unpacked)
        return source

    def _publish(self, work: Path, source: Path, target: Path, record: dict[str, Any]) -> None:
        """The programs and the converter at their place; objects and the rest of the source are removed."""
        ready = work / "ready"
        shutil.rmtree(ready, ignore_errors=True)
        (ready / "bin").mkdir(parents=True)
        for name in PROGRAMS:
            shutil.copy2(work / "build" / "bin" / name, ready / "bin" / name)
        for name in _KEPT:
            path = source / name
            if path.is_dir():
                shutil.copytree(path, ready / name)
            elif path.is_file():
                shutil.copyfile(path, ready / name)
        (ready / "built.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        ready.rename(target)
        fsync_folder(target.parent)
        shutil.rmtree(work, ignore_errors=True)


def _require_tools_and_room(work: Path) -> None:
    """Raises EnvironmentProblem when there is no compiler, or no room."""
    compilers = [os.environ.get("CXX") or "c++", "g++", "clang++"]
    if not any(shutil.which(name.split()[0]) for name in compilers):
        raise EnvironmentProblem(
            "there is no C++ compiler",
            why=f"none of {', '.join(compilers)} is on the PATH",
            hint=f"install one (`apt install build-essential`), or name a built llama.cpp in {FOLDER_VARIABLE}",
        )
    free = shutil.disk_usage(work).free
    if free < _NEEDED_BYTES:
        raise EnvironmentProblem(
            "there is no room to build llama.cpp",
            where=str(work),
            why=f"it takes {_NEEDED_BYTES / 1e9:.1f} GB while it is built and {free / 1e9:.1f} GB are free",
            hint="free space, or choose another cache folder with MODEL_GARDEN_CACHE",
        )


def _build_environment(work: Path, log: Path, say: Any) -> dict[str, str]:
    """Variables for cmake; what is missing of cmake and ninja is installed into the work folder."""
    places = [
        work / "tools" / "cmake" / "data" / "bin",
        work / "tools" / "ninja" / "data" / "bin",
        work / "tools" / "bin",
    ]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, places)])
    missing = [f"{name}=={version}" for name, version in _BUILD_TOOLS.items() if shutil.which(name, path=path) is None]
    if missing:
        say(f"installing {' and '.join(missing)} beside the build")
        run_program(
            [*_pip(), "install", "--disable-pip-version-check", "--no-deps", "--target", work / "tools", *missing],
            "the tools for building could not be installed",
            log=log,
            hint="install cmake and ninja, or check the network",
        )
    return {"PATH": path, "PYTHONPATH": "", "CMAKE_BUILD_PARALLEL_LEVEL": ""}


def _pip() -> list[str]:
    """The words of a pip that runs: this environment's, or that of uv, or the one on the PATH."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for words in (["uvx", "pip"], ["uv", "tool", "run", "pip"], ["pip"], ["pip3"]):
        if shutil.which(words[0]):
            return words
    raise EnvironmentProblem(
        "there is no pip to download with", why="neither pip nor uv is installed", hint=_NETWORK_HINT
    )


def _job_count() -> int:
    """As many compilers as cores, but no more than fit into memory."""
    import psutil

    fitting = int(psutil.virtual_memory().available // _COMPILE_JOB_BYTES)
    return max(1, min(len(os.sched_getaffinity(0)), fitting))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _only_builder(target: Path) -> Iterator[None]:
    """One build at a time; another waits, and finds it done."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    channel = Channel.from_stdio()
    serve(channel, {"setup": LlamaCppBuilder(channel).setup})
    exit_process()


if __name__ == "__main__":
    main()
