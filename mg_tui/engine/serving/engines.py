"""Which engine answers, and its start: the built-in one in this process, or vLLM or llama-server as a child."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.serve_spec import ServeSpec, split_served
from mg_tui.data.policy import read_policy
from mg_tui.engine.inference.generate import silence_libraries
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.engine.serving.answering import ServingEngine
from mg_tui.engine.serving.gpu_holders import with_gpu_holders
from mg_tui.engine.serving.proof import ExpectedAnswers, expect_answers
from mg_tui.engine.serving.served_models import ServedModels, load_served, locate_served
from mg_tui.families.registry import load_registry
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.servers import ServerFolder

EngineKind = Literal["vllm", "builtin", "llama"]
Phase = Callable[..., None]


@dataclass(frozen=True, slots=True)
class StartedEngine:
    """An engine that answers; `expected` is what its models have to answer, and `base` the base model's name."""

    engine: ServingEngine
    kind: EngineKind
    base: str
    expected: Sequence[ExpectedAnswers] = ()


def choose_engine(spec: ServeSpec) -> EngineKind:
    """The engine of a server.

    Raises:
        UsageError: a .gguf file goes with another engine, or with other models.
    """
    files = [given for given in (split_served(model)[1] for model in spec.models) if given.lower().endswith(".gguf")]
    if files and (len(spec.models) > 1 or spec.engine not in ("auto", "llama")):
        raise UsageError(
            "a .gguf file is served alone, by llama-server",
            where=files[0],
            hint="leave --engine and the other models out, or start a server for each",
        )
    if files:
        return "llama"
    if spec.engine == "llama":
        raise UsageError("llama-server serves .gguf files", why=f"{spec.models[0]} is none", hint="leave --engine out")
    if spec.engine == "auto":
        return "vllm" if shutil.which("vllm") is not None else "builtin"
    return spec.engine


def start_engine(
    spec: ServeSpec,
    *,
    folder: ServerFolder,
    stopper: StopHandler,
    phase: Phase,
    note: Callable[[str], None],
    cwd: Path,
    home: Path,
    cache: Path,
    bounds: CallerBounds | None = None,
) -> StartedEngine:
    """Find the models, learn what they have to answer, and start what answers.

    Args:
        folder: of the server; a child's output goes there.
        stopper: a stop interrupts loading.
        phase: told what is being done.
        note: told what a person should know.
        cwd, home, cache: the working directory, and the garden's folders.
        bounds: what may be read of datasets, where the server is not this user's own.

    Raises:
        UsageError, FamilyError: a model means nothing, or the engine cannot serve it.
        EnvironmentProblem: no room, no such device, or the engine's command is not there or fails.
    """
    kind = choose_engine(spec)
    if kind == "llama":
        from mg_tui.engine.serving.llama import start_llama

        llama, expected = start_llama(spec, folder, stopper, phase, cwd=cwd, home=home, cache=cache, bounds=bounds)
        return StartedEngine(llama, kind, Path(split_served(spec.models[0])[1]).name, expected)
    registry = load_registry()
    with stopper.interruptible():
        found = locate_served(spec, home=home, registry=registry)
    for named in found:
        for text in named.located.notes:
            note(text)
    base = found[0].located.base.name
    if kind == "vllm":
        from mg_tui.engine.serving.vllm import start_vllm

        engine, expected = start_vllm(
            spec, found, folder, stopper, phase, cwd=cwd, home=home, cache=cache, bounds=bounds
        )
        return StartedEngine(engine, kind, base, expected)
    phase("loading model", base)
    with stopper.interruptible():
        silence_libraries()
        try:
            models = load_served(spec, found, registry)
        except EnvironmentProblem as error:
            raise with_gpu_holders(error) from error
    expected = []
    if spec.proof_rows:
        for served in models.models:
            phase("asking the trained model", served.name)
            with stopper.interruptible():
                expected.append(
                    expect_answers(
                        models,
                        served,
                        count=spec.proof_rows,
                        dataset=spec.dataset,
                        cwd=cwd,
                        cache=cache,
                        policy=read_policy(bounds),
                    )
                )
    return StartedEngine(_builtin(spec, models, note), kind, base, expected)


def _builtin(spec: ServeSpec, models: ServedModels, note: Callable[[str], None]) -> ServingEngine:
    from mg_tui.engine.serving.builtin import BuiltinEngine

    engine = BuiltinEngine(models, max_waiting=spec.queue, batch_size=spec.batch_size)
    if engine.sequential_reason is not None:
        note(f"requests are answered one at a time: {engine.sequential_reason}")
    return engine
