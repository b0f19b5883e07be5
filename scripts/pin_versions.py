"""Write exact versions of every dependency into pyproject.toml.

    uv run python scripts/pin_versions.py            # pin what resolves now, and print changes
    uv run python scripts/pin_versions.py --upgrade  # upgrade everything first

`uv.lock` records download URLs, which differ between machines, so it is not committed; the versions it resolved
to are, as `[tool.uv] constraint-dependencies`, and every fresh lock must agree with them. A
package that has one version with the extra `unsloth` and another without cannot be a constraint: the group `current`
and the extra pin those, and torch pins its own CUDA libraries.
"""

import argparse
import re
import subprocess
import tomllib
from collections import defaultdict
from pathlib import Path

import tomlkit

ROOT = Path(__file__).resolve().parent.parent


def list_constraints(lock: dict[str, list[dict[str, object]]]) -> list[str]:
    """One requirement for every locked package whose version does not depend on the extra or the group."""
    versions: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for package in lock["package"]:
        if "registry" in package["source"]:  # type: ignore[operator]
            pythons = {
                " and ".join(re.findall(r"python_full_version [<>=]+ '[\d.]+'", str(marker)))
                for marker in package.get("resolution-markers", [])  # type: ignore[attr-defined]
            }
            versions[str(package["name"])][str(package["version"])] = pythons
    constraints = []
    for name, by_version in versions.items():
        if len(by_version) == 1:
            constraints += [f"{name}=={version}" for version in by_version]
        elif not set.intersection(*by_version.values()):
            constraints += [
                f"{name}=={version} ; {python}" for version, pythons in by_version.items() for python in pythons
            ]
    return sorted(constraints)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="upgrade to the newest versions that resolve together")
    upgrade = parser.parse_args().upgrade

    path = ROOT / "pyproject.toml"
    document = tomlkit.parse(path.read_text())
    uv = document["tool"]["uv"]
    before = list(uv.get("constraint-dependencies", []))
    if upgrade:
        uv.pop("constraint-dependencies", None)
        path.write_text(tomlkit.dumps(document))
    subprocess.run(["uv", "lock", *(["--upgrade"] if upgrade else [])], cwd=ROOT, check=True)

    after = list_constraints(tomllib.loads((ROOT / "uv.lock").read_text()))
    array = tomlkit.array()
    array.extend(after)
    uv["constraint-dependencies"] = array.multiline(True)
    path.write_text(tomlkit.dumps(document))
    for line in sorted(set(before) ^ set(after)):
        print(("+ " if line in after else "- ") + line)
    print(f"{len(after)} versions pinned")


if __name__ == "__main__":
    main()
