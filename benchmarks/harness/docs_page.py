"""The measured part of a documentation page: the text between two marks is replaced."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from harness.family_models import BenchmarkModel
from harness.measurement import Measurement
from harness.tables import MAX_OTHER_LOAD, journal_table, losses_table, runs_table, targets_table

BEGIN, END = "<!-- measured by benchmarks/train.py{} -->", "<!-- end of what was measured{} -->"

USUAL_MODEL = "qwen2_5_vl"  # whose tables are the first of the page


def format_page(
    measured: Sequence[Measurement],
    titles: dict[str, str],
    versions: dict[str, dict[str, str]],
    problems: dict[str, str],
    cores: int,
    model: BenchmarkModel,
) -> str:
    """The tables with date, machine and versions."""
    level = "###" if model.key == USUAL_MODEL else "####"
    busiest = max((item.others for item in measured if item.purpose == "speed"), default=0.0)
    quiet = (
        "the machine was quiet"
        if busiest <= MAX_OTHER_LOAD
        else "the machine was not quiet: take the figures with care"
    )
    parts = [
        f"Measured {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} on {describe_machine()}, {cores} cores used, "
        f"float32, no GPU. In the timed runs others kept at most {busiest:.0%} of the cores busy: {quiet}.",
        targets_table(measured, titles, model),
        f"{level} Every run",
        "Samples per second, seconds a step, MiB. `others` is the share of the cores that other processes kept busy.",
        runs_table(measured, titles),
        f"{level} Losses of the first steps",
        losses_table(measured, titles),
        f"{level} What our journal says",
        journal_table(measured),
        *(f"- {kind}: {what}" for kind, what in _decisions(measured).items()),
        f"{level} Versions",
        "\n".join(
            f"- {titles.get(key, key)}: {', '.join(f'{name} {version}' for name, version in result.items())}"
            for key, result in versions.items()
        ),
        "\n".join(f"- {titles.get(key, key)} did not run: {why}" for key, why in problems.items()),
    ]
    return "\n\n".join(part for part in parts if part)


def write_page(page: Path, measured_text: str, model: BenchmarkModel) -> None:
    """Replace the text between the model's marks of a page; append text and marks to a page without marks."""
    before = page.read_text() if page.exists() else "# Benchmarks\n"
    asked = "" if model.key == USUAL_MODEL else f" --model {model.key}"
    first, last = BEGIN.format(asked), END.format(asked)
    head, begin, rest = before.partition(first)
    _old, end, tail = rest.partition(last)
    if not begin or not end:
        head, tail = before.rstrip("\n") + "\n\n", "\n"
    page.write_text(f"{head}{first}\n\n{measured_text}\n\n{last}{tail}")


def describe_machine() -> str:
    """Processor, memory and system of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{name} ({', '.join(wide)}), {memory:.0f} GiB, {platform.system()} {platform.release()}"


def _decisions(measured: Sequence[Measurement]) -> dict[str, str]:
    expected = ("layout", "vision cache")
    return {
        item.kind: "; ".join(f"{name}: {item.decisions[name]}" for name in expected if name in item.decisions)
        for item in measured
        if item.peer == "ours" and item.purpose == "speed"
    }
