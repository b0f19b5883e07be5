"""Sweeps before they start and after they end: every combination checked, and whether the best one is better.

A combination passes the checks of `train-vision`. The data is read once for all combinations that read the same data in
the same way; the checks of the options are made for every one.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.config import Settings
from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.options import options_of
from mg_tui.core.spec import BEST_LOSS, BEST_NONE, TrainingSpec
from mg_tui.data.progress import Progress
from mg_tui.preflight.checks import PreflightResult, check_options, run_preflight
from mg_tui.runs.device_request import check_process_count
from mg_tui.runs.devices import find_devices
from mg_tui.runs.folder import new_run_id
from mg_tui.runs.launch import check_output_dir
from mg_tui.runs.sweeps.combinations import describe_values
from mg_tui.runs.sweeps.folder import Rung, Sweep, SweepRun, digest_of
from mg_tui.runs.sweeps.request import SweepRequest, expand_request, name_combination
from mg_tui.runs.sweeps.standing import TRAINING_LOSS, Standing, SweepWatch

# Options outside of these that the checks of the data depend on.
_DATA_GROUPS: Final = ("Model", "Data")
_DATA_OPTIONS: Final = frozenset({"eval_metrics", "eval_limit", "keep_best"})
_SURE: Final = 2.0  # standard errors of a difference that is called one


@dataclass(frozen=True, slots=True)
class CheckedSweep:
    """A sweep whose combinations have all passed the checks; `first` is the result for the first of them."""

    sweep: Sweep
    first: PreflightResult


def digest_request(name: str, request: SweepRequest, over: Sequence[str], cwd: Path) -> str:
    """A digest by which the same request is recognized."""
    values = (request.train, request.over, request.random, request.keep, request.after, request.gpus)
    return digest_of({"name": name, "values": values, "over": list(over), "cwd": str(cwd)})


def check_sweep(
    name: str,
    request: SweepRequest,
    settings: Settings,
    *,
    cwd: Path,
    defaults: Mapping[str, Any] | None = None,
    over: Sequence[str] = (),
    gpus: Sequence[str] = (),
    progress: Progress | None = None,
) -> CheckedSweep:
    """Check every combination of a sweep, before anything is written.

    Args:
        name: the sweep's name.
        request: what is asked for.
        cwd: the base of relative paths.
        defaults: values of options that the request does not have.
        over: further options to vary, as after `--over`.
        gpus: the devices of each run.
        progress: called with (rows done, rows) while images are checked.

    Raises:
        GardenError: the first combination that cannot be run, named.
    """
    described, combinations = expand_request(request, over)
    rungs = request.rungs
    specs: list[TrainingSpec] = []
    for number, values in enumerate(combinations, start=1):
        with _named(number, len(combinations), values):
            spec = _make_spec(name, number, {**(defaults or {}), **request.train, **values})
            _require_comparable(spec, rungs, len(combinations))
            if gpus:
                check_process_count(spec.processes, gpus, find_devices())
            check_output_dir(spec, cwd=cwd)
            same = [n for n, other in enumerate(specs, 1) if _values_of(other, values) == _values_of(spec, values)]
            if same:
                raise UsageError(f"the same values as combination {same[0]}")
            specs.append(spec)
    _require_one_metric(specs)
    resolved, first = _check_all(specs, combinations, settings, cwd, progress)
    metric, better = _deciding_metric(specs[0])
    runs = tuple(
        SweepRun(number, new_run_id(spec.name), _values_of(spec, described), spec.model_dump(mode="json"))
        for number, spec in enumerate(resolved, start=1)
    )
    asked = digest_request(name, request, over, cwd)
    return CheckedSweep(Sweep(name, runs, described, metric, better, rungs, tuple(gpus), str(cwd), asked), first)


class _named:  # noqa: N801 - used like a function
    """A block whose errors name the combination they are about."""

    def __init__(self, number: int, total: int, values: Mapping[str, Any]):
        self._name = name_combination(number, total, values)

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, GardenError):
            error.what = f"{self._name}: {error.what}"
            error.args = (error.what,)


def _values_of(spec: TrainingSpec, names: Iterable[str]) -> dict[str, Any]:
    """Options as the run has them, by name: numbers where the flags have texts."""
    values = spec.model_dump(mode="json")
    return {name: values[name] for name in names}


def _make_spec(name: str, number: int, values: Mapping[str, Any]) -> TrainingSpec:
    run = f"{name}-{number:02d}"
    spec = TrainingSpec.parse({**values, "name": run})
    if spec.nodes > 1:
        raise UsageError("nodes: the runs of a sweep are queued on one machine", hint="sweep without --nodes")
    changes: dict[str, Any] = {}
    if spec.output_dir is not None:  # one folder for each result
        changes["output_dir"] = str(Path(spec.output_dir) / run)
    if spec.vision_cache == "auto":  # images come again in the next run
        changes["vision_cache"] = "shared"
    return spec.model_copy(update=changes)


def _require_comparable(spec: TrainingSpec, rungs: Sequence[Rung], runs: int) -> None:
    """Raise UsageError when runs cannot be compared where the sweep is to compare them."""
    if not rungs:
        return
    if not (spec.eval_dataset or spec.eval_split):
        raise UsageError("keep: comparing runs needs evaluations", hint="add --eval-split 10% or --eval-dataset")
    interval = spec.eval_steps or spec.save_steps
    for rung in rungs:
        if rung.after % interval:
            raise UsageError(
                f"after: there is no evaluation after step {rung.after}",
                why=f"runs are evaluated every {interval} steps",
                hint=f"--eval-steps {math.gcd(rung.after, interval)}, or another --after",
            )
        if spec.max_steps is not None and rung.after >= spec.max_steps:
            raise UsageError(f"after: the run ends at step {spec.max_steps}, not later than {rung.after}")
    if rungs[0].keep >= runs:
        raise UsageError(f"keep: {rungs[0].keep} of {runs} runs is all of them")


def _require_one_metric(specs: Sequence[TrainingSpec]) -> None:
    named = sorted({spec.keep_best for spec in specs})
    if len(named) > 1:
        raise UsageError("keep_best: runs of a sweep are compared by one metric", why=f"got {' and '.join(named)}")


def _deciding_metric(spec: TrainingSpec) -> tuple[str, bool]:
    """The metric that runs are compared by, and whether more of it is better."""
    if spec.keep_best in (BEST_LOSS, BEST_NONE):
        return BEST_LOSS, False
    from mg_tui.metrics.registry import load_metrics

    return spec.keep_best, load_metrics().named([spec.keep_best])[0].higher_is_better


def _check_all(
    specs: Sequence[TrainingSpec],
    combinations: Sequence[Mapping[str, Any]],
    settings: Settings,
    cwd: Path,
    progress: Progress | None,
) -> tuple[list[TrainingSpec], PreflightResult]:
    """The specs with names in full, and the result of the checks of the first."""
    names = [opt.name for opt in options_of(TrainingSpec) if opt.group in _DATA_GROUPS or opt.name in _DATA_OPTIONS]
    known: dict[str, PreflightResult] = {}
    resolved = []
    for number, (spec, values) in enumerate(zip(specs, combinations, strict=True), start=1):
        key = json.dumps({name: getattr(spec, name) for name in names}, default=str)
        with _named(number, len(specs), values):
            if key in known:
                check_options(spec, settings, cwd)
            else:
                known[key] = run_preflight(spec, settings, cwd=cwd, progress=progress)
        resolved.append(known[key].resolve_spec(spec))
    return resolved, next(iter(known.values()))


def describe_best(watch: SweepWatch) -> list[str]:
    """Which run is the best by what, and whether that may be chance: sentences."""
    ranked = watch.ranked()
    if not ranked:
        return ["No run has a score yet."]
    best, metric = ranked[0], watch.metric
    score = watch.score(best)
    assert score is not None
    unfinished = sum(not _has_ended(each) for each in watch.standings)
    lines = [
        f"{'Best' if not unfinished else 'Best so far'} by {metric}: run {best.run.number} "
        f"({describe_values(best.run.values)}) with {score.value:.4g} at step {score.step}."
    ]
    if metric == TRAINING_LOSS:
        lines.append(
            "Nothing is held out: the training loss says how well rows are learned, not how well new ones are "
            "answered, and cannot be compared between batch sizes. Add --eval-split 10%."
        )
    for place, rung in enumerate(watch.sweep.rungs[: len(watch.state.kept)]):
        gone = sum(watch.state.dropped_at(each.run.number) == place for each in watch.standings)
        lines.append(f"Given up after step {rung.after}: {gone}; what they would have come to is not known.")
    return [*lines, *_describe_chance(watch, ranked)]


def _has_ended(standing: Standing) -> bool:
    return standing.state is None or standing.view.lifecycle in ("finished", "failed", "stopped")


def _describe_chance(watch: SweepWatch, ranked: Sequence[Standing]) -> list[str]:
    """Whether the best run may be the best by chance: over seeds where they were varied, else over rows."""
    if len(ranked) < 2:
        return []
    if "seed" in ranked[0].run.values:
        return _compare_seeds(watch, ranked)
    if watch.metric not in ("loss", TRAINING_LOSS) and (sentence := _compare_answers(watch, ranked)):
        return [sentence]
    first, second = watch.score(ranked[0]), watch.score(ranked[1])
    assert first is not None and second is not None
    change = abs(first.value - second.value)
    return [
        f"Run {ranked[1].run.number} is next with {second.value:.4g}, a difference of {change:.2g}: each has one seed, "
        "so how much of it is chance is not known. Add --over seed=1,2,3."
    ]


def _compare_seeds(watch: SweepWatch, ranked: Sequence[Standing]) -> list[str]:
    """The two best combinations by their means over the seeds, and the difference in standard errors."""
    groups: dict[str, list[float]] = {}
    for standing in ranked:
        score = watch.score(standing)
        others = {name: value for name, value in standing.run.values.items() if name != "seed"}
        if score is not None:
            groups.setdefault(describe_values(others), []).append(score.value)
    if len(groups) == 1:
        values = next(iter(groups.values()))
        return [
            f"Only the seed differs: mean {statistics.mean(values):.4g}, "
            f"standard deviation {statistics.stdev(values):.2g}, which is how large chance is here."
        ]
    sign = -1 if watch.sweep.higher_is_better and watch.metric != TRAINING_LOSS else 1
    order = sorted(groups, key=lambda name: sign * statistics.mean(groups[name]))
    first, second = (groups[name] for name in order[:2])
    change = abs(statistics.mean(first) - statistics.mean(second))
    text = (
        f"Best over the seeds: {order[0]} with mean {statistics.mean(first):.4g}; next is {order[1]} with "
        f"{statistics.mean(second):.4g}"
    )
    if min(len(first), len(second)) < 2:
        return [f"{text}: one seed each is too few to tell a difference from chance."]
    error = math.sqrt(statistics.variance(first) / len(first) + statistics.variance(second) / len(second))
    if not error:
        return [f"{text}, the same for every seed."]
    verdict = "more than chance explains" if change > _SURE * error else "within noise: do not choose by it"
    return [f"{text}. The difference of {change:.2g} is {change / error:.1f} standard errors, {verdict}."]


def _compare_answers(watch: SweepWatch, ranked: Sequence[Standing]) -> str | None:
    """The answers of the two best runs to the same rows, by a paired bootstrap; None when they are not there."""
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.metrics.results import compare_results, read_results

    folders = []
    for standing in ranked[:2]:
        score = watch.score(standing)
        assert score is not None
        folders.append(standing.folder.evaluations_dir / f"step-{score.step:06d}")
    try:
        second, first = read_results(folders[1]), read_results(folders[0])
        compared = compare_results(second, first, load_metrics())
    except GardenError:
        return None
    found = next((each for each in compared if each.name == watch.metric), None)
    if found is None:
        return None
    return f"Against run {ranked[1].run.number}, the next best, on the same rows: {found.sentence}"
