"""`model-garden evaluate-vision`: an evaluation from flags, checked, started as a process of its own, and followed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mg_tui.cli.spec_flags import SpecCommand, explicit_values, spec_flags
from mg_tui.config import Settings
from mg_tui.core.evaluation_spec import BASE, EvaluationSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mg_tui.runs.evaluations import EvaluationFolder

# The keys of a [datasets.NAME] table, each with the option it stands for.
_DATASET_KEYS: Final = {
    "path": "dataset",
    "format": "dataset_format",
    "layout": "dataset_layout",
    "split": "split",
    "config": "dataset_config",
    **{
        name: name
        for name in (
            "text_field",
            "image_field",
            "response_field",
            "messages_field",
            "caption_prompt",
            "image_root",
            "system_prompt",
        )
    },
}


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
    from mg_tui.runs import launch
    from mg_tui.runs.evaluations import EvaluationFolder
    from mg_tui.runs.versions import package_versions

    gpu_choice = parse_gpus(gpus)
    settled = settle_spec(spec, settings, Path.cwd())
    folder = EvaluationFolder.create(settings.home, settled, versions=package_versions())
    click.echo(f"evaluation {folder.id}", err=True)
    launch.start_worker(folder, _devices(settled, gpu_choice))
    return folder


def follow_to_end(folder: "EvaluationFolder", *, detach: bool, as_json: bool, attempts: int = 0) -> int:
    """Print the id and return, or follow the evaluation and print its scores; returns the command's exit code.

    `attempts` is how often it had been started before.
    """
    import time

    from mg_tui.cli.evaluations.display import EvaluationStyle
    from mg_tui.cli.evaluations.summary import evaluation_record, format_scores
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.cli.runs.common import print_json
    from mg_tui.runs import launch
    from mg_tui.runs.state import RunState
    from mg_tui.runs.store import summarize_run

    if detach:
        click.echo(folder.id)
        click.echo(f"follow with: model-garden evaluations watch {folder.id}", err=True)
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


def settle_spec(spec: EvaluationSpec, settings: Settings, cwd: Path) -> EvaluationSpec:
    """The spec with every name and path as the worker needs them, after a look at what it names.

    Raises:
        UsageError, DataError: no such metric, run or dataset, or a dataset without rows.
        EnvironmentProblem: a hub cannot be reached.
    """
    from mg_tui.data.evaluation_rows import open_evaluation_source
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.runs import launch

    load_metrics().named(spec.metrics)
    spec = _with_named_dataset(spec, settings)
    if spec.endpoint is None:
        changes = {"model": _settle_model(spec.model, settings.home, cwd)}
        if spec.compare not in (None, BASE):
            changes["compare"] = _settle_model(str(spec.compare), settings.home, cwd)
        if spec.base_model is not None:
            changes["base_model"] = _settle_model(spec.base_model, settings.home, cwd)
        spec = spec.model_copy(update=changes)
    source = open_evaluation_source(spec, cwd=cwd, cache=settings.cache)
    next(iter(source.rows()), None)  # an empty or unreadable dataset is an error here, and not in the worker
    spec = spec.model_copy(update={"dataset": source.address})
    names = [name for name in ("dataset", "image_root", "report") if getattr(spec, name) is not None]
    paths = {name: launch._absolute_path(getattr(spec, name), cwd) for name in names}
    return spec.model_copy(update=paths)


def _settle_model(model: str, home: Path, cwd: Path) -> str:
    """A folder by its absolute path, and `last` by the run it means now; other names stay."""
    from mg_tui.core.paths import expand_user
    from mg_tui.families.registry import load_registry

    folder = cwd / expand_user(model)
    if folder.is_dir() and model not in {checkpoint.name for checkpoint in load_registry().checkpoints}:
        return str(folder.absolute())
    name, at, step = model.partition("@")
    if name == "last":
        from mg_tui.runs.store import find_run

        return f"{find_run(home, name).id}{at}{step}"
    return model


def _with_named_dataset(spec: EvaluationSpec, settings: Settings) -> EvaluationSpec:
    """What [datasets.NAME] says of the dataset holds where no flag does.

    Raises:
        UsageError: the table has no path.
        SpecError: a value of it cannot be used.
    """
    from mg_tui.core.errors import UsageError

    table = settings.datasets.get(spec.dataset)
    if not table:
        return spec
    if "path" not in table:
        raise UsageError(f"[datasets.{spec.dataset}] has no path", hint="set it, e.g. path = 'data/mine.jsonl'")
    plain = {name: info.default for name, info in EvaluationSpec.model_fields.items()}
    values = spec.model_dump()
    changes = {
        name: table[key]
        for key, name in _DATASET_KEYS.items()
        if key in table and (key == "path" or values[name] == plain[name])
    }
    return EvaluationSpec.parse({**values, **changes}, where=dict.fromkeys(changes, f"[datasets] {spec.dataset}"))


def _devices(spec: EvaluationSpec, gpu_choice: "Sequence[str] | None") -> "Sequence[str] | None":
    """A server answers: the worker uses no GPU of this machine."""
    from mg_tui.runs import devices

    return (devices.CPU,) if spec.endpoint is not None and gpu_choice is None else gpu_choice
