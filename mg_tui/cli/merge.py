"""`model-garden merge`: merge an adapter into its base model and compare logits before the result is saved."""

from typing import Any

import click

from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.model_job_spec import MergeSpec


@spec_flags(MergeSpec)
@click.command("merge", cls=SpecCommand)
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print path and comparison as JSON.")
@click.pass_obj
def merge(settings: Settings, /, model: str, as_json: bool, **values: Any) -> None:
    """Merge an adapter into its base model and verify the result.

    MODEL is a result folder or a run (its id, its name, or `last`). The base model is loaded in full precision. The
    saved model is reloaded and its logits are compared with the adapter's; a merge that does not match is discarded.
    """
    from mg_tui.cli.jobs.start import do_job, print_result

    spec = MergeSpec.parse({**explicit_values(values), "model": model})
    print_result(spec, do_job(spec, settings), as_json=as_json)
