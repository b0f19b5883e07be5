"""`model-garden`: the root command, which prints errors and sets the exit code."""

import sys
from pathlib import Path
from typing import Final

import click

from mg_tui.cli.lazy import LazyCommand, LazyGroup
from mg_tui.config import load_settings
from mg_tui.core.errors import GardenError, UsageError

COMMANDS: Final[dict[str, LazyCommand]] = {
    "init": LazyCommand("mg_tui.cli.init", "init", "Write a garden.toml by five questions."),
    "demo": LazyCommand("mg_tui.cli.demo", "demo", "Fine-tune the tiny model on a small task and show the result."),
    "create-vision-dataset": LazyCommand(
        "mg_tui.cli.datasets.create", "create_vision_dataset", "Write a sample dataset with synthetic images."
    ),
    "datasets": LazyCommand(
        "mg_tui.cli.datasets", "datasets", "Show, check, repair, convert, split and combine datasets."
    ),
    "train-vision": LazyCommand("mg_tui.cli.train", "train_vision", "Fine-tune a vision-language model."),
    "sweep": LazyCommand("mg_tui.cli.sweeps.start", "sweep", "Train over combinations of options and compare them."),
    "sweeps": LazyCommand("mg_tui.cli.sweeps", "sweeps", "List, show, follow, resume, stop and remove sweeps."),
    "launch": LazyCommand("mg_tui.cli.launch_elsewhere", "launch", "Train on machines of Slurm, SkyPilot or dstack."),
    "estimate": LazyCommand("mg_tui.cli.estimate", "estimate", "Estimate a run's memory and the GPUs it fits on."),
    "evaluate-vision": LazyCommand(
        "mg_tui.cli.evaluations.start", "evaluate_vision", "Score a model on a dataset and compare it with another."
    ),
    "evaluations": LazyCommand(
        "mg_tui.cli.evaluations", "evaluations", "List, show, follow, stop and resume evaluations."
    ),
    "generate-vision": LazyCommand("mg_tui.cli.generate", "generate_vision", "Run inference on images."),
    "chat": LazyCommand("mg_tui.cli.chat", "chat", "Chat with a model about images, in the plain terminal."),
    "serve": LazyCommand("mg_tui.cli.servers.start", "serve", "Serve models behind an OpenAI-compatible API."),
    "servers": LazyCommand("mg_tui.cli.servers", "servers", "List, show, follow and stop servers."),
    "merge": LazyCommand("mg_tui.cli.merge", "merge", "Merge an adapter into its base model and verify the result."),
    "export": LazyCommand(
        "mg_tui.cli.export", "export", "Export a result as a merged model or for vLLM, and verify what was written."
    ),
    "verify": LazyCommand("mg_tui.cli.verify", "verify", "Compare a model's answers with those of another form of it."),
    "push": LazyCommand("mg_tui.cli.push", "push", "Push a model to the Hugging Face Hub, private by default."),
    "jobs": LazyCommand("mg_tui.cli.jobs", "jobs", "List, show, follow and stop merges, exports and pushes."),
    "models": LazyCommand("mg_tui.cli.models", "models", "List results by score; delete and restore them."),
    "runs": LazyCommand("mg_tui.cli.runs", "runs", "List, show, follow, stop, resume and queue runs."),
    "watch": LazyCommand("mg_tui.cli.watch", "watch", "Send messages about a run, copy it away, end the machine."),
    "api": LazyCommand("mg_tui.cli.api", "api", "Serve the REST API."),
    "tokens": LazyCommand("mg_tui.cli.tokens", "tokens", "List, create and revoke tokens of the API."),
    "cache": LazyCommand("mg_tui.cli.cache", "cache", "Show and clear the caches."),
    "doctor": LazyCommand("mg_tui.cli.doctor", "doctor", "Check this machine and what is installed."),
    "plugins": LazyCommand("mg_tui.cli.plugins", "plugins", "List model families and plugin errors."),
    "completion": LazyCommand("mg_tui.cli.completion", "completion", "Print the completion script of a shell."),
}


def _print_version(ctx: click.Context, _param: click.Parameter, requested: bool) -> None:
    if requested and not ctx.resilient_parsing:
        from mg_tui import __version__

        click.echo(f"model-garden {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--home", type=click.Path(path_type=Path), help="Folder for runs; also MODEL_GARDEN_HOME.")
@click.option("--server", metavar="URL", help="Use the runs of a `model-garden api` elsewhere; see docs/remote.md.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File with the token for --server; also MODEL_GARDEN_TOKEN, or [server] token_file.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
@click.pass_context
def cli(ctx: click.Context, home: Path | None, server: str | None, token_file: Path | None) -> None:
    """Fine-tune vision-language models on your own GPU box.

    Without a command, opens the dashboard.
    """
    ctx.obj = load_settings(home=home)
    if server is not None:
        from mg_tui.cli.server import use_server

        ctx.obj = use_server(ctx, ctx.obj, server, token_file)
    elif token_file is not None:
        raise UsageError("--token-file is for --server.", hint="add --server URL")
    if ctx.invoked_subcommand is None:
        from mg_tui.cli.dashboard import run_dashboard

        run_dashboard(ctx.obj)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0, 1, 2, 3 or 130 (see `mg_tui.core.errors`)."""
    if args is None:
        from mg_tui.cli.secret_arguments import hide_secrets, reveal_secrets

        hide_secrets()
        args = reveal_secrets(sys.argv[1:])
    try:
        # Not standalone: click's own handling would print usage errors without our hints and hide exit codes.
        code = cli.main(args=args, prog_name="model-garden", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except GardenError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output has closed it (`| head`); the rest of the buffer is dropped.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def print_error(error: GardenError) -> None:
    """Print an error on standard error: what, then where, why and a hint."""
    from mg_tui.core.text import printable

    first, *rest = error.lines()
    click.echo(click.style("error: ", fg="red", bold=True) + printable(first), err=True)
    for line in rest:
        click.echo(printable(line), err=True)
