"""The result of a job in words, for every front end: what came of it, and the figures that show it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mg_tui.core.text import one_line, printable

_SHOWN_ROWS: Final = 5
TABLE_HEADINGS: Final = ("quantization", "size", "answers alike", "similarity", "exact match")


def headline(operation: str, result: Mapping[str, Any]) -> str:
    """What came of it: a folder, an address, or whether the answers agree."""
    match operation:
        case "push":
            return printable(str(result["url"]))
        case "verify":
            return f"{'agrees' if result['agrees'] else 'differs'}: {one_line(str(result['against']), limit=200)}"
    return printable(str(result["output"]))


def quantization_rows(result: Mapping[str, Any], format_bytes: Callable[[float], str]) -> list[tuple[str, ...]]:
    """A row for the model itself and for each quantization, under `TABLE_HEADINGS`; none for other results."""
    variants = result.get("variants")
    if not variants:
        return []
    rows: list[tuple[str, ...]] = [("the model", "", "", "", f"{variants[0]['model_exact_match']:.1%}")]
    for each in variants:
        alike = f"{each['alike']} of {each['rows']}"
        similarity, exact = f"{each['similarity']:.3f}", f"{each['other_exact_match']:.1%}"
        rows.append((each["quantization"], format_bytes(each["bytes"]), alike, similarity, exact))
    return rows


def result_lines(operation: str, result: Mapping[str, Any], format_bytes: Callable[[float], str]) -> list[str]:
    """The figures, in printable lines."""
    match operation:
        case "merge":
            return _merge_lines(result)
        case "verify":
            return agreement_lines(result, "the other")
        case "push":
            return _push_lines(result, format_bytes)
    return _export_lines(result)


def _merge_lines(result: Mapping[str, Any]) -> list[str]:
    comparison = result["comparison"]
    return [
        f"logits of merged and adapter at {comparison['positions']} positions: mean difference "
        f"{comparison['mean_difference']:.3g}, max {comparison['max_difference']:.3g}, same top-1 token at "
        f"{comparison['top1_agreement']:.1%}",
        f"(the adapter changes logits by {comparison['adapter_effect']:.3g}; differences up to "
        f"{comparison['limit']:.3g} are rounding in {result['dtype']})",
    ]


def _export_lines(result: Mapping[str, Any]) -> list[str]:
    variants: Sequence[Mapping[str, Any]] = result.get("variants") or ()
    lines = [
        f"{each['quantization']}: {each['fallback_tensors']} tensors have another type, as theirs does not fit "
        "their shape"
        for each in variants
        if each["fallback_tensors"]
    ]
    other = f"the file run by the script ({variants[0]['quantization']})" if variants else "the export"
    lines += agreement_lines(result["agreement"], other)
    if result.get("command"):
        how = [] if variants else ["serve it with `sh serve.sh` in the folder, or"]
        lines += ["", *how, printable(str(result["command"]))]
    return lines


def _push_lines(result: Mapping[str, Any], format_bytes: Callable[[float], str]) -> list[str]:
    seen_by = "private" if result["private"] else "public"
    size = f"{len(result['files'])} files, {format_bytes(result['bytes'])}"
    lines = []
    if result["left_out"]:
        lines.append(f"not part of the model, so not pushed: {printable(', '.join(result['left_out']))}")
    if "card" in result:
        return [*lines, f"{size}; nothing was sent ({seen_by})"]
    if result["commit"] is None:
        return [*lines, f"{size}: all of it was there already ({seen_by})"]
    return [*lines, f"{size} in commit {printable(result['commit'][:12])} ({seen_by})"]


def agreement_lines(record: Mapping[str, Any], other: str) -> list[str]:
    """The figures of a comparison and the first rows that differ. `other`: what was compared with the model."""
    lines = [
        f"{record['alike']} of {record['rows']} answers alike ({record['agreement']:.1%}; at least "
        f"{record['required']:.1%} required), mean similarity {record['similarity']:.3f}",
        f"exact match with the references: the model {record['model_exact_match']:.1%}, {other} "
        f"{record['other_exact_match']:.1%}",
    ]
    if record["adapter_changes"] is not None:
        lines.append(_about_adapter(record))
    differences = record["differences"]
    for each in differences[:_SHOWN_ROWS]:
        answer = f"no answer: {each['error']}" if each["error"] else repr(each["other"])
        lines.append(f"  row {each['row']}: {one_line(repr(each['model']), limit=100)} / {one_line(answer, limit=100)}")
    if len(differences) > _SHOWN_ROWS:
        lines.append(f"  and {len(differences) - _SHOWN_ROWS} more")
    return lines


def _about_adapter(record: Mapping[str, Any]) -> str:
    changed, rows = record["adapter_changes"], record["rows"]
    if not changed:
        return f"the adapter changes none of these {rows} answers: they do not show whether it is applied"
    text = f"the adapter changes {changed} of these {rows} answers of its base model"
    as_base = record["answered_as_base"]
    return f"{text}; {as_base} are answered as the base model does" if as_base else text
