"""The manual page docs/model-garden.1, made from the commands; `scripts/docs_reference.py` writes it.

`man ./docs/model-garden.1` shows it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from mg_tui.cli.main import cli
from mg_tui.core.settings import SETTINGS

MAN_PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "model-garden.1"
EXIT_CODES: Final = (
    ("0", "Success."),
    ("1", "The run failed."),
    ("2", "Usage or configuration error."),
    ("3", "The environment lacks something: GPU, disk space, network."),
    ("130", "Interrupted."),
)


def man_page() -> str:
    """The page in roff."""
    lines = [
        '.TH MODEL-GARDEN 1 "" "Model Garden" "User Commands"',
        ".ad l",  # long words of choices cannot be adjusted on both sides
        ".SH NAME",
        r"model\-garden \- fine-tune vision-language models on your own GPU box",
        ".SH SYNOPSIS",
        r".B model\-garden",
        r"[\fIOPTIONS\fR] [\fICOMMAND\fR] [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        r"Without a command, opens the dashboard; \fB?\fR shows its keys. Data goes to standard output, messages to",
        "standard error.",
        ".SH OPTIONS",
        *_options(cli, click.Context(cli, info_name="model-garden")),
        ".SH COMMANDS",
    ]
    for path, command in _walk(cli, ("model-garden",)):
        context = click.Context(command, info_name=" ".join(path))
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f".SS {_text(' '.join(path[1:]))} {_text(usage)}".rstrip(), *_prose(command.help or "")]
        lines += _options(command, context)
    lines += [".SH EXIT STATUS"]
    for code, what in EXIT_CODES:
        lines += [".TP", code, what]
    lines += [".SH ENVIRONMENT"]
    for setting in SETTINGS:
        lines += [".TP", rf"\fB{_text(setting.env_variable)}\fR", _text(setting.help)]
    lines += [
        ".SH FILES",
        ".TP",
        "garden.toml, ~/.config/model\\-garden/garden.toml",
        "Settings, defaults of options, presets, datasets, filters and keys.",
    ]
    return "\n".join(lines) + "\n"


def _walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, groups before their commands."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield (*path, name), child
            yield from _walk(child, (*path, name))


def _options(command: click.Command, context: click.Context) -> list[str]:
    lines = []
    for param in command.params:
        record = param.get_help_record(context)
        if record is not None:
            lines += [".TP", rf"\fB{_text(record[0])}\fR", _text(" ".join(record[1].split()))]
    return lines


def _prose(text: str) -> list[str]:
    """Paragraphs of a command's help."""
    lines = []
    for paragraph in text.strip().split("\n\n"):
        lines += [".PP", _text(" ".join(paragraph.split()))]
    return lines


def _text(text: str) -> str:
    """Text that roff takes as it is: no escapes, no requests at the beginning of a line, hyphens that can be copied."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = "".join(character if character.isascii() else f"\\[u{ord(character):04X}]" for character in text)
    return rf"\&{text}" if text.startswith((".", "'")) else text
