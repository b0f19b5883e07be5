"""The check of a dataset with a base model, for `datasets check` and the dashboard.

Tokens are counted by the family's own processor, in engine processes that are started only when the cache lacks a count
and end with the check; nothing here imports torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mg_tui.config import Settings
from mg_tui.core.paths import expand_user
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.checks.findings import CheckReport
from mg_tui.data.checks.runner import CheckLimits, run_checks
from mg_tui.data.from_spec import open_source_from_spec
from mg_tui.data.image_probe import ProbeDepth
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.progress import Progress, Stop
from mg_tui.data.row_loader import ReadOptions
from mg_tui.data.sources.base import DetectedFormat, Source
from mg_tui.data.token_count_cache import CachedTokenCounter
from mg_tui.preflight.token_counter import TokenCounterPool, family_image_tokens


def check_dataset(
    spec: TrainingSpec,
    settings: Settings,
    *,
    cwd: Path,
    depth: ProbeDepth = "header",
    count_tokens: bool = True,
    progress: Progress | None = None,
    stop: Stop | None = None,
    policy: ReadPolicy = ALLOW_ALL,
) -> CheckReport:
    """Check a dataset as a run with `spec` would read it.

    Args:
        spec: the run; relative paths in it are resolved against `cwd`.
        depth: read the headers of images, or decode every pixel.
        count_tokens: with the spec's base model; if False, lengths are not checked and no model is needed.
        progress, stop: see `mg_tui.data.checks.runner.run_checks`.
        policy: where data may be read from.

    Raises:
        DataError: the dataset cannot be read at all.
        FamilyError: no family supports the base model.
        EnvironmentProblem: the Hub cannot be reached, or the cache cannot be written.
    """
    source, options = open_dataset(spec, settings, cwd=cwd, depth=depth, policy=policy)
    with open_check(spec, settings, source, cwd=cwd, count=count_tokens, policy=policy) as inputs:
        return run_checks(source, options, inputs.limits, evaluation=inputs.evaluation, progress=progress, stop=stop)


@dataclass(frozen=True, slots=True)
class CheckInputs:
    """The limits that rows are checked against, and the evaluation dataset with its read options, if there is one."""

    limits: CheckLimits
    evaluation: tuple[Source, ReadOptions] | None


@contextmanager
def open_check(
    spec: TrainingSpec,
    settings: Settings,
    source: Source,
    *,
    cwd: Path,
    count: bool = True,
    policy: ReadPolicy = ALLOW_ALL,
) -> Iterator[CheckInputs]:
    """The inputs of a check of `source`; counting processes end with the context.

    Raises as `run_checks`.
    """
    evaluation = None
    if spec.eval_dataset:
        evaluation = open_dataset(spec, settings, cwd=cwd, evaluation=True, policy=policy)
    if not count:
        yield CheckInputs(CheckLimits(spec.max_seq_length, spec.min_pixels, spec.max_pixels), evaluation)
        return
    with open_limits(spec, settings, dataset=source.address) as limits:
        yield CheckInputs(limits, evaluation)


def open_dataset(
    spec: TrainingSpec,
    settings: Settings,
    *,
    cwd: Path,
    depth: ProbeDepth = "header",
    evaluation: bool = False,
    policy: ReadPolicy = ALLOW_ALL,
) -> tuple[Source, ReadOptions]:
    """The dataset of a run, or its evaluation dataset, and how its rows are read.

    Raises:
        DataError: it does not exist, or is not a dataset.
        EnvironmentProblem: the Hub cannot be reached.
    """
    source, detected = open_source_from_spec(spec, evaluation=evaluation, cwd=cwd, cache=settings.cache, policy=policy)
    return source, read_options(spec, detected, cwd=cwd, cache=settings.cache, depth=depth, policy=policy)


def read_options(
    spec: TrainingSpec,
    detected: DetectedFormat,
    *,
    cwd: Path,
    cache: Path | None,
    depth: ProbeDepth = "header",
    policy: ReadPolicy = ALLOW_ALL,
) -> ReadOptions:
    """How a run reads the rows of its dataset, which was detected to be `detected`."""
    return ReadOptions(
        detected_format=detected,
        image_root=cwd / expand_user(spec.image_root) if spec.image_root else None,
        cwd=cwd,
        cache=cache,
        system_prompt=spec.system_prompt,
        probe_depth=depth,
        policy=policy,
    )


@contextmanager
def open_limits(spec: TrainingSpec, settings: Settings, *, dataset: str) -> Iterator[CheckLimits]:
    """The limits that rows are checked against, with a token counter that is closed with the context.

    Args:
        dataset: address under which counts are cached.

    Raises:
        FamilyError: no family supports the base model.
        EnvironmentProblem: its configuration is on the Hub, which cannot be reached.
    """
    from mg_tui.families.registry import load_registry

    model = load_registry().resolve(spec.base_model, revision=spec.revision, fetch=True, choice=spec.family)
    counter = TokenCounterPool(spec, model)
    cached = CachedTokenCounter(counter, settings.cache, dataset)
    try:
        yield CheckLimits(
            spec.max_seq_length,
            spec.min_pixels,
            spec.max_pixels,
            token_counter=cached,
            count_image_tokens=family_image_tokens(model),
            parallel_batches=counter.lanes,
        )
        cached.save()
    finally:
        counter.close()


__all__ = ["CheckInputs", "open_check", "open_dataset", "open_limits", "run_checks"]
