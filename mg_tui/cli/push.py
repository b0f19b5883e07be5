"""`model-garden push`: a result, a checkpoint or a merged model to the Hugging Face Hub."""

from collections.abc import Mapping
from typing import Any

import click

from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.model_job_spec import PushSpec


@spec_flags(PushSpec, only=lambda opt: opt.name != "repository")
@click.command("push", cls=SpecCommand)
@click.argument("model")
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--json", "as_json", is_flag=True, help="Print repository, commit and files as JSON.")
@click.pass_obj
def push(settings: Settings, /, model: str, repository: str, as_json: bool, **values: Any) -> None:
    """Push a model to the Hugging Face Hub, private by default.

    MODEL is a result folder, a run (its id, its name, or `last`), a checkpoint of an adapter (`RUN@500`, `RUN@best`) or
    a merged model. Weights, configuration, processor, metadata and a model card are pushed, without local paths; a file
    that holds a credential stops the push. Everything is one commit. A push that was interrupted is resumed by running
    it again. The token is that of `hf auth login`, or HF_TOKEN.
    """
    from mg_tui.cli.jobs.start import do_job, print_result

    spec = PushSpec.parse({**explicit_values(values), "model": model, "repository": repository})
    result = do_job(spec, settings)
    if spec.dry_run and not as_json:
        _print_files(result)
    else:
        print_result(spec, result, as_json=as_json)


def _print_files(result: Mapping[str, Any]) -> None:
    """What would be pushed, and the model card."""
    from mg_tui.cli.formatting import format_bytes
    from mg_tui.core.text import printable
    from mg_tui.runs.job_results import result_lines

    click.echo("\n".join(f"{format_bytes(file['bytes']):>10}  {printable(file['name'])}" for file in result["files"]))
    click.echo(f"\nREADME.md:\n\n{printable(result['card'])}")
    for line in result_lines("push", result, format_bytes):
        click.echo(line, err=True)
