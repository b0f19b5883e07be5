"""Building llama.cpp with stand-ins for pip, cmake and the compiler."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, RunFailed
from mg_tui.engine.export.gguf import setup
from mg_tui.runs.llama_cpp import find_llama_cpp, find_llama_server

CMAKE = """#!/bin/sh
echo "$@" >> {calls}
if [ "$1" = --build ]; then
  echo "[1/2] Building one"
  if [ -e {fails} ]; then echo "x.cpp:1:2: error: no such header"; echo "ninja: build stopped"; exit 1; fi
  echo "[2/2] Linking two"
  mkdir -p "$2/bin"
  for name in llama-quantize llama-mtmd-cli llama-server; do
    printf '#!/bin/sh\\nexit 1\\n' > "$2/bin/$name"
    chmod +x "$2/bin/$name"
  done
else
  mkdir -p "$4"
fi
"""
PIP = """#!/bin/sh
echo "pip $@" >> {calls}
if [ ! -e {package} ]; then echo "ERROR: Could not find a version that satisfies the requirement"; exit 1; fi
while [ "$1" != --dest ]; do shift; done
cp {package} "$2"
"""


class RecordingChannel:
    """Stands in for a Channel: keeps what was said."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def send(self, event: str, **fields: Any) -> None:
        self.events.append({"event": event, **fields})

    def send_notice(self, text: str) -> None:
        self.send("notice", text=text)


def make_package(file: Path) -> None:
    """A source package with llama.cpp's converter in it."""
    with tarfile.open(file, "w:gz") as archive:
        for name in ("convert_hf_to_gguf.py", "gguf-py/gguf/__init__.py", "LICENSE", "src/llama.cpp"):
            entry = tarfile.TarInfo(f"llama_cpp_python-0.3.36/vendor/llama.cpp/{name}")
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"here"))


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    tools = tmp_path / "bin"
    tools.mkdir()
    package = tmp_path / "llama_cpp_python-0.3.36.tar.gz"
    make_package(package)
    places = {"calls": tmp_path / "calls", "fails": tmp_path / "fails", "package": package}
    for name, content in (("cmake", CMAKE), ("pip", PIP), ("ninja", "#!/bin/sh\n"), ("c++", "#!/bin/sh\n")):
        (tools / name).write_text(content.format(**places))
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(setup, "_pip", lambda: [str(tools / "pip")])
    monkeypatch.setattr(setup, "SDIST_SHA256", hashlib.sha256(package.read_bytes()).hexdigest())

    def run() -> list[dict[str, Any]]:
        channel = RecordingChannel()
        setup.LlamaCppBuilder(channel).setup({"cache": str(tmp_path / "cache")})  # type: ignore[arg-type]
        return channel.events

    return run


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_llama_cpp_is_built_once_and_found_afterwards(
    build: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    events = build()
    assert events[-1]["event"] == "ready" and events[-1]["built"] and events[-1]["version"] == "0.3.36"
    assert [(each["done"], each["total"]) for each in events if each["event"] == "progress"] == [(1, 2), (2, 2)]
    assert any("minutes" in str(each.get("text")) for each in events)
    folder = Path(events[-1]["folder"])
    found = find_llama_cpp(tmp_path / "cache", {"PATH": ""})
    assert found.source == folder and found.quantize.is_file() and (folder / "LICENSE").is_file()
    assert not (folder / "src").exists() and not (folder.parent / ".0.3.36.part").exists(), "the rest is removed"
    assert find_llama_server(tmp_path / "cache", {"PATH": ""}) == folder / "bin" / "llama-server"
    configured = next(call for call in calls(tmp_path) if call.startswith("-S"))
    assert "-DLLAMA_BUILD_SERVER=ON" in configured
    assert "-DLLAMA_USE_PREBUILT_UI=OFF" in configured, "its web page would be downloaded while it is compiled"
    requirement = next(call for call in calls(tmp_path) if call.startswith("pip"))
    assert "--require-hashes" in requirement and "--no-deps" in requirement
    before = calls(tmp_path)
    assert not build()[-1]["built"] and calls(tmp_path) == before


def test_a_llama_cpp_that_was_built_without_a_server_is_built_again(
    build: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    folder = Path(build()[-1]["folder"])
    (folder / "bin" / "llama-server").unlink()
    assert find_llama_cpp(tmp_path / "cache", {"PATH": ""}).source == folder, "exports do without"
    with pytest.raises(EnvironmentProblem, match="llama-server is not here") as caught:
        find_llama_server(tmp_path / "cache", {"PATH": ""})
    assert "build it again with `model-garden export --setup gguf`" in str(caught.value.hint)
    assert build()[-1]["built"] and (folder / "bin" / "llama-server").is_file()
    assert not build()[-1]["built"]


def test_a_failed_build_says_the_last_words_and_is_continued(
    build: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "fails").touch()
    with pytest.raises(RunFailed, match="could not be compiled") as caught:
        build()
    assert "x.cpp:1:2: error: no such header" in str(caught.value.why) and "setup.log" in str(caught.value.where)
    with pytest.raises(EnvironmentProblem, match="is not here"):
        find_llama_cpp(tmp_path / "cache", {"PATH": ""})
    (tmp_path / "fails").unlink()
    assert build()[-1]["built"]
    assert sum(call.startswith("pip") for call in calls(tmp_path)) == 1, "it is not downloaded again"


def test_another_package_than_the_expected_one_is_refused(
    build: Callable[[], list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "SDIST_SHA256", "0" * 64)
    with pytest.raises(RunFailed, match="is not the expected one"):
        build()
    assert not any(call.startswith("--build") for call in calls(tmp_path))


def test_no_network_no_compiler_and_no_room_are_one_error_each(
    build: Callable[[], list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llama_cpp_python-0.3.36.tar.gz").unlink()
    with pytest.raises(RunFailed, match="could not be downloaded") as caught:
        build()
    assert "Could not find a version" in str(caught.value.why) and "LLAMA_CPP_DIR" in str(caught.value.hint)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10**6))
        with pytest.raises(EnvironmentProblem, match="no room to build"):
            build()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(EnvironmentProblem, match=r"no C\+\+ compiler") as missing:
        build()
    assert "build-essential" in str(missing.value.hint)
