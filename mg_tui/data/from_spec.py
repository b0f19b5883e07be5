"""The datasets of a run as its options describe them; used by the CLI, the dashboard and the engine."""

from collections.abc import Callable, Iterator
from pathlib import Path

from mg_tui.core.dataset_parts import DatasetPart
from mg_tui.core.paths import expand_user
from mg_tui.core.spec import TrainingSpec
from mg_tui.data import mixture
from mg_tui.data.dataset import Dataset, load_dataset
from mg_tui.data.field_map import FieldMap
from mg_tui.data.image_probe import ProbeDepth
from mg_tui.data.image_resolver import ImageResolver
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.data.repeats import row_repeats
from mg_tui.data.sources.base import DetectedFormat, Source
from mg_tui.data.sources.detection import detect_format
from mg_tui.data.sources.opener import open_source


def load_dataset_from_spec(
    spec: TrainingSpec,
    dataset: str | None = None,
    *,
    evaluation: bool = False,
    cwd: Path,
    cache: Path | None,
    check_images: ProbeDepth,
    progress: Callable[[int, int], None] | None = None,
    policy: ReadPolicy = ALLOW_ALL,
) -> Dataset:
    """The dataset of a run, or its evaluation dataset; see `load_dataset`.

    Args:
        spec: the run; relative paths in it are resolved against `cwd`.
        dataset: another dataset than the spec's, with the same fields; its format is detected.
    """
    other = dataset is not None and dataset != (spec.eval_dataset if evaluation else spec.dataset)

    def load(own: TrainingSpec, name: str, repeats: Iterator[int] | None = None) -> Dataset:
        return load_dataset(
            name,
            FieldMap.from_spec(own, evaluation=evaluation),
            image_root=cwd / expand_user(own.image_root) if own.image_root else None,
            system_prompt=own.system_prompt,
            cwd=cwd,
            cache=cache,
            check_images=check_images,
            progress=progress,
            format=None if other else _format_name(own, evaluation),
            layout=own.dataset_layout,
            split=None if other else _split_name(own, evaluation),
            config=None if other else _config_name(own, evaluation, cwd),
            encoding=own.dataset_encoding,
            json_field=None if other or evaluation else own.json_field,
            policy=policy,
            repeats=repeats,
        )

    def load_part(part: DatasetPart, index: int) -> Dataset:
        own, repeats = mixture.part_spec(spec, part), row_repeats(part.weight, spec.seed, index)
        if part.weight < 1:
            return load(own, part.name, repeats)  # rows that are not taken are not read
        whole = load(own, part.name)  # cached as the dataset that it is
        return mixture.repeat_rows(whole, repeats) if part.weight != 1 else whole

    if not evaluation and not other:
        parts = mixture.parts_of(spec, cwd)
        if mixture.is_mixture(parts):  # `progress` is of each in turn
            return mixture.combine_datasets(parts, [load_part(part, index) for index, part in enumerate(parts)])
    return load(spec, dataset or _dataset_name(spec, evaluation))


def open_source_from_spec(
    spec: TrainingSpec, *, evaluation: bool = False, cwd: Path, cache: Path | None, policy: ReadPolicy = ALLOW_ALL
) -> tuple[Source, DetectedFormat]:
    """The source of a run's dataset, or of its evaluation dataset, with its detected format.

    Raises:
        DataError, EnvironmentProblem: as `open_source` and `detect_format`.
    """
    source = open_source(
        _dataset_name(spec, evaluation),
        cwd=cwd,
        cache=cache,
        format=_format_name(spec, evaluation),
        split=_split_name(spec, evaluation),
        config=_config_name(spec, evaluation, cwd),
        encoding=spec.dataset_encoding,
        json_field=None if evaluation else spec.json_field,
        policy=policy,
    )
    return source, detect_format(source, FieldMap.from_spec(spec, evaluation=evaluation), spec.dataset_layout)


def _dataset_name(spec: TrainingSpec, evaluation: bool) -> str:
    return str(spec.eval_dataset) if evaluation else spec.dataset


def _split_name(spec: TrainingSpec, evaluation: bool) -> str | None:
    return spec.eval_dataset_split if evaluation else spec.dataset_split


def _config_name(spec: TrainingSpec, evaluation: bool, cwd: Path) -> str | None:
    """The configuration. An evaluation dataset shares the training dataset's, unless it is a file, which has none."""
    name = _dataset_name(spec, evaluation)
    return None if evaluation and (cwd / expand_user(name)).is_file() else spec.dataset_config


def _format_name(spec: TrainingSpec, evaluation: bool) -> str | None:
    """The explicitly set format; that of an evaluation dataset may differ and is always detected."""
    return None if evaluation or spec.dataset_format == "auto" else spec.dataset_format


def image_resolver_from_spec(
    spec: TrainingSpec, source: Source, *, cwd: Path, cache: Path | None, policy: ReadPolicy = ALLOW_ALL
) -> ImageResolver:
    """The resolver that finds the images of a source as a run does."""
    root = cwd / expand_user(spec.image_root) if spec.image_root else None
    return ImageResolver(source.base, root, cwd, cache, policy=policy)
