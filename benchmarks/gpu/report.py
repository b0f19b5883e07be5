"""The results as Markdown: `python report.py gpu.json` prints the report of a results file. Imports no torch."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import report_tables

SECTIONS: Mapping[str, Callable[[report_tables.TaskResults, Mapping[str, Any]], Iterable[str]]] = {
    "nvml": report_tables.nvml_lines,
    "runs": report_tables.run_lines,
    "estimates": report_tables.estimate_lines,
    "speed": report_tables.speed_lines,
    "attention": report_tables.attention_lines,
    "ablations": report_tables.ablation_lines,
    "fsdp2": report_tables.fsdp_lines,
    "generation": report_tables.generation_lines,
}


def format_report(content: Mapping[str, Any]) -> str:
    """The report of a results file's content. A section that cannot be formatted is replaced by the error."""
    return "\n".join(_report_lines(content)) + "\n"


def _report_lines(content: Mapping[str, Any]) -> Iterator[str]:
    pieces: Mapping[str, Any] = content["pieces"]
    machine = pieces.get("machine", {}).get("tasks", {}).get("machine", {}).get("values", {})
    yield "# A dry run: no figure here means anything" if content["dry_run"] else "# GPU measurements"
    yield ""
    packages = machine.get("packages", {})
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
    yield f"{content['date']}, {machine.get('device', 'no device')}, Python {machine.get('python', '?')}; {versions}."
    yield f"Model: {content['model']} with random weights. Time limit: {content['minutes']:g} minutes."
    if "bfloat16_tflops" in machine:
        yield f"A bfloat16 product of 8,192 x 8,192 reaches {machine['bfloat16_tflops']:.0f} TFLOP/s."
    yield ""
    for key, section in SECTIONS.items():
        if key in pieces:
            yield f"## {pieces[key]['title']}"
            yield ""
            try:
                yield from list(section(pieces[key]["tasks"], machine))
            except Exception as error:  # the figures are in the JSON file; the other sections are still needed
                yield f"This section cannot be formatted: {type(error).__name__}: {error}"
            yield ""
    yield from _not_done_lines(pieces)


def _not_done_lines(pieces: Mapping[str, Any]) -> Iterator[str]:
    tasks = [(name, task) for piece in pieces.values() for name, task in piece["tasks"].items()]
    skipped = [(name, task) for name, task in tasks if task["status"] == "skipped"]
    failed = [(name, task) for name, task in tasks if task["status"] not in ("done", "skipped")]
    yield "## Not done"
    yield ""
    if not skipped and not failed:
        yield "Everything was done."
    for name, task in skipped:
        yield f"- {name}: skipped: {task.get('why')}"
    for name, task in failed:
        yield f"- {name}: {task['status']} after {task.get('seconds', 0)} s: {task.get('why')}"
        if task.get("log"):
            yield ""
            yield "  ```"
            yield from (f"  {line[:200]}" for line in task["log"])
            yield "  ```"
            yield ""


if __name__ == "__main__":
    print(format_report(json.loads(Path(sys.argv[1]).read_text())), end="")
