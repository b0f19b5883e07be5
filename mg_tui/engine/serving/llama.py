"""llama.cpp's server as the engine, for a .gguf file and its vision file (mmproj)."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.serve_spec import ServeSpec, split_served
from mg_tui.engine.export.gguf.asking import locate_files
from mg_tui.engine.export.gguf.llama_answers import LlamaFiles
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.engine.serving.proof import ExpectedAnswers
from mg_tui.engine.serving.reference import ask_reference
from mg_tui.engine.serving.upstream import UpstreamEngine, UpstreamModel
from mg_tui.engine.serving.upstream_process import start_upstream
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.llama_cpp import SERVER, find_llama_server
from mg_tui.runs.result_metadata import METADATA_FILE
from mg_tui.runs.servers import ServerFolder

LOG_FILE: Final = f"{SERVER}.log"
_NAME: Final = "served"
# Its own defaults (top_k 40, min_p 0.05) would change sampled answers.
_NEUTRAL: Final = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}


def start_llama(
    spec: ServeSpec,
    folder: ServerFolder,
    stopper: StopHandler,
    phase: Callable[..., None],
    *,
    cwd: Path,
    home: Path,
    cache: Path,
    bounds: CallerBounds | None = None,
) -> tuple[UpstreamEngine, list[ExpectedAnswers]]:
    """Start llama-server with the server's file, after the run it is from was asked what it has to answer.

    Raises:
        UsageError: there is no such file, or no vision file, or several, or one is not of its kind or cut off.
        EnvironmentProblem: llama-server is not there, or fails.
    """
    name, given = split_served(spec.models[0])
    file = expand_user(given)
    if not file.is_file():
        raise UsageError("there is no such .gguf file", where=str(file))
    program = find_llama_server(cache)
    files = locate_files(file, None if spec.mmproj is None else expand_user(spec.mmproj))
    files = replace(files, adapter=find_adapter(file.parent))
    facts, called = read_facts(file.parent), name or file.stem
    expected: list[ExpectedAnswers] = []
    if spec.proof_rows:
        # Before it starts, in a process of its own: its end gives back the memory that llama-server is going to take.
        phase("asking the trained model")
        with stopper.interruptible():
            expected = expected_of_file(spec, called, cwd=cwd, home=home, cache=cache, bounds=bounds)
    phase("starting llama-server", file.name)
    process, key = start_upstream(
        lambda port: llama_command(spec, program, files, facts, port),
        folder.path / LOG_FILE,
        lambda: stopper.poll(raise_on="stop"),
        key_variable="LLAMA_API_KEY",
    )
    system_prompt = facts.get("system_prompt")
    model = UpstreamModel(_NAME, system_prompt if isinstance(system_prompt, str) else None, _NEUTRAL)
    engine = UpstreamEngine(process, {called: model}, key, max_waiting=spec.queue, timeout=spec.timeout)
    return engine, expected


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


def llama_command(spec: ServeSpec, program: Path, files: LlamaFiles, facts: dict[str, Any], port: int) -> list[str]:
    """The command line, with the adapter and the limits of images' areas that are saved beside the file."""
    words = [str(program), "--model", str(files.text), "--mmproj", str(files.projector), "--alias", _NAME]
    if files.adapter is not None:
        words += ["--lora", str(files.adapter)]
    side, least, most = (facts.get(name) for name in ("image_token_side", "min_pixels", "max_pixels"))
    if isinstance(side, int) and isinstance(least, int) and isinstance(most, int):  # rounded as in exports
        fewest, largest = max(1, -(-least // side**2)), max(1, most // side**2)
        words += ["--image-min-tokens", str(fewest), "--image-max-tokens", str(largest)]
    if spec.device == "cpu":
        words += ["--n-gpu-layers", "0"]
    if spec.batch_size is not None:
        words += ["--parallel", str(spec.batch_size)]
    return [*words, "--jinja", "--no-webui", "--host", "127.0.0.1", "--port", str(port)]


def find_adapter(folder: Path) -> Path | None:
    """The adapter of an export with `--adapter`: without it the text model beside it answers as the base model does."""
    if not (folder / METADATA_FILE).is_file():
        return None
    found = sorted(folder.glob("*-adapter.gguf"))
    return found[0] if len(found) == 1 else None


def read_facts(folder: Path) -> dict[str, Any]:
    """How the model was trained, as it is saved beside it; empty where it is not."""
    try:
        record = json.loads((folder / METADATA_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
