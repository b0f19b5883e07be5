"""`model-garden export`: a result as a folder for other programs, published when it answers like the result."""

import json
from typing import Any, Final

import click

from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.model_job_spec import ExportSpec

_REQUIRED: Final = {"model": "MODEL", "format": "--format", "output": "--output"}


@spec_flags(ExportSpec)
@click.command("export", cls=SpecCommand)
@click.argument("model", required=False)
@click.option(
    "--setup", type=click.Choice(["gguf"]), help="Build llama.cpp once, for --format gguf, and do nothing else."
)
@click.option("--json", "as_json", is_flag=True, help="Print folder, command and agreement as JSON.")
@click.pass_obj
def export(settings: Settings, /, model: str | None, setup: str | None, as_json: bool, **values: Any) -> None:
    """Export a result for other programs.

    MODEL is a result folder or a run (its id, its name, or `last`). The model answers held-out rows, or those of
    --dataset; what was written is loaded again and asked the same rows. An export that answers differently is
    discarded. `--format gguf` needs llama.cpp: `--setup gguf` builds it once.
    """
    from mg_tui.cli.jobs.start import do_job, print_result

    given = {**explicit_values(values), **({} if model is None else {"model": model})}
    if setup is not None:
        if given:
            raise click.UsageError("--setup builds llama.cpp and exports nothing: leave MODEL and --format out")
        _build_llama_cpp(settings, as_json=as_json)
        return
    for name, word in _REQUIRED.items():
        if name not in given:
            raise click.UsageError(f"{word} is missing")
    spec = ExportSpec.parse(given)
    print_result(spec, do_job(spec, settings), as_json=as_json)


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
