"""Write the hashed requirements of the images, docker/requirements-VARIANT.txt, and docker/tools.txt.

    uv run python docker/export_requirements.py                                 # all, after pyproject.toml has changed
    uv run python docker/export_requirements.py --variant cu13 --extra wandb --output docker/requirements-wandb.txt
    uv run python docker/export_requirements.py --torch-index URL --output docker/requirements-cu126.txt

Versions are those pinned in pyproject.toml. The lists name packages, versions and hashes and never where to download
them, so they hold behind any mirror. `--torch-index` takes torch, torchvision and their CUDA libraries from an index of
PyTorch's, in the version of the variant if it has it; the image's build then needs the same URL as `TORCH_INDEX`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Of each variant: what `uv export` takes beside the project's dependencies.
VARIANTS = {
    "cu13": ("--group=current",),
    "cu12": ("--no-group=current", "--group=cu12"),
    "cu13-unsloth": ("--no-group=current", "--extra=unsloth"),
}
# Extras of every image: small, and used on rented machines.
EXTRAS = [
    name
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    if name in ("notify", "s3")
]
HEADER = "# Written by `uv run python docker/export_requirements.py{arguments}`; not to be edited.\n"
# torch and the libraries whose exact versions it names.
OF_TORCH = re.compile(r"(nvidia-(?!ml-py)|cuda-|triton|torch(vision)?(?![a-z-]))")
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


def run_uv(*arguments: str, cwd: Path = ROOT) -> str:
    """Standard output of uv. If uv fails, it has printed why, and this program exits with its status."""
    done = subprocess.run(["uv", *arguments], cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def export(variant: str, extras: list[str]) -> str:
    """A variant's requirements, and those of `extras`, without the workspace's own packages."""
    return run_uv(
        *("export", "--quiet", "--no-dev", "--no-emit-workspace", "--no-header", "--no-annotate"),
        *VARIANTS[variant],
        *(f"--extra={extra}" for extra in (*EXTRAS, *extras)),
    )


def replace_torch(text: str, index: str) -> str:
    """The list with the torch that `index` has; other versions stay.

    Args:
        text: a list of requirements with the torch of PyPI.
        index: URL or folder of a package index, for example PyTorch's for CUDA 12.6.
    """
    versions = list_versions(text)
    fixed = [entry.partition(" --hash")[0] for entry in list_requirements(text) if not OF_TORCH.match(entry)]
    wanted = [f"{name}=={version}" for name in ("torch", "torchvision") for version in versions.get(name, ())]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "requirements.in")
        source.write_text("\n".join([*wanted, *fixed]) + "\n", encoding="utf-8")
        return run_uv(
            *("pip", "compile", "--quiet", "--generate-hashes", "--python-version", "3.12"),
            *("--python-platform", "x86_64-manylinux_2_28", "--no-header", "--no-annotate"),
            *("--index", index, "--no-emit-index-url", "--no-emit-find-links", str(source)),
            cwd=Path(folder),  # outside the project, whose pins are those of the torch of PyPI
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
    path = path.resolve()
    path.write_text(HEADER.format(arguments=arguments) + text, encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(list_versions(text))} packages")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=VARIANTS, help="only this one")
    parser.add_argument("--extra", action="append", default=[], metavar="NAME", help="an extra of pyproject.toml")
    parser.add_argument("--torch-index", metavar="URL", help="an index of PyTorch's to take torch from")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a file in docker/")
    parser.add_argument("--upgrade", action="store_true", help="move tools.txt to the newest versions")
    options = parser.parse_args()

    if not (options.extra or options.torch_index):
        for variant in [options.variant] if options.variant else VARIANTS:
            write(options.output or HERE / f"requirements-{variant}.txt", export(variant, []))
        write(HERE / "tools.txt", compile_tools(options.upgrade))
        return
    if options.output is None or options.output.resolve().parent != HERE:
        parser.error(f"--output must name a file in {HERE}, where the image's build looks for it")
    variant = options.variant or "cu13"
    text = export(variant, options.extra)
    arguments = f" --variant {variant}" + "".join(f" --extra {extra}" for extra in options.extra)
    if options.torch_index:
        text = replace_torch(text, options.torch_index)
        arguments += " --torch-index URL"
    write(options.output.resolve(), text, f"{arguments} --output docker/{options.output.name}")


if __name__ == "__main__":
    main()
