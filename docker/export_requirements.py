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
    """The requirements of a list, each on one line with its marker and its hashes."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def list_versions(text: str) -> dict[str, set[str]]:
    """Versions by package; more than one where markers tell them apart."""
    found: dict[str, set[str]] = {}
    for entry in list_requirements(text):
        if match := _REQUIREMENT.match(entry):
            found.setdefault(match["name"], set()).add(match["version"])
    return found


def find_problems(text: str) -> list[str]:
    """What keeps a list from being installable anywhere with `--require-hashes`: one sentence each."""
    found = [] if list_requirements(text) else ["there is no package in it"]
    for entry in list_requirements(text):
        name = entry.split()[0]
        if not _REQUIREMENT.match(entry):
            found.append(f"{name} is not a package with an exact version")
        elif "--hash=sha256:" not in entry:
            found.append(f"{name} has no hash")
    if "://" in text:
        found.append("there is a download address in it")
    return found


def run_uv(*arguments: str) -> str:
    """What uv prints. uv says itself what goes wrong; this program then ends with its status."""
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
    """tools.in with everything it needs. Versions of the present tools.txt are kept unless `upgrade` is set."""
    run_uv(
        *("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"),
        *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
        *(["--upgrade"] if upgrade else []),
        *("--output-file", "docker/tools.txt", "docker/tools.in"),
    )
    return (HERE / "tools.txt").read_text(encoding="utf-8")


def write(path: Path, text: str, arguments: str = "") -> None:
    """Write a list, unless something is wrong with it."""
    if found := find_problems(text):
        sys.exit(f"{path.name}: " + "; ".join(found))
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
