"""A memory estimate as plain values: what `estimate --json` prints and the API answers."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from mg_tui.hardware.memory import MemoryAdvisor
from mg_tui.hardware.memory.candidates import DeviceFit

# Keys of --json that differ from the names of the fields they hold; scripts rely on them.
_WORKLOAD_KEYS: Final = {"supervised": "learned"}


def estimate_record(advisor: MemoryAdvisor, fits: Sequence[DeviceFit], why_no_gpu: str | None) -> dict[str, Any]:
    """An estimate as plain values: memory in bytes by part, and for each device whether it fits and what would."""

    record = advisor.estimate().as_dict()
    record["work"] = {_WORKLOAD_KEYS.get(name, name): value for name, value in record["work"].items()}
    return {
        "base_model": advisor.spec.base_model,
        **record,
        "places": [
            {
                **asdict(fit.place),
                "fits": fit.fits,
                "largest_batch": fit.batch,
                "largest_pixels": fit.pixels,
                "parallel": fit.parallel,
                "peak": fit.peak,
                "remedies": [
                    {"changes": fix.changes, "flags": fix.flags, "cost": fix.cost, "peak": fix.estimate.peak}
                    for fix in fit.suggestions
                ],
            }
            for fit in fits
        ],
        "why_no_gpu": why_no_gpu,
    }
