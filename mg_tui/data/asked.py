"""The data of a run as its options ask for it: what every face and the engine read, in one way."""

from collections.abc import Callable
from pathlib import Path

from mg_tui.core.paths import expanded
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.check import CheckDepth
from mg_tui.data.dataset import Dataset, load_dataset
from mg_tui.data.mapping import FieldMap
from mg_tui.data.policy import ANYWHERE, ReadPolicy
from mg_tui.data.resolve import ImageResolver
from mg_tui.data.sources.base import Recognised, Source, open_source
from mg_tui.data.sources.recognise import recognise


def load_asked(
    spec: TrainingSpec,
    given: str | None = None,
    *,
    evaluation: bool = False,
    cwd: Path,
    cache: Path | None,
    check_images: CheckDepth,
    progress: Callable[[int, int], None] | None = None,
    policy: ReadPolicy = ANYWHERE,
) -> Dataset:
    """The dataset of a run, or its evaluation dataset; see `load_dataset`.

    Args:
        spec: relative paths in it are seen from `cwd`.
        given: another dataset than the spec's, of the same fields; its format is recognised.
    """
    other = given is not None and given != (spec.eval_dataset if evaluation else spec.dataset)
    return load_dataset(
        given or _given(spec, evaluation),
        FieldMap.of(spec, evaluation=evaluation),
        image_root=cwd / expanded(spec.image_root) if spec.image_root else None,
        system_prompt=spec.system_prompt,
        cwd=cwd,
        cache=cache,
        check_images=check_images,
        progress=progress,
        format=None if other else _format(spec, evaluation),
        layout=spec.dataset_layout,
        split=None if other else _split(spec, evaluation),
        config=None if other else spec.dataset_config,
        policy=policy,
    )


def open_asked(
    spec: TrainingSpec, *, evaluation: bool = False, cwd: Path, cache: Path | None, policy: ReadPolicy = ANYWHERE
) -> tuple[Source, Recognised]:
    """The source of a run's dataset, or of its evaluation dataset, and what it is taken for.

    Raises:
        DataError, EnvironmentProblem: as `open_source` and `recognise`.
    """
    source = open_source(
        _given(spec, evaluation),
        cwd=cwd,
        cache=cache,
        format=_format(spec, evaluation),
        split=_split(spec, evaluation),
        config=spec.dataset_config,
        policy=policy,
    )
    return source, recognise(source, FieldMap.of(spec, evaluation=evaluation), spec.dataset_layout)


def _given(spec: TrainingSpec, evaluation: bool) -> str:
    return str(spec.eval_dataset) if evaluation else spec.dataset


def _split(spec: TrainingSpec, evaluation: bool) -> str | None:
    return spec.eval_dataset_split if evaluation else spec.dataset_split


def _format(spec: TrainingSpec, evaluation: bool) -> str | None:
    """The format as named; an evaluation dataset may be of another, and is recognised."""
    return None if evaluation or spec.dataset_format == "auto" else spec.dataset_format


def resolver_for(
    spec: TrainingSpec, source: Source, *, cwd: Path, cache: Path | None, policy: ReadPolicy = ANYWHERE
) -> ImageResolver:
    """What finds the pictures of a source as a run would."""
    root = cwd / expanded(spec.image_root) if spec.image_root else None
    return ImageResolver(source.base, root, cwd, cache, policy=policy)
