"""Numbers as text. Every function takes None or NaN and returns a dash for it."""

from math import isfinite, isinf, isnan
from typing import Final

DASH: Final = "–"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


def duration(seconds: float | None) -> str:
    """Seconds as at most two units: `8s`, `4m 12s`, `2h 05m`, `3d 4h`."""
    if seconds is None or not isfinite(seconds):
        return DASH
    rounded = max(int(seconds + 0.5), 0)
    if rounded < 60:
        return f"{rounded}s"
    if rounded < 3600:
        return f"{rounded // 60}m {rounded % 60:02d}s"
    if rounded < 86400:
        return f"{rounded // 3600}h {rounded % 3600 // 60:02d}m"
    return f"{rounded // 86400}d {rounded % 86400 // 3600}h"


def age(seconds: float | None) -> str:
    """How long ago, as one unit: `now`, `4m`, `2h`, `3d`."""
    if seconds is None or not isfinite(seconds):
        return DASH
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "now"


def size(count: float | None) -> str:
    """Bytes with a binary unit, three figures: `512 MiB`, `9.54 GiB`."""
    if count is None or not isfinite(count):
        return DASH
    value = float(count)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:  # compact() would write 1000 MiB
            return f"{value:.0f} {unit}" if unit == "B" else f"{compact(value)} {unit}"
        value /= 1024
    return DASH


def unit_of(count: float) -> tuple[float, str]:
    """The binary unit that `size` writes a number of bytes in: its bytes and its name."""
    power = next((index for index in range(len(_UNITS)) if count / 1024**index < 999.5), len(_UNITS) - 1)
    return 1024.0**power, _UNITS[power]


def used_of_total(used: float, total: float) -> str:
    """Used and total in the unit of the total: `54.1/79.6 GiB`."""
    unit = next((index for index in range(len(_UNITS)) if total / 1024**index < 1000), len(_UNITS) - 1)
    scale = 1024.0**unit
    return f"{compact(used / scale)}/{compact(total / scale)} {_UNITS[unit]}"


def compact(value: float | None) -> str:
    """Three figures, for sizes and rates: `9.54`, `54.1`, `812`, `12.3k`."""
    if value is None or isnan(value):
        return DASH
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= scale:
            scale = 1e3 if suffix == "k" else scale
            return f"{value / scale:.1f}{suffix}"
    if abs(value) >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def loss(value: float | None) -> str:
    """Four figures, for losses and norms; NaN is written out, as it matters: `0.4213`, `12.31`, `NaN`."""
    if value is None:
        return DASH
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "∞" if value > 0 else "-∞"
    magnitude = abs(value)
    if magnitude and (magnitude < 1e-3 or magnitude >= 1e5):
        return scientific(value)
    return f"{value:.{0 if magnitude >= 1000 else 1 if magnitude >= 100 else 2 if magnitude >= 10 else 4}f}"


def scientific(value: float | None) -> str:
    """A learning rate: `2.00e-5`."""
    if value is None or not isfinite(value):
        return DASH
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float | None) -> str:
    """A share of one as a whole percentage: `62%`; less than one is never 100%."""
    if share is None or not isfinite(share):
        return DASH
    return f"{min(int(share * 100), 99) if share < 1 else 100}%"


def whole(value: float | None) -> str:
    """A whole number: `64`."""
    return DASH if value is None else f"{value:.0f}"


def parameters(count: int) -> str:
    """A number of parameters: `30.0M`, `3.8B`."""
    return compact(count).replace("G", "B")


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 run`, `3 runs`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def unit_after(number: str, unit: str) -> str:
    """A unit as it stands after a number: `1 example`, `8 batches`."""
    if number != "1" or not unit.endswith("s"):
        return unit
    return unit[:-2] if unit.endswith(("ches", "sses")) else unit[:-1]


def as_typed(value: object) -> str:
    """A value as it is typed: `2e-5`, `on`, `tensorboard, wandb`; empty for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        if 0 < abs(value) < 1e-3:
            mantissa, exponent = f"{value:.15e}".split("e")
            short = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
            return short if float(short) == value else repr(value)
        return repr(value).removesuffix(".0")
    if isinstance(value, list | tuple):
        return ", ".join(map(as_typed, value))
    return str(value)
