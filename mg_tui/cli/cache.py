"""`model-garden cache`: what is kept to save time, and throwing it away."""

import json
from pathlib import Path
from typing import Final

import click

from mg_tui.config import Settings

# Folder in the cache, and what is in it. All of it can be made again.
CACHES: Final = {
    "features": "what frozen vision towers made of images",
    "images": "images downloaded from addresses in datasets",
    "embedded-images": "images that came inside rows of datasets",
    "indexes": "where the lines of datasets begin",
    "looks": "sizes and formats of images that were looked at",
    "tokens": "tokens of rows that were counted",
}


@click.group("cache", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a record.")
@click.pass_context
def cache(ctx: click.Context, as_json: bool) -> None:
    """Show what is kept to save time; `cache clear` throws it away."""
    if ctx.invoked_subcommand is not None:
        return
    settings: Settings = ctx.obj
    found = {name: _measure_folder(settings.cache / name) for name in CACHES}
    if as_json:
        record = {name: {"files": files, "bytes": size} for name, (files, size) in found.items()}
        click.echo(json.dumps({"folder": str(settings.cache), **record}))
        return
    click.echo(f"{settings.cache}")
    for name, (files, size) in found.items():
        click.echo(f"  {name:<9} {size / 2**20:10.1f} MiB  {files:7} files  {CACHES[name]}")


@cache.command("clear")
@click.argument("which", type=click.Choice(list(CACHES)), nargs=-1)
@click.pass_obj
def clear(settings: Settings, which: tuple[str, ...]) -> None:
    """Remove what is kept; name what to remove only a part. Runs that are using it make it again."""
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
    sizes = [path.stat().st_size for path in _list_files(folder)]
    return len(sizes), sum(sizes)
