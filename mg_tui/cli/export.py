"""`model-garden export`: a result as a folder for other programs, published when it answers like the result."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from mg_tui.cli.agreement import DEFAULT_AGREEMENT, GGUF_AGREEMENT, asking_options, print_agreement
from mg_tui.config import Settings

_QUANTIZATIONS: Final = ("F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M")


@click.command("export")
@click.argument("model", required=False)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["merged", "vllm", "gguf"]),
    help="merged: one whole model; vllm: what vLLM serves, with its command; gguf: files for llama.cpp.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Output folder; must be new or empty.")
@click.option("--merged", is_flag=True, help="With --format vllm: merge the adapter instead of serving it as one.")
@click.option(
    "--quantization",
    "quantizations",
    type=click.Choice(_QUANTIZATIONS, case_sensitive=False),
    multiple=True,
    help="With --format gguf: quantization of the text model; repeatable. Default: Q8_0 and Q4_K_M.",
)
@click.option("--adapter", is_flag=True, help="With --format gguf: the adapter as a file of its own, beside its base.")
@click.option(
    "--setup", type=click.Choice(["gguf"]), help="Build llama.cpp once, for --format gguf, and do nothing else."
)
@asking_options
@click.option("--base-model", help="Path or name of the adapter's base model, if it has moved.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
    default="auto",
    show_default=True,
    help="dtype of merged weights and of the comparison; auto: as in training; float32 for an adapter on a CPU.",
)
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print folder, command and agreement as JSON.")
@click.pass_obj
def export(
    settings: Settings,
    /,
    model: str | None,
    format_name: str | None,
    output: Path | None,
    setup: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Export a result for other programs.

    MODEL is a result folder or a run (its id, its name, or `last`). The model answers held-out rows, or those of
    --dataset; what was written is loaded again and asked the same rows. An export that answers differently is
    discarded. `--format gguf` needs llama.cpp: `--setup gguf` builds it once.
    """
    if setup is not None:
        if model is not None or format_name is not None:
            raise click.UsageError("--setup builds llama.cpp and exports nothing: leave MODEL and --format out")
        _build_llama_cpp(settings, as_json=as_json)
        return
    for name, value in (("MODEL", model), ("--format", format_name), ("--output", output)):
        if value is None:
            raise click.UsageError(f"{name} is missing")
    _require_fitting(format_name, options)
    record = _export(settings, str(model), str(format_name), Path(str(output)), options)
    if as_json:
        click.echo(json.dumps(record, ensure_ascii=False))
    else:
        _show(record)


def _require_fitting(format_name: str | None, options: Mapping[str, Any]) -> None:
    """Raises UsageError for an option of another format."""
    if options["merged"] and format_name != "vllm":
        raise click.UsageError("--merged goes with --format vllm; the other formats merge anyway")
    for name in ("quantizations", "adapter"):
        if options[name] and format_name != "gguf":
            raise click.UsageError(f"--{name.removesuffix('s')} goes with --format gguf")


def _export(settings: Settings, model: str, format_name: str, output: Path, options: dict[str, Any]) -> dict[str, Any]:
    from mg_tui.cli.progress import request_with_spinner
    from mg_tui.runs.engine_process import EngineProcess

    request = {"model": model, "output": str(output.absolute()), **_places(settings), **options}
    if format_name == "gguf":
        program = "mg_tui.engine.export.gguf.export"
        del request["merged"]
        if not request["quantizations"]:
            del request["quantizations"]
        request["min_agreement"] = request["min_agreement"] or GGUF_AGREEMENT
    else:
        program = "mg_tui.engine.export.export"
        request["format"] = format_name
        request["min_agreement"] = request["min_agreement"] or DEFAULT_AGREEMENT
        del request["quantizations"], request["adapter"]
    with EngineProcess(program) as child:
        return request_with_spinner(child, f"exporting {model}", "export", **request)


def _places(settings: Settings) -> dict[str, str]:
    return {"home": str(settings.home), "cache": str(settings.cache.absolute()), "cwd": str(Path.cwd())}


def _show(record: Mapping[str, Any]) -> None:
    from mg_tui.core.text import printable

    click.echo(printable(record["output"]))
    if record.get("variants"):
        _show_variants(record)
        click.echo("\n" + printable(record["command"]), err=True)
        return
    print_agreement(record["agreement"], "the export")
    if record["command"]:
        click.echo("\nserve it with `sh serve.sh` in the folder, or\n" + printable(record["command"]), err=True)


def _show_variants(record: Mapping[str, Any]) -> None:
    """The table of quantizations, the model itself first, and the first rows that differ."""
    from mg_tui.cli.formatting import format_bytes
    from mg_tui.cli.tables import format_table, terminal_width

    variants = record["variants"]
    rows = [("the model", "", "", "", f"{variants[0]['model_exact_match']:.1%}")]
    for each in variants:
        alike = f"{each['alike']} of {each['rows']}"
        similarity, exact = f"{each['similarity']:.3f}", f"{each['other_exact_match']:.1%}"
        rows.append((each["quantization"], format_bytes(each["bytes"]), alike, similarity, exact))
    headings = ("quantization", "size", "answers alike", "similarity", "exact match")
    for line in format_table(headings, rows, width=terminal_width(), right=headings[1:]):
        click.echo(line, err=True)
    for each in variants:
        if each["fallback_tensors"]:
            click.echo(
                f"{each['quantization']}: {each['fallback_tensors']} tensors have another type, as theirs does not fit "
                "their shape",
                err=True,
            )
    print_agreement(record["agreement"], f"the file run by the script ({variants[0]['quantization']})")


def _build_llama_cpp(settings: Settings, *, as_json: bool) -> None:
    from mg_tui.cli.progress import progress_bar
    from mg_tui.core.text import one_line, printable
    from mg_tui.runs.engine_process import EngineProcess

    record: dict[str, Any] = {}
    with EngineProcess("mg_tui.engine.export.gguf.setup") as child, progress_bar("compiling llama.cpp") as advance:
        for event in child.stream("setup", cache=str(settings.cache.absolute())):
            record = event
            if event["event"] == "notice":
                click.echo(one_line(event["text"]), err=True)
            elif event["event"] == "progress":
                advance(event["done"], event["total"])
    record.pop("event", None)
    if as_json:
        click.echo(json.dumps(record))
        return
    click.echo(printable(record["folder"]))
    what = "built" if record["built"] else "was there already, built"
    click.echo(f"llama.cpp of llama-cpp-python {record['version']}: {what} in {record['seconds']:.0f} s", err=True)
