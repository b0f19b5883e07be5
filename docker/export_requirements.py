"""Write the hashed requirements of the image: docker/requirements.txt and docker/tools.txt.

    uv run python docker/export_requirements.py                                 # after pyproject.toml has changed
    uv run python docker/export_requirements.py --extra wandb --output docker/requirements-wandb.txt

Versions are those pinned in pyproject.toml. The lists name packages, versions and hashes and never where to download
them, so they hold behind any mirror.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
HEADER = "# Written by `uv run python docker/export_requirements.py{arguments}`; not to be edited.\n"
_REQUIREMENT = re.compile(r"^(?P<name>[a-z0-9][a-z0-9-]*)==(?P<version>[^ ;\\]+)")


def list_requirements(text: str) -> list[str]:
    """The requirements of a list, each on one line with its marker and hashes."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def list_versions(text: str) -> dict[str, set[str]]:
    """Versions by package; several where markers distinguish them."""
    versions: dict[str, set[str]] = {}
    for entry in list_requirements(text):
        if match := _REQUIREMENT.match(entry):
            versions.setdefault(match["name"], set()).add(match["version"])
    return versions


def find_problems(text: str) -> list[str]:
    """Why a list cannot be installed from any mirror with `--require-hashes`: one sentence per problem."""
    problems = [] if list_requirements(text) else ["there is no package in it"]
    for entry in list_requirements(text):
        name = entry.split()[0]
        if not _REQUIREMENT.match(entry):
            problems.append(f"{name} is not a package with an exact version")
        elif "--hash=sha256:" not in entry:
            problems.append(f"{name} has no hash")
    if "://" in text:
        problems.append("there is a download address in it")
    return problems


def run_uv(*arguments: str) -> str:
    """Standard output of uv. If uv fails, it has printed why, and this program exits with its status."""
    done = subprocess.run(["uv", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def export(extras: list[str]) -> str:
    """The project's dependencies without the workspace's own packages; the newest torch unless `unsloth` forbids it."""
    current = "--no-group=current" if "unsloth" in extras else "--group=current"
    return run_uv(
        "export",
        "--quiet",
        *("--no-dev", current, "--no-emit-workspace"),
        *("--no-header", "--no-annotate"),
        *(f"--extra={extra}" for extra in extras),
    )


def compile_tools(upgrade: bool) -> str:
    """Lock tools.in with its dependencies. Versions in tools.txt stay unless `upgrade` is set."""
    run_uv(
        *("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"),
        *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
        *(["--upgrade"] if upgrade else []),
        *("--output-file", "docker/tools.txt", "docker/tools.in"),
    )
    return (HERE / "tools.txt").read_text(encoding="utf-8")


def write(path: Path, text: str, arguments: str = "") -> None:
    """Write a list, or exit if it has problems."""
    if problems := find_problems(text):
        sys.exit(f"{path.name}: " + "; ".join(problems))
    path.write_text(HEADER.format(arguments=arguments) + text, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(list_versions(text))} packages")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extra", action="append", default=[], metavar="NAME", help="an extra of pyproject.toml")
    parser.add_argument(
        "--output", type=Path, default=HERE / "requirements.txt", metavar="FILE", help="a file in docker/"
    )
    parser.add_argument("--upgrade", action="store_true", help="move tools.txt to the newest versions")
    options = parser.parse_args()

    arguments = "".join(f" --extra {extra}" for extra in options.extra)
    if options.output.name != "requirements.txt":
        arguments += f" --output docker/{options.output.name}"
    if options.output.resolve().parent != HERE:
        parser.error(f"--output must name a file in {HERE}, where the image's build looks for it")
    write(options.output.resolve(), export(options.extra), arguments)
    if not options.extra:
        write(HERE / "tools.txt", compile_tools(options.upgrade))


if __name__ == "__main__":
    main()
