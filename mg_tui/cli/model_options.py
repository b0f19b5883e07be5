"""Options that commands with a model share: how it is loaded, and how answers are sampled."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])


def option_group(*options: Callable[[Any], Any]) -> Callable[[_CommandT], _CommandT]:
    """One decorator that adds several options, listed in this order in the help."""

    def add(command: _CommandT) -> _CommandT:
        for option in reversed(options):
            command = option(command)
        return command

    return add


LOADING_NAMES: Final = ("base_model", "device", "dtype", "quantization", "min_pixels", "max_pixels")
loading_options = option_group(
    click.option("--base-model", help="Path or name of the adapter's base model, if it has moved."),
    click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), default="auto", show_default=True),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
        default="auto",
        show_default=True,
        help="auto: as in training; float32 on a CPU.",
    ),
    click.option(
        "--quantization",
        type=click.Choice(["auto", "nf4", "int8", "none"]),
        default="auto",
        show_default=True,
        help="auto: as in training; none on a CPU.",
    ),
    *(
        click.option(
            f"--{word}-pixels",
            type=click.IntRange(min=1),
            help=f"{'Least' if word == 'min' else 'Greatest'} area of a resized image in pixels. Default: as in "
            "training; of a base model, its own.",
        )
        for word in ("min", "max")
    ),
)
sampling_options = option_group(
    click.option("--system-prompt", help="Overrides the system prompt used in training."),
    click.option(
        "--max-new-tokens",
        type=click.IntRange(min=1),
        default=512,
        show_default=True,
        help="Maximum length of the answer.",
    ),
    click.option(
        "--temperature",
        type=click.FloatRange(min=0, max=100),
        default=0.0,
        show_default=True,
        help="Sampling temperature; 0 is greedy decoding.",
    ),
    click.option(
        "--top-p",
        type=click.FloatRange(min=0, max=1, min_open=True),
        default=1.0,
        show_default=True,
        help="Nucleus sampling; requires a temperature above 0.",
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Random seed for sampling."),
)
