"""What the commands of sweeps share: their argument."""

import click

NAME_ARGUMENT = click.argument("name", metavar="NAME")
