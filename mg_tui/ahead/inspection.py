"""The check of a dataset with a base model: what `datasets check`, the dashboard and a run's preflight all ask for.

Tokens are counted by the family's own processor, in engine processes that are started only when the cache lacks a count
and ended with the check; nothing here imports torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mg_tui.ahead.token_counts import ProcessCounter, picture_tokens_of
from mg_tui.config import Settings
from mg_tui.core.paths import expanded
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.asked import open_asked
from mg_tui.data.check import CheckDepth
from mg_tui.data.checking import Limits, Progress, Reading, Stop, check
from mg_tui.data.findings import Report
from mg_tui.data.kept_counts import KeptCounts
from mg_tui.data.sources.base import Source


def inspect(
    spec: TrainingSpec,
    settings: Settings,
    *,
    cwd: Path,
    depth: CheckDepth = "header",
    count_tokens: bool = True,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Report:
    """Check a dataset as a run with `spec` would read it.

    Args:
        spec: the run; relative paths in it are seen from `cwd`.
        depth: read headers of pictures, or decode every pixel.
        count_tokens: with the spec's base model; without, lengths are not judged and no model is needed.
        progress, stop: see `mg_tui.data.checking.check`.

    Raises:
        DataError: the dataset cannot be read at all.
        FamilyError: no family for the base model.
        EnvironmentProblem: a hub cannot be reached, or the cache cannot be written.
    """
    source, reading = open_dataset(spec, settings, cwd=cwd, depth=depth)
    with checking(spec, settings, source, cwd=cwd, count=count_tokens) as how:
        return check(source, reading, how.limits, evaluation=how.evaluation, progress=progress, stop=stop)


@dataclass(frozen=True, slots=True)
class Checking:
    """What rows are held against, and the evaluation dataset with how it is read, if there is one."""

    limits: Limits
    evaluation: tuple[Source, Reading] | None


@contextmanager
def checking(
    spec: TrainingSpec, settings: Settings, source: Source, *, cwd: Path, count: bool = True
) -> Iterator[Checking]:
    """What a check of `source` needs, counting processes included, which end with the context.

    Raises as `inspect`.
    """
    evaluation = open_dataset(spec, settings, cwd=cwd, evaluation=True) if spec.eval_dataset else None
    if not count:
        yield Checking(Limits(spec.max_seq_length, spec.min_pixels, spec.max_pixels), evaluation)
        return
    with limits_of(spec, settings, kept_for=str(source.path or source.name)) as limits:
        yield Checking(limits, evaluation)


def open_dataset(
    spec: TrainingSpec, settings: Settings, *, cwd: Path, depth: CheckDepth = "header", evaluation: bool = False
) -> tuple[Source, Reading]:
    """The dataset of a run, or its evaluation dataset, and how its rows are read.

    Raises:
        DataError: it is not there, or is no dataset.
        EnvironmentProblem: a hub cannot be reached.
    """
    source, recognised = open_asked(spec, evaluation=evaluation, cwd=cwd, cache=settings.cache)
    return source, Reading(
        recognised=recognised,
        image_root=cwd / expanded(spec.image_root) if spec.image_root else None,
        cwd=cwd,
        cache=settings.cache,
        system_prompt=spec.system_prompt,
        depth=depth,
    )


@contextmanager
def limits_of(spec: TrainingSpec, settings: Settings, *, kept_for: str) -> Iterator[Limits]:
    """What rows are held against, with a counter that lives as long as the context.

    Raises:
        FamilyError: no family for the base model.
        EnvironmentProblem: its configuration is on a hub that cannot be reached.
    """
    from mg_tui.families.registry import load_registry

    model = load_registry().resolve(spec.base_model, revision=spec.revision, fetch=True)
    counter = ProcessCounter(spec, model)
    kept = KeptCounts(counter, settings.cache, kept_for)
    try:
        yield Limits(
            spec.max_seq_length,
            spec.min_pixels,
            spec.max_pixels,
            counter=kept,
            picture_tokens=picture_tokens_of(model),
            lanes=counter.lanes,
        )
        kept.save()
    finally:
        counter.close()


__all__ = ["Checking", "checking", "inspect", "limits_of", "open_dataset"]
