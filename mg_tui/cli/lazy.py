"""Groups whose commands are imported when they are called, so that `--help` costs what click costs."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyCommand(NamedTuple):
    """The module and attribute of a command, and its line in the help of its group."""

    module: str
    attribute: str
    help: str


class LazyGroup(click.Group):
    """A group that imports a command of `lazy_commands` when it is called."""

    def __init__(self, *args: Any, lazy_commands: Mapping[str, LazyCommand], **options: Any) -> None:
        super().__init__(*args, **options)
        self.lazy_commands = lazy_commands

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.lazy_commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.lazy_commands.get(cmd_name)
        if entry is None:
            return None
        command = getattr(importlib.import_module(entry.module), entry.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{entry.module}.{entry.attribute} is not a command")
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        # Click would import every command for its help line.
        from click.shell_completion import CompletionItem

        commands = [
            CompletionItem(name, help=entry.help)
            for name, entry in self.lazy_commands.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Click would import every command for its help line; the table holds these lines.
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self.lazy_commands.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.lazy_commands and not args[0].startswith("-"):
            from mg_tui.core.text import did_you_mean

            ctx.fail(f"no command {args[0]!r}{did_you_mean(args[0], self.lazy_commands)}")
        return super().resolve_command(ctx, args)
