"""`model-garden evaluate-vision`: an evaluation from flags, checked, started as a process of its own, and followed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.program import runnable

if TYPE_CHECKING:
    from mg_tui.runs.evaluations import EvaluationFolder


@spec_flags(EvaluationSpec)
@click.command("evaluate-vision", cls=SpecCommand)
@click.argument("model")
@click.option("--gpus", metavar="0,1|any|cpu", help="GPUs by nvidia-smi index. [default: any free one]")
@click.option("--detach", is_flag=True, help="Start the evaluation in the background and print its id.")
@click.option("--json", "as_json", is_flag=True, help="Print scores, changes, groups and speed as JSON.")
@click.option(
    "--print-harness",
    type=click.Choice(["lmms-eval", "vlmevalkit"]),
    help="Print the commands that run a public benchmark against a server of MODEL, and exit.",
)
@click.pass_context
def evaluate_vision(
    ctx: click.Context,
    /,
    model: str,
    gpus: str | None,
    detach: bool,
    as_json: bool,
    print_harness: str | None,
    **values: Any,
) -> None:
    """Evaluate a model on a dataset, and compare it with another.

    MODEL is a result folder, a run (id, name or `last`), a checkpoint of a run (RUN@STEP), a base model or, with
    --endpoint, the name under which a server has it. The evaluation is a separate process that keeps running if this
    terminal closes; `model-garden evaluations` lists, follows, stops and resumes it.
    """
    if print_harness is not None:
        from mg_tui.cli.evaluations.harness import harness_commands

        for line in harness_commands(print_harness, model, values.get("endpoint")):
            click.echo(line)
        return
    settings: Settings = ctx.obj
    spec = EvaluationSpec.parse({**explicit_values(values), "model": model})
    folder = start_evaluation(spec, settings, gpus=gpus)
    ctx.exit(follow_to_end(folder, detach=detach, as_json=as_json))


def start_evaluation(spec: EvaluationSpec, settings: Settings, *, gpus: str | None = None) -> "EvaluationFolder":
    """Check what can be checked without the model, and start the evaluation's process.

    Raises:
        GardenError: something is wrong; nothing has been made then.
    """
    from mg_tui.cli.launch import parse_gpus
    from mg_tui.preflight.evaluation import launch_evaluation

    folder = launch_evaluation(spec, settings, cwd=Path.cwd(), gpus=parse_gpus(gpus))
    click.echo(f"evaluation {folder.id}", err=True)
    return folder


def follow_to_end(folder: "EvaluationFolder", *, detach: bool, as_json: bool, attempts: int = 0) -> int:
    """Print the id and return, or follow the evaluation and print its scores; returns the command's exit code.

    `attempts` is how often it had been started before.
    """
    import time

    from mg_tui.cli.evaluations.display import EvaluationStyle
    from mg_tui.cli.evaluations.summary import format_scores
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.cli.runs.common import print_json
    from mg_tui.runs import launch
    from mg_tui.runs.run_records import evaluation_record
    from mg_tui.runs.state import RunState
    from mg_tui.runs.store import summarize_run

    if detach:
        click.echo(folder.id)
        click.echo(runnable(f"follow with: model-garden evaluations watch {folder.id}"), err=True)
        return 0
    if attempts:  # its journal says that it ended, until the new worker's first word
        launch.wait_until_started(folder, attempts=attempts)
    state = follow_run(folder, EvaluationStyle())
    if as_json:
        print_json(evaluation_record(summarize_run(folder), time.time()))
    elif state is RunState.FINISHED:
        for line in format_scores(folder):
            click.echo(line)
    return exit_code_of(state, folder)
