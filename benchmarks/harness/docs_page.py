"""The measured part of a page of the documentation: what stands between two marks is replaced, the rest stays."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from harness.measurement import Measurement
from harness.tables import QUIET, aims_table, losses_table, ours_table, runs_table

BEGIN, END = "<!-- measured by benchmarks/train.py -->", "<!-- end of what was measured -->"


def format_page(
    measured: Sequence[Measurement],
    titles: dict[str, str],
    versions: dict[str, dict[str, str]],
    problems: dict[str, str],
    cores: int,
) -> str:
    """The tables with date, machine and versions."""
    busiest = max((one.others for one in measured if one.purpose == "speed"), default=0.0)
    quiet = "the machine was quiet" if busiest <= QUIET else "the machine was not quiet: take the figures with care"
    parts = [
        f"Measured {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} on {describe_machine()}, {cores} cores used, float32, "
        f"no GPU. In the timed runs others kept at most {busiest:.0%} of the cores busy: {quiet}.",
        aims_table(measured, titles),
        "### Every run",
        "Samples per second, seconds a step, MiB. `others` is the share of the cores that other processes kept busy.",
        runs_table(measured, titles),
        "### Losses of the first steps",
        losses_table(measured, titles),
        "### What our journal says",
        ours_table(measured),
        *(f"- {kind}: {what}" for kind, what in _decisions(measured).items()),
        "### Versions",
        "\n".join(
            f"- {titles.get(key, key)}: {', '.join(f'{name} {version}' for name, version in found.items())}"
            for key, found in versions.items()
        ),
        "\n".join(f"- {titles.get(key, key)} did not run: {why}" for key, why in problems.items()),
    ]
    return "\n\n".join(part for part in parts if part)


def write_page(page: Path, measured_text: str) -> None:
    """Put it between the marks of a page, which get to the end of it where it has none."""
    before = page.read_text() if page.exists() else "# Benchmarks\n"
    head, begin, rest = before.partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        head, tail = before.rstrip("\n") + "\n\n", "\n"
    page.write_text(f"{head}{BEGIN}\n\n{measured_text}\n\n{END}{tail}")


def describe_machine() -> str:
    """Processor, memory and system of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{name} ({', '.join(wide)}), {memory:.0f} GiB, {platform.system()} {platform.release()}"


def _decisions(measured: Sequence[Measurement]) -> dict[str, str]:
    wanted = ("layout", "vision cache")
    return {
        one.kind: "; ".join(f"{name}: {one.decisions[name]}" for name in wanted if name in one.decisions)
        for one in measured
        if one.peer == "ours" and one.purpose == "speed"
    }
