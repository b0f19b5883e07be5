"""Look for secrets in what git tracks, and for known vulnerabilities in what is installed.

    uv run python scripts/audit.py secrets           # in the newest commit; with --staged, in what is staged
    uv run python scripts/audit.py dependencies      # of every package in uv.lock, all extras included

Exit code 0: nothing found; 1: something was; 2: the tool failed. A vulnerability service that cannot be reached is a
warning and no failure: a machine without the network can still merge.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
RULES_FILE: Final = ROOT / ".ci" / "secrets.yaml"
SERVICE: Final = "https://api.osv.dev/"
_KINGFISHER_FOUND: Final = 200  # exit code of `kingfisher scan` with findings
_KINGFISHER: Final = ("kingfisher", "scan", "--no-validate", "--no-update-check", "--redact", "--format", "json")
_UV_AUDIT: Final = ("uv", "audit", "--frozen", "--preview-features", "audit-command,json-output")
_UV_FOUND: Final = 1
_MALWARE: Final = "quarantined"  # the index's status of a project that may be malware
_PATIENCE: Final = 120.0  # seconds for the service, after uv's own deadlines


def find_secrets(folder: Path, *, staged: bool = False) -> list[str]:
    """Places of secrets in the newest commit of a repository, or in what is staged. Nothing leaves the machine.

    Raises:
        RuntimeError: the scan failed.
    """
    what = ["--staged"] if staged else ["--branch", "HEAD", "--git-history", "none"]
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.json"
        command = [*_KINGFISHER, *what, "--rules-path", str(RULES_FILE), "--output", str(report), "."]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode not in (0, _KINGFISHER_FOUND):
            raise RuntimeError(done.stderr.strip() or f"kingfisher ended with {done.returncode}")
        found = [(item["finding"], item["rule"]) for item in json.loads(report.read_text())["findings"]]
    places = sorted((finding["path"], finding["line"], rule["description"]) for finding, rule in found)
    return [f"{path}:{line}: {description}" for path, line, description in places]


def find_vulnerabilities(
    folder: Path, service: str, environ: Mapping[str, str] = os.environ
) -> tuple[list[str], str | None]:
    """Known vulnerabilities of the packages in a project's uv.lock; and why the service did not answer, or None.

    Raises:
        RuntimeError: the audit failed for another reason, for example because there is no uv.lock.
    """
    command = [*_UV_AUDIT, "--output-format", "json", "--service-url", service]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env={"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "15", **environ},
        )
    except subprocess.TimeoutExpired:
        return [], f"no answer within {_PATIENCE:.0f} seconds"
    if done.returncode in (0, _UV_FOUND) and done.stdout.strip():
        report = json.loads(done.stdout)
        found = [_vulnerability(item) for item in report["vulnerabilities"]]
        # Projects may also be archived or deprecated, which is no danger.
        found += [f"{item['name']}: in quarantine" for item in report["adverse_statuses"] if item["status"] == _MALWARE]
        return found, None
    said = " ".join(done.stderr.split())
    if " for url (" in said:  # of a request, in uv's words
        return [], said
    raise RuntimeError(said)


def _vulnerability(item: Mapping[str, Any]) -> str:
    package, fixed = item["dependency"], ", ".join(item["fix_versions"]) or "no version"
    return f"{package['name']} {package['version']}: {item['display_id']} {item['summary'] or ''} (fixed in {fixed})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    secrets = commands.add_parser("secrets", help="look for secrets in what git tracks")
    secrets.add_argument("--staged", action="store_true", help="look at what is staged for the next commit")
    dependencies = commands.add_parser("dependencies", help="look for known vulnerabilities")
    dependencies.add_argument("--service", default=SERVICE, help="an OSV service")
    for command in (secrets, dependencies):
        command.add_argument("folder", nargs="?", type=Path, default=ROOT, help="default: this project")
    given = parser.parse_args(arguments)
    silent = None
    try:
        if given.command == "secrets":
            found = find_secrets(given.folder, staged=given.staged)
        else:
            found, silent = find_vulnerabilities(given.folder, given.service)
    except (OSError, RuntimeError) as error:
        print(f"audit of {given.command}: {error}", file=sys.stderr)
        return 2
    if silent is not None:
        mark = "::warning::" if os.environ.get("GITHUB_ACTIONS") else "warning: "
        print(f"{mark}dependencies were not audited: the vulnerability service cannot be reached: {silent}")
        return 0
    print("\n".join([*found, f"audit of {given.command}: {len(found) or 'nothing'} found"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
