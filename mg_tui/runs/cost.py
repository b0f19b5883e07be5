"""GPU usage of a run in kilowatt hours, GPU hours and money."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mg_tui.core.errors import UsageError
from mg_tui.core.text import printable

PRICE_NAMES: Final = ("per_kwh", "per_gpu_hour", "per_hour")
# Of the option of `runs resume` and of the API.
RESUMED_MAX_COST_HELP: Final = (
    "Stop once the run has cost this much, earlier attempts included; needs a price in [cost]."
)
_JOULES_PER_KWH: float = 3_600_000.0  # in a kilowatt hour


@dataclass(frozen=True, slots=True)
class Cost:
    """Energy in kWh, GPU time in hours, and money in `currency`; None where unknown or without a price."""

    energy_kwh: float | None = None
    gpu_hours: float | None = None
    money: float | None = None
    currency: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "energy_kwh": self.energy_kwh,
            "gpu_hours": self.gpu_hours,
            "cost": self.money,
            "currency": self.currency if self.money is not None else None,
        }

    @property
    def formatted_money(self) -> str | None:
        """The money, with its currency."""
        return None if self.money is None else f"{self.money:,.2f} {printable(self.currency or '')}".rstrip()

    @property
    def summary(self) -> str | None:
        """Everything in one line; None when nothing is known, as on a CPU."""
        parts = [
            None if self.energy_kwh is None else f"{self.energy_kwh:.3g} kWh",
            None if self.gpu_hours is None else f"{self.gpu_hours:.2f} GPU hours",
            self.formatted_money,
        ]
        return ", ".join(part for part in parts if part) or None


def compute_cost(
    energy_j: float | None, gpu_seconds: float | None, prices: Mapping[str, Any], seconds: float | None = None
) -> Cost:
    """Compute the cost of a run.

    Args:
        energy_j: joules of the GPUs.
        gpu_seconds: seconds times GPUs.
        prices: the [cost] table of the settings: `per_kwh`, `per_gpu_hour`, `per_hour`, `currency`. The costs are
            added; if a price is set whose amount is unknown, `money` is None.
        seconds: of all attempts of the run together.
    """
    kwh = None if energy_j is None else energy_j / _JOULES_PER_KWH
    hours = None if gpu_seconds is None else gpu_seconds / 3600
    priced = [
        (prices.get("per_kwh"), kwh),
        (prices.get("per_gpu_hour"), hours),
        (prices.get("per_hour"), None if seconds is None else seconds / 3600),
    ]
    owed = [(price, amount) for price, amount in priced if price is not None]
    money = None
    if owed and all(amount is not None for _, amount in owed):
        money = sum(float(price) * float(amount or 0.0) for price, amount in owed)
    return Cost(kwh, hours, money, str(prices.get("currency") or default_currency()))


def cost_to_end(cost: Cost, seconds: float | None, eta_seconds: float | None) -> float | None:
    """What a run will still cost at its cost per second so far; None when that, or its end, is not known.

    Args:
        cost: so far.
        seconds: of all attempts together.
        eta_seconds: seconds to the last step.
    """
    if cost.money is None or not seconds or eta_seconds is None:
        return None
    return cost.money / seconds * eta_seconds


def require_price(prices: Mapping[str, Any]) -> None:
    """Refuse a limit of the cost where nothing is known about it.

    Raises:
        UsageError: no price is set.
    """
    if not any(prices.get(name) for name in PRICE_NAMES):
        raise UsageError(
            "max_cost: what a run costs is not known without a price",
            hint="set one in garden.toml, e.g. [cost] per_hour = 2.50, or MODEL_GARDEN_COST_PER_HOUR",
        )


def default_currency() -> str:
    """The currency used when none is set."""
    from mg_tui.core.settings import SETTINGS_BY_ID

    return str(SETTINGS_BY_ID["cost.currency"].default)
