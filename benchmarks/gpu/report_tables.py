"""The sections of the report. Any value may be missing, since a task may have been interrupted. Imports no torch."""

from collections.abc import Iterator, Mapping
from typing import Any

GIB, MIB = 2**30, 2**20
MISSING = "–"

Values = Mapping[str, Any]
TaskResults = Mapping[str, Values]  # of a piece, by task: status, seconds, values


def nvml_lines(tasks: TaskResults, _machine: Values) -> Iterator[str]:
    """Memory growth, and fields that the device does not report."""
    values = _values(tasks, "NVML")
    if "growth" in values:
        yield f"After allocating 1 GiB, memory in use grew by {_format_gib(values['growth'])} GiB."
        yield f"Not reported by this device: {', '.join(values['unknown']) or 'nothing'}."


def run_lines(tasks: TaskResults, _machine: Values) -> Iterator[str]:
    """A line for each smoke test."""
    yield from _table_head("test", "", "seconds", "result")
    for name, task in tasks.items():
        yield _table_row(name, task["status"], task.get("seconds", MISSING), _describe_test(task.get("values", {})))


def _describe_test(values: Values) -> str:
    parts = []
    if values.get("relaid"):
        budget = values["relaid"][-1]["budget"]
        parts.append(f"layout shrunk {len(values['relaid'])} times, to {budget} tokens per forward pass")
    if "losses" in values:
        parts.append("losses " + ", ".join(f"{loss:.4f}" for loss in values["losses"]))
    if "largest_relative_difference" in values:
        parts.append(f"largest relative difference {values['largest_relative_difference']:.1e}")
    if "relative_gradient_difference" in values:
        parts.append(f"trial {values['trial']}, gradients differ by {values['relative_gradient_difference']:.1e}")
    if "identical" in values:
        parts.append("bit-identical" if values["identical"] else "not bit-identical")
    if "optimizer" in values:
        fused = " (fused)" if values["fused"] else ""
        parts.append(f"{values['optimizer']}{fused}, attention {values['attention']}, loss {values['loss']}")
    return "; ".join(parts)


def estimate_lines(tasks: TaskResults, _machine: Values) -> Iterator[str]:
    """Estimates and peaks, and what they say about the assumptions."""
    yield "Peaks in GiB: of tensors (allocated), reserved by torch's allocator, and of the process by NVML."
    yield ""
    kinds = (("allocated", "tensors"), ("reserved", "reserved"), ("driver", "device"))
    columns = [column for kind, _key in kinds for column in (kind, "estimate", "error")]
    yield from _table_head("step", "laid out", "seconds", *columns)
    errors: dict[str, list[float]] = {kind: [] for kind, _key in kinds}
    contexts: list[float] = []
    fragmentation: list[float] = []
    for name, task in tasks.items():
        for case in task.get("values", {}).get("cases", ()):
            title = f"{name}, {case['name']}"
            if "why_not" in case:
                yield _table_row(title, case["why_not"], *[""] * (1 + len(columns)))
                continue
            peak, estimate = case["peak"], case["estimate"]
            cells = []
            for kind, key in kinds:
                error = estimate[key] / peak[kind] - 1 if peak[kind] else None
                errors[kind] += [] if error is None else [error]
                cells += [_format_gib(peak[kind]), _format_gib(estimate[key]), _format_percent(error)]
            if peak["driver"]:
                contexts.append(peak["driver"] - peak["reserved"])
            if peak["reserved"]:
                fragmentation.append((peak["reserved"] - peak["allocated"]) / estimate["step"])
            yield _table_row(title, f"{case['laid_out']:,}", f"{case['seconds']:.3f}", *cells)
    yield ""
    for kind, values in errors.items():
        if values:
            low, high = _format_percent(min(values)), _format_percent(max(values))
            yield f"- {kind}: the error of the estimate is {low} to {high} (goal: within 10 %)"
    if contexts:
        low, high = (f"{bound / MIB:.0f}" for bound in (min(contexts), max(contexts)))
        yield f"- context and libraries: {low} to {high} MiB (`CUDA_CONTEXT` + `CUBLAS_WORKSPACE`)"
    if fragmentation:
        yield f"- reserved beyond tensors, as a share of a step's own memory: {min(fragmentation):.2f} to"
        yield f"  {max(fragmentation):.2f} (`FRAGMENTATION`)"


def speed_lines(tasks: TaskResults, machine: Values) -> Iterator[str]:
    """All runs, the ratios with their goals, and the profile."""
    five, single, peer = (_values(tasks, name) for name in ("5 questions", "1 question", "peer"))
    unshared, program = _values(tasks, "sharing off"), peer.get("program", "peer")
    batches = [batch for batch in peer.get("five", ()) if "seconds" in batch]
    rows: list[tuple[str, Values | None]] = [
        ("5 questions, images encoded", five.get("encoding")),
        ("5 questions, features cached", five.get("cached")),
        ("5 questions, sharing off", unshared.get("encoding")),
        ("1 question, images encoded", single.get("encoding")),
        *((f"5 questions, {program}, batch size {batch['batch']}", batch) for batch in batches),
        (f"1 question, {program}, batch size {peer.get('one', {}).get('batch')}", peer.get("one")),
    ]
    peak_rate = machine.get("datasheet_tflops") or machine.get("bfloat16_tflops")
    yield from _table_head("run", "samples/s", "tokens/s", "TFLOP/s", "MFU", "data wait", "peak GiB")
    for name, speed in rows:
        if speed:
            utilization = _format_percent(speed["tflops"] / peak_rate, sign="") if peak_rate else MISSING
            wait = _format_percent(speed.get("data_wait"), sign="")
            cells = (
                f"{speed['samples_per_second']:.1f}",
                f"{speed['tokens_per_second']:,.0f}",
                f"{speed['tflops']:.1f}",
            )
            yield _table_row(name, *cells, utilization, wait, _format_gib(speed["peak"]))
    yield ""
    fastest = max(batches, key=lambda batch: float(batch["samples_per_second"]), default=None)
    comparisons = (
        ("5 questions per image", five.get("encoding"), fastest, 5.0),
        ("5 questions per image, features cached", five.get("cached"), fastest, 7.0),
        ("1 question per image", single.get("encoding"), peer.get("one"), 1.2),
    )
    for name, ours, theirs, goal in comparisons:
        if ours and theirs:
            ratio, memory = ours["samples_per_second"] / theirs["samples_per_second"], ours["peak"] / theirs["peak"]
            yield f"- {name}: {ratio:.2f}x the speed of {program} (goal {goal:g}x), {memory:.2f}x its memory (0.8x)"
    if five.get("profile"):
        yield ""
        yield from _profile_lines(five["profile"])


def _profile_lines(profile: Values) -> Iterator[str]:
    busy = _format_percent(profile["busy"], sign="")
    yield f"Profile of {profile['seconds']:.2f} s of steps: the device was busy for {busy} of the time."
    yield ""
    for kind, seconds in profile["kinds"].items():
        yield f"- {kind}: {_format_percent(seconds / profile['busy_seconds'], sign='')}"
    yield ""
    yield from _table_head("kernel", "share", "count")
    for entry in profile["names"][:12]:
        share = _format_percent(entry["seconds"] / profile["busy_seconds"], sign="")
        yield _table_row(f"`{entry['name'].replace('|', '/')[:90]}`", share, entry["count"])


def attention_lines(tasks: TaskResults, _machine: Values) -> Iterator[str]:
    """Milliseconds by length and method, and the fastest method."""
    cases = _values(tasks, "attention").get("cases", ())
    methods = ("flex", "blocks", "full mask", "flash by path")
    yield "Forward and backward in milliseconds, with the largest relative difference from block attention."
    yield ""
    yield from _table_head("laid out", "tokens of paths", *methods, "fastest")
    for case in cases:
        done = {name: case[name] for name in methods if "milliseconds" in case.get(name, {})}
        cells = [
            f"{done[name]['milliseconds']:.2f} ({done[name]['difference']:.0e})" if name in done else MISSING
            for name in methods
        ]
        fastest = min(done, key=lambda name: float(done[name]["milliseconds"]), default=MISSING)
        yield _table_row(f"{case['laid_out']:,}", f"{case['path_tokens']:,}", *cells, fastest)
    yield ""
    for case in cases:
        for name in methods:
            if "why_not" in case.get(name, {}):
                yield f"- {name}, {case['laid_out']:,} tokens: {case[name]['why_not']}"


def ablation_lines(tasks: TaskResults, _machine: Values) -> Iterator[str]:
    """The ratios of each optimization."""
    yield "Ratios are without over with the optimization: above 1 it saves. It is worthwhile from 2 % of time or 5 % of"
    yield "memory."
    yield ""
    yield from _table_head("optimization", "time", "memory", "")
    for task in tasks.values():
        for ablation in task.get("values", {}).get("ablations", ()):
            verdict = "worthwhile" if ablation["worthwhile"] else "not worthwhile on this device"
            ratios = (f"{ablation['time_ratio']:.3f}", f"{ablation['memory_ratio']:.3f}")
            yield _table_row(ablation["name"], *ratios, verdict)
    liger = _values(tasks, "ablations").get("liger", {})
    yield ""
    if "why_not" in liger:
        yield f"Liger: {liger['why_not']}."
    elif liger:
        time = liger["liger"]["seconds"] / liger["ours"]["seconds"]
        memory = liger["liger"]["peak"] / liger["ours"]["peak"]
        yield f"Liger's kernels in place of ours take {time:.3f} of the time and {memory:.3f} of the memory."


def fsdp_lines(tasks: TaskResults, _machine: Values) -> Iterator[str]:
    """The combinations, and the tiny model."""
    values = _values(tasks, "FSDP2")
    yield from _table_head("storage", "trained pair", "mixed precision", "largest difference of losses")
    for case in values.get("cases", ()):
        difference = case.get("largest_relative_difference")
        result = case.get("why_not") if difference is None else f"{difference:.1e}"
        yield _table_row(case["storage"], case["pair"], "yes" if case["mixed_precision"] else "no", result)
    yield ""
    for tiny in values.get("tiny", ()):
        result = tiny.get("why_not")
        if "sharded" in tiny:
            sharded, unsharded = tiny["sharded"], tiny["unsharded"]
            result = f"loss {sharded['loss']:.5f}, unsharded {unsharded['loss']:.5f}; gradient norm "
            result += f"{sharded['gradient_norm']:.4f}, unsharded {unsharded['gradient_norm']:.4f}"
        yield f"- tiny, storage {tiny['storage']}: {result}"


def generation_lines(tasks: TaskResults, _machine: Values) -> Iterator[str]:
    """Rows per second of each method."""
    values = _values(tasks, "generation")
    title = f"{values.get('rows', MISSING)} rows, {values.get('new_tokens', MISSING)} new tokens each"
    yield from _table_head(title, "rows/s", "peak GiB", "identical answers")
    for method in values.get("methods", ()):
        if "why_not" in method:
            yield _table_row(method["name"], method["why_not"], "", "")
        else:
            cells = (f"{method['rows_per_second']:.1f}", _format_gib(method["peak"]), method["identical_answers"])
            yield _table_row(method["name"], *cells)
    for notice in values.get("notices", ()):
        yield ""
        yield f"Note: {notice}."


def _values(tasks: TaskResults, name: str) -> Values:
    values: Values = tasks.get(name, {}).get("values", {})
    return values


def _table_head(*names: str) -> Iterator[str]:
    yield _table_row(*names)
    yield "|---|" + "---:|" * (len(names) - 1)


def _table_row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _format_gib(count: float | None) -> str:
    return MISSING if count is None else f"{count / GIB:.2f}"


def _format_percent(share: float | None, sign: str = "+") -> str:
    return MISSING if share is None else f"{share:{sign}.1%}"
