"""The results as Markdown."""

from collections.abc import Iterator
from typing import Any

GIB = 2**30


def format_report(result: dict[str, Any]) -> str:
    """A page of what was measured, what was estimated of it, and what could not be done."""
    return "\n".join(_report_lines(result)) + "\n"


def _report_lines(result: dict[str, Any]) -> Iterator[str]:
    about = result["machine"]
    yield "# On a GPU" if not result["dry_run"] else "# A dry run: no figure here means anything"
    yield ""
    versions = ", ".join(f"{name} {about[name]}" for name in ("torch", "transformers", "peft", "bitsandbytes"))
    yield f"{result['date']}, {about['device']}, {versions}, Python {about['python']}."
    yield ""
    if result["grid"]:
        yield from _step_lines(result["grid"])
    if "attention" in result:
        yield from _attention_lines(result["attention"]["cases"])
    if "ladder" in result:
        yield from _ladder_lines(result["ladder"])
    if "nvml" in result:
        grew = result["nvml"]["grew_by"]
        yield "## NVML"
        yield ""
        yield f"GPUs seen: {len(result['nvml']['gpus'])}. With 1 GiB more held, memory in use grew by {_format_gib(grew)}."
        yield ""
    yield "## Not done"
    yield ""
    if not result["not_done"]:
        yield "Everything was done."
    for name, why in result["not_done"].items():
        yield f"- {name}: {why}"


def _step_lines(cases: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Steps, and the estimate against the peak"
    yield ""
    yield "Peak and estimate are of what torch's allocator held, in GiB; the estimate has its margin. Tokens a second"
    yield "count those of the examples, shared ones as often as they are shown."
    yield ""
    yield "| step | laid out | seconds | samples/s | tokens/s | tensors | held | estimate | off by |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    worst = 0.0
    for case in cases:
        peak, expected = case["peak"]["reserved"], case["estimate"]["held"]
        off = "–"
        if peak:
            worst = max(worst, abs(expected / peak - 1))
            off = f"{expected / peak - 1:+.1%}"
        yield (
            f"| {case['name']} | {case['laid_out']:,} | {case['seconds']:.3f} | {case['samples_per_second']:.2f} | "
            f"{case['tokens_per_second']:,.0f} | {_format_gib(case['peak']['allocated'])} | {_format_gib(peak)} | {_format_gib(expected)} "
            f"| {off} |"
        )
    yield ""
    if worst:
        yield f"Largest difference: {worst:.1%} (the aim is 10 %)."
        yield ""


def _attention_lines(cases: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Attention over a packed layout, forward and backward"
    yield ""
    yield "| images x tokens, questions x tokens | length | one mask, ms | blocks, ms | flex, ms | differ by |"
    yield "|---|---:|---:|---:|---:|---:|"
    for case in cases:
        ways = [case.get(name) for name in ("whole mask", "blocks", "flex")]
        times = " | ".join("–" if way is None else f"{way['milliseconds']:.2f}" for way in ways)
        worst = max((way["difference"] for way in ways if way is not None), default=0.0)
        shape = f"{case['images']} x {case['shown']}, {case['questions']} x {case['text']}"
        yield f"| {shape} | {case['length']:,} | {times} | {worst:.2g} |"
    yield ""


def _ladder_lines(found: dict[str, Any]) -> Iterator[str]:
    yield "## Out of memory, really"
    yield ""
    relaid = found["relaid"]
    yield (
        f"With less memory than its first layout takes, a run laid out its steps smaller {len(relaid)} times, at last "
        f"to {relaid[-1]['budget']} tokens a pass; its losses differ from those without a limit by at most "
        f"{found['largest_relative_difference']:.1e} (relative)."
    )
    yield ""
    for probe in found["probe"]:
        yield f"The first-step probe said: {probe['why']}."
        yield ""


def _format_gib(count: float | None) -> str:
    return "–" if count is None else f"{count / GIB:.2f}"
