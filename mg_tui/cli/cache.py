"""`model-garden cache`: show and clear the caches."""

import json
from pathlib import Path
from typing import Final

import click

from mg_tui.cli.formatting import format_bytes
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings

# Folder of each cache and its contents. All but the last are rebuilt when needed.
CACHES: Final = {
    "features": "image features of frozen vision towers",
    "images": "images downloaded from URLs in datasets",
    "embedded-images": "images embedded in dataset rows",
    "indexes": "line indexes of datasets",
    "looks": "sizes and formats of image files",
    "tokens": "token counts of rows",
    "rows": "rows of large datasets",
    "checks": "reports of checks of large datasets",
    "llama.cpp": "programs for GGUF, built by `export --setup gguf`",
}


@click.group("cache", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a record.")
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show the caches; `cache clear` deletes them."""
    if ctx.invoked_subcommand is not None:
        return
    settings: Settings = ctx.obj
    sizes = {name: _measure_folder(settings.cache / name) for name in CACHES}
    if as_json:
        record = {name: {"files": files, "bytes": size} for name, (files, size) in sizes.items()}
        click.echo(json.dumps({"folder": str(settings.cache), **record}))
        return
    rows = [(name, format_bytes(size), f"{files:,}", CACHES[name]) for name, (files, size) in sizes.items()]
    for line in format_table(
        ("cache", "size", "files", "holds"), rows, width=terminal_width(), right=("size", "files")
    ):
        click.echo(line)
    click.echo(f"in {settings.cache}")


@cache.command("clear")
@click.argument("which", type=click.Choice(list(CACHES)), nargs=-1)
@click.pass_obj
def clear(settings: Settings, which: tuple[str, ...]) -> None:
    """Delete all caches, or only those named. Running runs recreate what they need."""
    for name in which or tuple(CACHES):
        files, size = 0, 0
        for path in _list_files(settings.cache / name):
            size += path.stat().st_size
            path.unlink(missing_ok=True)
            files += 1
        click.echo(f"{name}: {files} files, {size / 2**20:.1f} MiB removed", err=True)


def _list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _measure_folder(folder: Path) -> tuple[int, int]:
    file_sizes = [path.stat().st_size for path in _list_files(folder)]
    return len(file_sizes), sum(file_sizes)
