"""What `export` and `verify` share: the options of what is asked, and how an agreement is printed."""

from collections.abc import Mapping
from typing import Any, Final

import click

from mg_tui.cli.model_options import option_group

_SHOWN: Final = 5
DEFAULT_AGREEMENT: Final = 1.0
# Of files that llama.cpp computes: where two tokens are almost equally likely, the other one may win.
GGUF_AGREEMENT: Final = 0.9


# What both models are asked.
asking_options = option_group(
    click.option("--dataset", help="Rows to ask: a file, a folder or a Hub dataset. Default: the run's held-out rows."),
    click.option(
        "--rows", type=click.IntRange(min=1), default=16, show_default=True, help="Number of rows to ask, at most."
    ),
    click.option(
        "--max-new-tokens",
        type=click.IntRange(min=1),
        default=128,
        show_default=True,
        help="Maximum length of an answer.",
    ),
    click.option(
        "--min-agreement",
        type=click.FloatRange(min=0, max=1, min_open=True),
        help="Share of rows that have to be answered alike. Rounding can change a long answer. Default: 1.0; 0.9 for "
        "GGUF, which is computed by other kernels.",
    ),
)


def print_agreement(record: Mapping[str, Any], other: str) -> None:
    """Print figures and the first rows that differ, on standard error."""
    from mg_tui.core.text import one_line

    click.echo(
        f"{record['alike']} of {record['rows']} answers alike ({record['agreement']:.1%}; at least "
        f"{record['required']:.1%} required), mean similarity {record['similarity']:.3f}\n"
        f"exact match with the references: the model {record['model_exact_match']:.1%}, {other} "
        f"{record['other_exact_match']:.1%}",
        err=True,
    )
    if record["adapter_changes"] is not None:
        click.echo(_about_adapter(record), err=True)
    differences = record["differences"]
    for each in differences[:_SHOWN]:
        answer = f"no answer: {each['error']}" if each["error"] else repr(each["other"])
        click.echo(
            f"  row {each['row']}: {one_line(repr(each['model']), limit=100)} / {one_line(answer, limit=100)}", err=True
        )
    if len(differences) > _SHOWN:
        click.echo(f"  and {len(differences) - _SHOWN} more", err=True)


def _about_adapter(record: Mapping[str, Any]) -> str:
    changed, rows = record["adapter_changes"], record["rows"]
    if not changed:
        return f"the adapter changes none of these {rows} answers: they do not show whether it is applied"
    text = f"the adapter changes {changed} of these {rows} answers of its base model"
    as_base = record["answered_as_base"]
    return f"{text}; {as_base} are answered as the base model does" if as_base else text
