"""vLLM as the engine: its command on PATH, in an environment of its own, behind our gate on a loopback port."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.engine.export.vllm_rules import VllmAdapter, require_vllm_adapter
from mg_tui.engine.inference.loading import resolve_family
from mg_tui.engine.monitoring.stopping import StopHandler
from mg_tui.engine.serving.proof import ExpectedAnswers
from mg_tui.engine.serving.reference import ask_reference
from mg_tui.engine.serving.served_models import NamedModel
from mg_tui.engine.serving.upstream import UpstreamEngine, UpstreamModel
from mg_tui.engine.serving.upstream_process import start_upstream
from mg_tui.families.image_limits import known_limits
from mg_tui.families.registry import load_registry
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.servers import ServerFolder

COMMAND: Final = "vllm"
LOG_FILE: Final = "vllm.log"
# What the model's own generation_config might set, and greedy answers of a trained model must not have.
_NEUTRAL: Final = {"repetition_penalty": 1.0}


def start_vllm(
    spec: ServeSpec,
    found: Sequence[NamedModel],
    folder: ServerFolder,
    stopper: StopHandler,
    phase: Callable[..., None],
    *,
    cwd: Path,
    home: Path,
    cache: Path,
    bounds: CallerBounds | None = None,
) -> tuple[UpstreamEngine, list[ExpectedAnswers]]:
    """Start vLLM with the models of a server, after they were asked what they have to answer.

    Raises:
        UsageError: vLLM cannot serve an adapter.
        EnvironmentProblem: its command is not there, or fails.
    """
    if shutil.which(COMMAND) is None:
        raise EnvironmentProblem(
            "vLLM is not there.",
            why="its command `vllm` is not on PATH",
            hint="install it in an environment of its own (`uv tool install vllm`), or use --engine builtin",
        )
    vllm_command(spec, found, 0)  # what vLLM would refuse is refused before anything is asked
    expected: list[ExpectedAnswers] = []
    if spec.proof_rows:
        # In a process of its own, whose end gives back the memory that vLLM is going to take.
        phase("asking the trained model")
        with stopper.interruptible():
            expected = ask_reference(spec, cwd=cwd, home=home, cache=cache, bounds=bounds)
    phase("starting vLLM", found[0].located.base.name)
    process, key = start_upstream(
        lambda port: vllm_command(spec, found, port),
        folder.path / LOG_FILE,
        lambda: stopper.poll(raise_on="stop"),
        key_variable="VLLM_API_KEY",
        environment={"VLLM_NO_USAGE_STATS": "1"},
    )
    models = {named.name: UpstreamModel(named.name, named.located.metadata.system_prompt, _NEUTRAL) for named in found}
    return UpstreamEngine(process, models, key, max_waiting=spec.queue, timeout=spec.timeout), expected


def vllm_command(spec: ServeSpec, found: Sequence[NamedModel], port: int) -> list[str]:
    """The command line that serves the models on a loopback port, with the pixel limits of training.

    Raises:
        UsageError: vLLM cannot serve an adapter, or the models have different limits.
    """
    first = found[0].located
    adapters = [(named, _adapter(named)) for named in found if named.located.is_adapter]
    whole = [named.name for named in found if not named.located.is_adapter]
    # With adapters alone, the base model needs a name that is none of theirs.
    words = [COMMAND, "serve", first.base.source, "--served-model-name", *(whole or ["base-model-of-adapters"])]
    if first.revision:
        words += ["--revision", first.revision]
    if adapters:
        ranks = max(adapter.max_lora_rank for _named, adapter in adapters)
        words += ["--enable-lora", "--max-lora-rank", str(ranks), "--max-loras", str(len(adapters))]
        if any(adapter.tower for _named, adapter in adapters):
            words.append("--enable-tower-connector-lora")
        words += ["--lora-modules", *(f"{named.name}={named.located.folder}" for named, _adapter in adapters)]
    words += ["--dtype", first.metadata.dtype if spec.dtype == "auto" else spec.dtype, "--generation-config", "vllm"]
    if spec.quantization == "nf4":
        words += ["--quantization", "bitsandbytes"]
    elif spec.quantization == "int8":
        raise UsageError("vLLM does not quantize to int8 as it loads.", hint="use --quantization nf4 or none")
    if (limits := _pixel_limits(found)) is not None:
        words += ["--mm-processor-kwargs", limits]
    if any(named.located.metadata.trust_remote_code for named in found):
        words.append("--trust-remote-code")
    return [*words, "--host", "127.0.0.1", "--port", str(port)]


def _adapter(named: NamedModel) -> VllmAdapter:
    located = named.located
    assert located.folder is not None
    family = resolve_family(located, load_registry())
    config: dict[str, Any] = dict(located.base.config or {})
    model_type = str(config.get("model_type") or located.metadata.model_type)
    return require_vllm_adapter(located.folder, family, model_type)


def _pixel_limits(found: Sequence[NamedModel]) -> str | None:
    """The limits of all models as vLLM takes them; None where no model says how it was trained."""
    registry = load_registry()
    known = {
        json.dumps(dict(limits)): named.name
        for named in found
        if not named.located.metadata.assumed
        and (limits := known_limits(resolve_family(named.located, registry), named.located.metadata.preprocessing))
    }
    if len(known) > 1:
        raise UsageError(
            "the models were trained with different limits of images' areas, and vLLM has one for all",
            why="; ".join(f"{name}: {limits}" for limits, name in known.items()),
            hint="start a server for each, or use --engine builtin",
        )
    return next(iter(known), None)
