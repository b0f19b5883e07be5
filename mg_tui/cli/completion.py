"""`model-garden completion`: what a shell reads to complete commands, flags, values and run ids."""

from typing import TYPE_CHECKING, Final

import click

from mg_tui.config import Settings

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETION_VARIABLE: Final = "_MODEL_GARDEN_COMPLETE"  # the name that click derives from `model-garden`
SHELLS: Final = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    bash: `eval "$(model-garden completion bash)"` in ~/.bashrc. zsh: `eval "$(model-garden completion zsh)"` in
    ~/.zshrc, after compinit. fish: `model-garden completion fish > ~/.config/fish/completions/model-garden.fish`.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "model-garden", COMPLETION_VARIABLE).source())


def complete_run(ctx: click.Context, _param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """The ids and names of runs that begin as typed, the newest first, and `last`."""
    from click.shell_completion import CompletionItem

    from mg_tui.core.errors import GardenError
    from mg_tui.core.text import one_line
    from mg_tui.runs.annotations import read_annotations
    from mg_tui.runs.store import run_folders

    try:
        folders = run_folders(_settings(ctx).home)
    except GardenError:
        return []
    items = [CompletionItem("last", help="the newest run")] if folders else []
    for folder in folders:
        items.append(CompletionItem(folder.id, help=one_line(read_annotations(folder).name or "")))
    return [item for item in items if str(item.value).startswith(incomplete)]


def _settings(ctx: click.Context) -> Settings:
    """The settings: completion parses flags and calls no command."""
    from mg_tui.config import load_settings

    return load_settings(home=ctx.find_root().params.get("home"))
