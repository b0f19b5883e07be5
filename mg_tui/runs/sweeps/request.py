"""What a person asks of a sweep: from flags or from a file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.text import did_you_mean
from mg_tui.runs.sweeps.combinations import combine, describe_values, parse_over, read_axes
from mg_tui.runs.sweeps.folder import Rung

_TABLES: Final = ("train", "over", "sweep")
_KEYS: Final = ("name", "random", "keep", "after", "gpus")
_ALONE: Final = "when_done"  # would end the machine after the first run


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """A sweep to be.

    Attributes:
        train: options of train-vision that all runs have, by name.
        over: options that are varied: values, or a text as after `--over OPTION=`.
        name: the sweep's name, or None for one that is made up.
        random: how many combinations to draw; None for the whole grid.
        keep, after: how many runs continue after which steps, in pairs.
        gpus: the devices of each run, as after `--gpus`.
    """

    train: Mapping[str, Any] = field(default_factory=dict)
    over: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    random: int | None = None
    keep: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    gpus: str | None = None

    @property
    def rungs(self) -> tuple[Rung, ...]:
        """The comparisons that runs have to stand.

        Raises:
            UsageError: they do not narrow down, or a number is missing.
        """
        if len(self.keep) != len(self.after):
            raise UsageError(
                "keep and after belong together, one of each for every comparison.", hint="--keep 2 --after 200"
            )
        rungs = tuple(Rung(keep, after) for keep, after in zip(self.keep, self.after, strict=True))
        for place, rung in enumerate(rungs):
            if rung.keep < 1 or rung.after < 1:
                raise UsageError("keep and after are whole numbers from 1.")
            if place and (rung.after <= rungs[place - 1].after or rung.keep >= rungs[place - 1].keep):
                raise UsageError(
                    "Each comparison comes later and keeps fewer runs than the one before.",
                    why=f"{rungs[place - 1].keep} after {rungs[place - 1].after}, then {rung.keep} after {rung.after}",
                )
        return rungs


def read_sweep_file(path: Path) -> SweepRequest:
    """A sweep's file, TOML or JSON: the tables `train` and `over`, and `sweep` with the other values.

    Raises:
        UsageError: it cannot be read, or has an unknown table or key.
    """
    tables = _load(path)
    for name, table in tables.items():
        if name not in _TABLES or not isinstance(table, dict):
            raise UsageError(
                f"unknown table {name} in a sweep's file{did_you_mean(name, _TABLES)}",
                where=str(path),
                hint="tables are " + ", ".join(f"[{known}]" for known in _TABLES),
            )
    about = tables.get("sweep", {})
    for key in about:
        if key not in _KEYS:
            raise UsageError(
                f"unknown key {key} in [sweep]{did_you_mean(key, _KEYS)}",
                where=str(path),
                hint="keys are " + ", ".join(_KEYS),
            )
    try:
        return SweepRequest(
            train=tables.get("train", {}),
            over=tables.get("over", {}),
            name=None if about.get("name") is None else str(about["name"]),
            random=None if about.get("random") is None else int(about["random"]),
            keep=_numbers(about.get("keep")),
            after=_numbers(about.get("after")),
            gpus=None if about.get("gpus") is None else str(about["gpus"]),
        )
    except (TypeError, ValueError) as error:
        raise UsageError("[sweep]: a value is no whole number", where=str(path), why=str(error)) from None


def is_sweep_file(path: Path) -> bool:
    """Whether a file describes a sweep and is no dataset: TOML, or a JSON object with a table `over`."""
    if path.suffix == ".toml":
        return True
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            begins = file.read(1 << 20)
        return begins.lstrip().startswith(b"{") and b'"over"' in begins and isinstance(json.loads(begins), dict)
    except (OSError, ValueError):
        return False


def _load(path: Path) -> dict[str, Any]:
    import tomli

    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else tomli.loads(text)
    except OSError as error:
        raise UsageError("Cannot read the sweep's file.", where=str(path), why=error.strerror) from None
    except ValueError as error:
        raise UsageError("The sweep's file is not valid.", where=str(path), why=str(error)) from None


def _numbers(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(int(item) for item in value) if isinstance(value, list) else (int(value),)


def expand_request(request: SweepRequest, over: Sequence[str] = ()) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The varied options as plain values, and the combinations: values of the varied options, by name.

    Args:
        over: further options as after `--over`; they replace those of the request.

    Raises:
        UsageError: an option cannot be varied, or there are too many or too few combinations.
    """
    from mg_tui.core.options import options_of
    from mg_tui.core.spec import TrainingSpec

    options = options_of(TrainingSpec)
    if request.train.get(_ALONE):
        raise UsageError(
            f"{_ALONE}: would end the machine after the first run of the sweep", hint="start the sweep without it"
        )
    parsed = parse_over(over, options) if over else ()
    named = {axis.name for axis in parsed}
    rest = {name: values for name, values in request.over.items() if name not in named}
    axes = (*(read_axes(rest, options) if rest or not parsed else ()), *parsed)
    seed = request.train.get("seed", TrainingSpec.model_fields["seed"].default)
    try:
        combinations = combine(axes, count=request.random, seed=int(seed))
    except ValueError:
        raise UsageError(f"seed: got {seed!r}; give a whole number") from None
    return {axis.name: axis.as_list() for axis in axes}, combinations


def name_combination(number: int, total: int, values: Mapping[str, Any]) -> str:
    """`combination 3 of 6 (lora_r 8)`, for messages."""
    return f"combination {number} of {total} ({describe_values(values)})"
