"""`model-garden verify`: whether another form of a model, or a server that has it, answers like the model."""

from typing import Any

import click

from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.model_job_spec import VerifySpec


@spec_flags(VerifySpec)
@click.command("verify", cls=SpecCommand)
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print figures and differing rows as JSON.")
@click.pass_context
def verify(ctx: click.Context, /, model: str, as_json: bool, **values: Any) -> None:
    """Ask a model and another form of it the same rows, and compare the answers.

    MODEL is a result folder, a run (id, name or `last`) or a base model. Both answer greedily. Exits with 1 when they
    do not agree. An API key of the server is read from MODEL_GARDEN_API_KEY.
    """
    from mg_tui.cli.jobs.start import do_job, print_result

    settings: Settings = ctx.obj
    spec = VerifySpec.parse({**explicit_values(values), "model": model})
    result = do_job(spec, settings)
    print_result(spec, result, as_json=as_json)
    ctx.exit(0 if result["agrees"] else 1)
