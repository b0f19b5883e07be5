"""Checks of what is installed: Python, torch, a C compiler, plugins, and programs for export and serving."""

import importlib.util
import os
import platform
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from mg_tui.core.text import one_line
from mg_tui.doctor.findings import MachineFinding
from mg_tui.doctor.torch_build import TorchBuild

_COMPILERS: Final = ("gcc", "clang", "cc")  # in the order in which Triton looks for them


def check_python() -> Iterator[MachineFinding]:
    """Python, and whether it is a free-threaded or debug build, for which many packages have no wheels."""
    text = f"{platform.python_version()} ({platform.python_implementation()}, {platform.machine()})"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        hint = "use a usual build: `uv python install 3.13`"
        yield MachineFinding("python", "Python", "warning", f"{text} is a free-threaded build, which is untested", hint)
        return
    yield MachineFinding("python", "Python", "ok", text)


def check_torch(torch_build: TorchBuild | None) -> Iterator[MachineFinding]:
    """torch by its files, and whether what is used with it is installed."""
    if torch_build is None:
        hint = "uv pip install torch torchvision"
        yield MachineFinding("torch", "torch", "problem", "not installed", hint, for_runs=True)
        return
    if torch_build.problem is not None:
        hint = "reinstall it: uv pip install --reinstall torch"
        yield MachineFinding("torch", "torch", "problem", one_line(torch_build.problem), hint, for_runs=True)
        return
    if torch_build.rocm is not None:
        text = f"{torch_build.version} for AMD GPUs (ROCm {torch_build.rocm}), which is untested"
        yield MachineFinding("torch", "torch", "warning", text)
        return
    built = "without CUDA" if torch_build.cuda is None else f"for CUDA {torch_build.cuda[0]}.{torch_build.cuda[1]}"
    yield MachineFinding("torch", "torch", "ok", f"{torch_build.version}, built {built}")


def check_accelerators(*, gpu: bool) -> Iterator[MachineFinding]:
    """Packages that runs on a GPU use: bitsandbytes, flash-attn and unsloth."""
    for name, used_for, missing in (
        ("bitsandbytes", "nf4, int8 and 8-bit optimizers", "runs on a GPU are not quantized; uv pip install"),
        ("flash-attn", "attention flash_attention_2", None),
        ("unsloth", "the backend unsloth", None),
    ):
        found = _installed(name)
        if found is not None:
            yield MachineFinding(name, name, "ok", found)
        elif missing is not None and gpu:
            yield MachineFinding(name, name, "warning", "not installed", f"{missing} {name}", for_runs=True)
        else:
            yield MachineFinding(name, name, "ok", f"not installed; only {used_for} needs it")


def check_compiler(*, gpu: bool) -> Iterator[MachineFinding]:
    """A C compiler and Python's headers: with them Triton builds the launcher of every kernel it compiles."""
    subject = "C compiler"
    named = os.environ.get("CC")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _COMPILERS)), None)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    lost = "kernels such as flex attention are not compiled, and steps are slower"
    if found is None:
        what = f"CC names {one_line(named)}, which is not found" if named else "none found"
        hint = "sudo apt-get install gcc" if not named else "correct CC, or unset it"
        if gpu:
            yield MachineFinding("compiler", subject, "problem", f"{what}: {lost}", hint, for_runs=True)
        else:
            yield MachineFinding("compiler", subject, "ok", f"{what}; only GPUs need one")
    elif not headers.is_file():
        text = f"{found}, but Python's headers are missing ({headers})" + (f": {lost}" if gpu else "")
        hint = f"sudo apt-get install python{platform.python_version().rpartition('.')[0]}-dev"
        yield MachineFinding("compiler", subject, "problem" if gpu else "ok", text, hint if gpu else None, for_runs=gpu)
    else:
        yield MachineFinding("compiler", subject, "ok", found)


def check_plugins() -> Iterator[MachineFinding]:
    """Model families and plugins of metrics; the same statuses as `model-garden plugins`."""
    from mg_tui.families.registry import INSTALL_HINT, load_registry
    from mg_tui.metrics.registry import load_metrics

    registry = load_registry()
    broken = [(plugin.name, plugin.problem) for plugin in registry.plugins if plugin.status == "broken"]
    broken += [(plugin.name, plugin.problem) for plugin in load_metrics().plugins if plugin.status == "broken"]
    for name, problem in broken:
        text = f"{one_line(name)} is broken: {one_line(problem or 'no reason given')}"
        yield MachineFinding("plugins", "plugins", "problem", text, "model-garden plugins --check", for_runs=True)
    if not registry.families:
        yield MachineFinding("plugins", "plugins", "problem", "no model family", INSTALL_HINT, for_runs=True)
    elif not broken:
        titles = ", ".join(one_line(family.title) for family in registry.families)
        yield MachineFinding("plugins", "plugins", "ok", titles)


def check_engines(cache: Path) -> Iterator[MachineFinding]:
    """Programs that serve or convert exports; `cache` is where `export --setup gguf` builds some of them."""
    from mg_tui.core.errors import GardenError
    from mg_tui.runs.llama_cpp import FOLDER_VARIABLE, SETUP_HINT, find_llama_cpp, find_llama_server

    vllm = _installed("vllm") or (shutil.which("vllm") and "found on the PATH")
    yield MachineFinding(
        "vllm", "vLLM", "ok", vllm or "not installed here; exports for it are served wherever it is installed"
    )
    found, missing = [], []
    finders: tuple[tuple[str, Callable[[], str]], ...] = (
        ("conversion to GGUF", lambda: find_llama_cpp(cache).origin),
        ("llama-server", lambda: str(find_llama_server(cache))),
    )
    for what, find in finders:
        try:
            found.append(f"{what}: {one_line(find())}")
        except GardenError as error:
            missing.append((what, error))
    if not missing:
        yield MachineFinding("llama.cpp", "llama.cpp", "ok", "; ".join(found))
    elif not found and not os.environ.get(FOLDER_VARIABLE):
        text = "not here; only conversion to GGUF and serving .gguf files need it: `model-garden export --setup gguf`"
        yield MachineFinding("llama.cpp", "llama.cpp", "ok", text)
    else:
        what, problem = missing[0]
        text = one_line(f"no {what}: {problem.why or problem.what}")
        yield MachineFinding("llama.cpp", "llama.cpp", "warning", text, problem.hint or SETUP_HINT)


def _installed(name: str) -> str | None:
    """The version of an installed package; None when it is not installed, or only its metadata is left."""
    module = name.replace("-", "_")
    try:
        return version(name) if importlib.util.find_spec(module) is not None else None
    except (PackageNotFoundError, ValueError):
        return None
