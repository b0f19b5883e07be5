"""llama.cpp's server as the engine, for a .gguf file and its vision file (mmproj)."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.serve_spec import ServeSpec, split_served
from mg_tui.engine.export.gguf.llama_cpp import FOLDER_VARIABLE
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.engine.serving.proof import ExpectedAnswers
from mg_tui.engine.serving.reference import ask_reference
from mg_tui.engine.serving.upstream import UpstreamEngine, UpstreamModel
from mg_tui.engine.serving.upstream_process import start_upstream
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.result_metadata import METADATA_FILE
from mg_tui.runs.servers import ServerFolder

COMMAND: Final = "llama-server"
LOG_FILE: Final = "llama-server.log"
_NAME: Final = "served"
# Its own defaults (top_k 40, min_p 0.05) would change sampled answers.
_NEUTRAL: Final = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}


def start_llama(spec: ServeSpec, folder: ServerFolder, stopper: StopHandler) -> UpstreamEngine:
    """Start llama-server with the server's file.

    Raises:
        UsageError: there is no such file, or no vision file, or several.
        EnvironmentProblem: its command is not there, or fails.
    """
    name, given = split_served(spec.models[0])
    file = expand_user(given)
    if not file.is_file():
        raise UsageError("there is no such .gguf file", where=str(file))
    if (program := find_program()) is None:
        raise EnvironmentProblem(
            "llama-server is not there.",
            why=f"it is neither on PATH nor in a folder that {FOLDER_VARIABLE} names",
            hint="install llama.cpp, and put its folder on PATH",
        )
    vision = expand_user(spec.mmproj) if spec.mmproj is not None else find_vision_file(file)
    facts = read_facts(file.parent)
    process, key = start_upstream(
        lambda port: llama_command(spec, program, file, vision, facts, port),
        folder.path / LOG_FILE,
        lambda: stopper.poll(raise_on="stop"),
        key_variable="LLAMA_API_KEY",
    )
    system_prompt = facts.get("system_prompt")
    model = UpstreamModel(_NAME, system_prompt if isinstance(system_prompt, str) else None, _NEUTRAL)
    return UpstreamEngine(process, {name or file.stem: model}, key, max_waiting=spec.queue, timeout=spec.timeout)


def find_program() -> str | None:
    """llama-server in the folder of a built llama.cpp, as of exports, or on PATH; None where it is not there."""
    folder = os.environ.get(FOLDER_VARIABLE)
    places = [str(Path(folder) / place) for place in ("build/bin", "bin", ".")] if folder else []
    return shutil.which(COMMAND, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))


def expected_of_file(
    spec: ServeSpec, name: str, *, cwd: Path, home: Path, cache: Path, bounds: CallerBounds | None = None
) -> list[ExpectedAnswers]:
    """What a .gguf file has to answer: what the run answers that `model_garden.json` beside it names."""
    run = read_facts(expand_user(split_served(spec.models[0])[1]).parent).get("run")
    if not isinstance(run, str):
        return [ExpectedAnswers(name, why="no model_garden.json beside the file says which run it is from")]
    reference = spec.model_copy(update={"models": (f"{name}={run}",), "engine": "builtin", "mmproj": None})
    try:
        return ask_reference(reference, cwd=cwd, home=home, cache=cache, bounds=bounds)
    except GardenError as error:
        return [ExpectedAnswers(name, why="; ".join(part for part in (error.what, error.why) if part))]


def llama_command(
    spec: ServeSpec, program: str, file: Path, vision: Path, facts: dict[str, Any], port: int
) -> list[str]:
    """The command line, with the limits of images' areas that are saved beside the file."""
    words = [program, "--model", str(file), "--mmproj", str(vision), "--alias", _NAME]
    side, least, most = (facts.get(name) for name in ("image_token_side", "min_pixels", "max_pixels"))
    if isinstance(side, int) and isinstance(least, int) and isinstance(most, int):  # rounded as in exports
        fewest, largest = max(1, -(-least // side**2)), max(1, most // side**2)
        words += ["--image-min-tokens", str(fewest), "--image-max-tokens", str(largest)]
    if spec.device == "cpu":
        words += ["--n-gpu-layers", "0"]
    if spec.batch_size is not None:
        words += ["--parallel", str(spec.batch_size)]
    return [*words, "--jinja", "--no-webui", "--host", "127.0.0.1", "--port", str(port)]


def find_vision_file(file: Path) -> Path:
    """The only mmproj file beside a text model.

    Raises:
        UsageError: there is none, or there are several.
    """
    found = sorted(path for path in file.parent.glob("*.gguf") if "mmproj" in path.name.lower() and path != file)
    if len(found) == 1:
        return found[0]
    why = "there are " + ", ".join(path.name for path in found[:4]) if found else "none is beside it"
    raise UsageError(
        "the vision file of the .gguf model is not clear", where=str(file), why=why, hint="name it with --mmproj"
    )


def read_facts(folder: Path) -> dict[str, Any]:
    """How the model was trained, as it is saved beside it; empty where it is not."""
    try:
        record = json.loads((folder / METADATA_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
