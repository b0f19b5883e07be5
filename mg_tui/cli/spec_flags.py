"""Command-line flags of a spec: one click option for every field that `mg_tui.core.options` describes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel

from mg_tui.config import Settings
from mg_tui.core.options import Option, options_of, suggest_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class SpecCommand(click.Command):
    """A command whose help lists the flags under the headings of the spec's groups.

    An unknown flag that another tool has (`--per-device-train-batch-size`) is answered with ours.
    """

    groups: Mapping[str, str]
    spec_options: Sequence[Option] = ()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name, suggestion = error.option_name, suggest_option(error.option_name, self.spec_options, as_flag=True)
            if not suggestion:
                raise
            raise click.NoSuchOption(name, f"No such option {name!r}{suggestion}", ctx=ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(self.groups.get(param.name or "", "Command"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def spec_flags(
    model: type[BaseModel],
    *,
    only: Callable[[Option], bool] | None = None,
    help_texts: Mapping[str, str] | None = None,
) -> Callable[[click.Command], click.Command]:
    """Add a flag for every field of `model`, or those that `only` selects, to a `SpecCommand`.

    A flag that is not set arrives as None, so that values of `garden.toml` apply. The spec checks bounds, not click,
    because its message names the field. `help_texts` replaces the help of single fields, default note included.
    """
    overrides = help_texts or {}

    def decorate(command: click.Command) -> click.Command:
        options = options_of(model)
        repeated = {opt.repeats for opt in options if opt.repeats}
        selected = [opt for opt in options if (only is None or only(opt)) and not opt.repeats]
        command.params[:0] = [
            _click_option(opt, overrides.get(opt.name), repeated=opt.name in repeated) for opt in selected
        ]
        if isinstance(command, SpecCommand):
            command.groups = {opt.name: opt.group for opt in selected}
            command.spec_options = selected
        return command

    return decorate


def _click_option(opt: Option, help_text: str | None, *, repeated: bool) -> click.Option:
    help_text = help_text or opt.help + _default_note(opt)
    if opt.kind == "switch":
        return click.Option([f"{opt.flag}/{opt.off_flag}", opt.name], default=None, help=help_text)
    metavar = {"integer": "N", "number": "NUMBER", "path": "PATH", "text": "TEXT"}.get(opt.kind)
    if opt.choices:
        metavar = "|".join(opt.choices)
    # All values are read as text: the spec parses numbers, so that every front end shows the same messages.
    multiple = repeated or opt.kind == "list"
    return click.Option(
        [opt.flag, opt.name],
        type=str,
        metavar=metavar,
        multiple=multiple,
        help=help_text,
        shell_complete=partial(_complete_value, opt),
    )


def _complete_value(
    opt: Option, _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> "list[CompletionItem]":
    """The choices of a flag; of one that takes a path, whatever files the shell finds."""
    from click.shell_completion import CompletionItem

    if opt.kind == "path" or opt.known:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(choice) for choice in opt.choices if choice.startswith(incomplete)]


def _default_note(opt: Option) -> str:
    if opt.required:
        return "  [required]"
    if opt.kind == "list":
        return "  [repeatable]"
    if opt.default is None:
        return ""
    default = {True: "on", False: "off"}.get(opt.default, opt.default) if opt.kind == "switch" else opt.default
    return f"  [default: {default:g}]" if isinstance(default, float) else f"  [default: {default}]"


PRESET_OPTION = click.option("--preset", metavar="NAME", help="Apply a preset; flags override its values.")


def default_values(settings: Settings, preset: str | None) -> dict[str, Any]:
    """Values of fields without a flag: garden.toml and the environment, overridden by a preset.

    Raises:
        UsageError: there is no such preset.
    """
    return {**settings.train, **_preset_values(settings, preset)}


def value_origins(settings: Settings, preset: str | None, values: Mapping[str, Any]) -> dict[str, str]:
    """The source of each value that no flag sets (a file or a preset), by field, for messages."""
    origins = settings.train_origins() | dict.fromkeys(_preset_values(settings, preset), f"[presets.{preset}]")
    flags = explicit_values(values)
    return {name: origin for name, origin in origins.items() if name not in flags}


def _preset_values(settings: Settings, preset: str | None) -> Mapping[str, Any]:
    if preset is None:
        return {}
    from mg_tui.core.presets import find_preset

    return find_preset(preset, settings.presets)


def explicit_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Only the flags that are set on the command line."""
    return {name: value for name, value in values.items() if value is not None and value != ()}
