"""Measurements as tables, in Markdown."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.family_models import BenchmarkModel
from harness.measurement import FIRST_COUNTED_STEP, Measurement, median
from harness.synthetic_data import KINDS

OURS = "ours"
MAX_OTHER_LOAD = 0.05  # others may keep this share of the cores busy
Figure = Callable[[Measurement], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the table. `ratio` is aimed at: at least, where more is better, else at most; None: just for reading."""

    kind: str | None
    title: str
    ratio: float | None
    more_is_better: bool
    purpose: str
    ours: Figure
    peers: Figure
    unit: str


def _first_epoch_rate(measured: Measurement) -> float | None:
    return measured.rate(measured.first_epoch())


def _later_epochs_rate(measured: Measurement) -> float | None:
    return measured.rate(measured.later_epochs())


def _targets(model: BenchmarkModel) -> list[Target]:
    expected: tuple[tuple[str, float, float | None], ...] = (("vqa", model.first_aim, model.later_aim),)
    if model.key == "qwen2_5_vl":
        expected = (*expected, ("captions", 5.0, None), ("single", 1.2, 1.6))
    aims = []
    for kind, first, later in expected:
        title = KINDS[kind].title
        aims.append(
            Target(
                kind, f"{title}, first epoch", first, True, "speed", _first_epoch_rate, _first_epoch_rate, "samples/s"
            )
        )
        # A peer does in later epochs what it does in the first.
        aims.append(
            Target(
                kind,
                f"{title}, second epoch on",
                later,
                True,
                "speed",
                _later_epochs_rate,
                _first_epoch_rate,
                "samples/s",
            )
        )
    for kind, _first_aim, _later_aim in expected:
        title = f"peak memory above the loaded model, {KINDS[kind].title}"
        aims.append(Target(kind, title, 0.8, False, "memory", _memory_above_model, _memory_above_model, "MiB"))
    aims.append(
        Target(
            None,
            "command to first optimizer step begun",
            None,
            False,
            "speed",
            _first_step_begin,
            _first_step_begin,
            "s",
        )
    )
    aims.append(
        Target(None, "command to first optimizer step done", 0.6, False, "speed", _first_step_end, _first_step_end, "s")
    )
    return aims


def _memory_above_model(measured: Measurement) -> float:
    return measured.above_mib


def _first_step_begin(measured: Measurement) -> float:
    return measured.first_begun


def _first_step_end(measured: Measurement) -> float:
    return measured.first_done


def targets_table(measured: Sequence[Measurement], titles: dict[str, str], model: BenchmarkModel) -> str:
    """The table of the aims: best peer, ours, ratio; of what is measured of this model."""
    lines = ["| data | aim | best peer | its figure | ours | ratio | reached |", "|---|---|---|---|---|---|---|"]
    for aim in _targets(model):
        if aim.purpose not in model.what:
            continue
        among = [m for m in measured if m.purpose == aim.purpose and aim.kind in (None, m.kind)]
        ours = _medians_of(among, aim.ours, OURS)
        theirs = {who: figure for who, figure in _medians_by_setting(among, aim.peers).items() if who[0] != OURS}
        choose = max if aim.more_is_better else min
        sign = "≥" if aim.more_is_better else "≤"
        expected = "–" if aim.ratio is None else f"{sign} {aim.ratio:g}x"
        if not theirs or not ours:
            lines.append(f"| {aim.title} | {expected} | – | – | – | – | not measured |")
            continue
        best, figure = choose(theirs.items(), key=lambda item: item[1])
        own = choose(ours)
        ratio = own / figure
        others = max(m.others for m in among if m.peer in (OURS, best[0]))
        reached = (
            _reached(ratio, aim) if aim.purpose == "memory" or others <= MAX_OTHER_LOAD else "the machine was not quiet"
        )
        lines.append(
            f"| {aim.title} | {expected} | {titles[best[0]]} {best[1]} | {figure:.3g} {aim.unit} "
            f"| {own:.3g} {aim.unit} | {ratio:.2f}x | {reached} |"
        )
    return "\n".join(lines)


def _reached(ratio: float, aim: Target) -> str:
    if aim.ratio is None:
        return "–"
    return "yes" if (ratio >= aim.ratio if aim.more_is_better else ratio <= aim.ratio) else "no"


Setting = tuple[str, str]  # the peer's key, and batch x accumulation


def _medians_by_setting(measured: Iterable[Measurement], figure: Figure) -> dict[Setting, float]:
    """For each peer and layout, the median over repeats."""
    result: dict[Setting, list[float | None]] = {}
    for item in measured:
        result.setdefault((item.peer, f"{item.batch}x{item.accumulate}"), []).append(figure(item))
    return {setting: value for setting, values in result.items() if (value := median(values)) is not None}


def _medians_of(measured: Iterable[Measurement], figure: Figure, peer: str) -> list[float]:
    return [value for who, value in _medians_by_setting(measured, figure).items() if who[0] == peer]


def runs_table(measured: Sequence[Measurement], titles: dict[str, str]) -> str:
    """Every run, in the order of data, purpose and peer."""
    lines = [
        "| data | run | batch | first epoch | later epochs | s a step | loaded | above it | first step begun | done "
        "| others |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for item in sorted(measured, key=lambda m: (list(KINDS).index(m.kind), m.purpose == "memory", m.peer, m.batch)):
        counted = item.seconds[FIRST_COUNTED_STEP - 1 :]
        each = sum(counted) / len(counted) if counted else None
        name = titles[item.peer] + (", checkpointing" if item.checkpointing else "")
        lines.append(
            f"| {item.kind} | {name} | {item.batch}x{item.accumulate} | {_number(_first_epoch_rate(item))} "
            f"| {_number(_later_epochs_rate(item))} | {_number(each)} | {item.loaded_mib:,.0f} MiB "
            f"| {item.above_mib:,.0f} MiB{f' ({item.workers_mib:,.0f} in data workers)' if item.workers_mib else ''} "
            f"| {item.first_begun:.1f} s | {item.first_done:.1f} s | {item.others:.0%} |"
        )
    return "\n".join(lines)


def losses_table(measured: Sequence[Measurement], titles: dict[str, str], steps: int = 6) -> str:
    """Losses of the first steps beside each other, with the tokens learned in them."""
    lines = [
        f"| data | run | batch | {' | '.join(f'step {step + 1}' for step in range(steps))} | supervised tokens |",
        "|---|---|---|" + "---|" * (steps + 1),
    ]
    displayed = set()
    for item in sorted(measured, key=lambda m: (list(KINDS).index(m.kind), m.peer, m.batch)):
        key = (item.kind, item.peer, item.batch)
        if item.purpose == "speed" and key not in displayed:
            displayed.add(key)
            losses = [f"{loss:.4f}" for loss in item.losses[:steps]] + ["–"] * (steps - len(item.losses))
            supervised = " ".join(str(count) for count in item.supervised[:steps])
            lines.append(
                f"| {item.kind} | {titles[item.peer]} | {item.batch}x{item.accumulate} "
                f"| {' | '.join(losses)} | {supervised} |"
            )
    return "\n".join(lines)


def journal_table(measured: Sequence[Measurement]) -> str:
    """What our journal says of our own runs."""
    lines = [
        "| data | epochs | tokens | of these computed | images encoded | from the cache | waiting for data |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in measured:
        if item.peer == OURS and item.purpose == "speed" and item.repeat == 0:
            for name, steps in (("first", item.first_epoch()), ("later", item.later_epochs())):
                seconds = sum(item.seconds[step] for step in steps)
                if steps:
                    lines.append(
                        f"| {item.kind} | {name} | {_sum(item.tokens, steps):,} | {_sum(item.laid_out, steps):,} "
                        f"| {_sum(item.encoded, steps)} | {_sum(item.cached, steps)} "
                        f"| {sum(item.waited[step] for step in steps) / seconds:.1%} |"
                    )
    return "\n".join(lines)


def _sum(values: Sequence[int], steps: Sequence[int]) -> int:
    return sum(values[step] for step in steps)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
