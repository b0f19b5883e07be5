"""Plant one defect at a time in a copy of the project, and see whether the tests that should notice it do.

`uv run python scripts/mutate.py` goes through `scripts/defects.toml`: every entry names a file, a text in it, what the
text is replaced by, and the tests that have to fail then. A defect that no test notices is a survivor: write the test.
The files are copied first, so nothing is planted in the working tree. Defects are tried one after the other.
"""

import argparse
import compileall
import contextlib
import fnmatch
import importlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DEFECTS_FILE: Final = ROOT / "scripts" / "defects.toml"
# Exit codes of pytest.
_ALL_PASSED: Final = 0
_SOME_FAILED: Final = 1
_BROKEN: Final = 70
_SLOW_IMPORTS: Final = ("pytest", "numpy", "PIL.Image", "torch", "transformers.trainer", "peft", "textual.app")


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect: in `file`, `text` (which occurs there once) becomes `becomes`; one of `tests` has to fail then."""

    id: str
    file: str
    text: str
    becomes: str
    tests: tuple[str, ...]

    def plant(self, root: Path) -> str:
        """Plant it in the project at `root`; returns the file's content before.

        Raises:
            ValueError: the text does not occur exactly once; the entry is stale.
        """
        path = root / self.file
        before = path.read_text(encoding="utf-8")
        if (count := before.count(self.text)) != 1:
            raise ValueError(f"{self.id}: the text occurs {count} times in {self.file}")
        path.write_text(before.replace(self.text, self.becomes), encoding="utf-8")
        return before


def read_defects(path: Path = DEFECTS_FILE) -> list[Defect]:
    """The defects of the list, in its order."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["defects"]
    return [Defect(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def copy_project(root: Path, target: Path) -> None:
    """Copy the files that git knows or would add, as they are in the working tree."""
    command = ("git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        source, copy = root / name, target / name
        if source.is_file():  # one that is deleted but not yet committed is listed too
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy)


def compile_project(project: Path) -> None:
    """Compile the copy's code once. Bytecode is usually found by the time and size of its source, which a defect may
    leave as they were; this is found by the source's hash."""
    for folder in (project / "mg_tui", *project.glob("plugins/*/mg_*")):
        compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def import_libraries() -> None:
    """Import what takes longest to import, so that the forked test processes need not; none of it is our own code."""
    for name in _SLOW_IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def run_tests(project: Path, tests: Iterable[str]) -> tuple[int, str]:
    """Exit code and output of pytest for some tests of the project in a folder, in a process forked from this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            code = _BROKEN
            try:
                code = _run_pytest(project, tests, output.fileno())
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _pid, status = os.waitpid(pid, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().decode("utf-8", "replace")


def _run_pytest(project: Path, tests: Iterable[str], output: int) -> int:
    """In the forked process: pytest on the copy, for itself and for the processes that tests start."""
    import pytest

    for target, fd in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(fd, target)
    os.chdir(project)
    paths = [str(project), *map(str, project.glob("plugins/*"))]  # the installed packages are the working tree's
    sys.path[:0] = paths
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=os.pathsep.join(paths), PYTHONDONTWRITEBYTECODE="1")
    imported = "ignore::pytest.PytestAssertRewriteWarning"  # plugins that `import_libraries` brought in
    places = ["-p", "no:cacheprovider", "--basetemp", f"{project}-tests"]
    return int(pytest.main(["-x", "-q", *places, "-W", imported, *tests]))


def try_defect(defect: Defect, project: Path) -> tuple[str, str]:
    """ "noticed", "SURVIVED", "text not found" or "error", and the output of the tests. The copy is restored."""
    try:
        before = defect.plant(project)
    except (ValueError, OSError) as error:
        return "text not found", str(error)
    try:
        code, output = run_tests(project, defect.tests)
    finally:
        (project / defect.file).write_text(before, encoding="utf-8")
    return {_ALL_PASSED: "SURVIVED", _SOME_FAILED: "noticed"}.get(code, "error"), output


def select(defects: Sequence[Defect], patterns: Sequence[str]) -> list[Defect]:
    """The defects whose id matches one of the patterns (`*` stands for anything); all without patterns."""
    return [d for d in defects if not patterns or any(fnmatch.fnmatchcase(d.id, pattern) for pattern in patterns)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 when a defect survived, is stale or could not be tried, and 2 when none is selected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the defects and their tests; plant nothing")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="only this one, or these: 'data-*'")
    parser.add_argument("--verbose", action="store_true", help="print the tests' output for what is not noticed")
    options = parser.parse_args(arguments)
    chosen = select(read_defects(), options.only)
    if not chosen:
        print(f"no defect is called {', '.join(options.only)}; --list prints them", file=sys.stderr)
        return 2
    if options.list:
        for defect in chosen:
            print(f"{defect.id}  {defect.file}\n    {' '.join(defect.tests)}")
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        project = Path(folder) / "project"
        copy_project(ROOT, project)
        compile_project(project)
        import_libraries()
        tests = dict.fromkeys(test for defect in chosen for test in defect.tests)
        code, output = run_tests(project, tests)
        if code != _ALL_PASSED:
            print(f"{output}\nwithout a defect the tests do not pass: what follows would mean nothing", file=sys.stderr)
            return 1
        print(f"{len(tests)} tests pass without a defect ({time.monotonic() - began:.0f} s)", flush=True)
        verdicts = [_try_and_print(defect, project, verbose=options.verbose) for defect in chosen]
    bad = [defect.id for defect, verdict in zip(chosen, verdicts, strict=True) if verdict != "noticed"]
    minutes = (time.monotonic() - began) / 60
    print(f"{len(chosen)} defects, {len(chosen) - len(bad)} noticed, in {minutes:.1f} minutes")
    if bad:
        print(f"not noticed: {', '.join(bad)}")
    return 1 if bad else 0


def _try_and_print(defect: Defect, project: Path, *, verbose: bool) -> str:
    began = time.monotonic()
    verdict, output = try_defect(defect, project)
    print(f"{verdict:<14} {time.monotonic() - began:5.1f} s  {defect.id}", flush=True)
    if verdict == "error" or (verbose and verdict != "noticed"):
        print(output[-3000:])
    return verdict


if __name__ == "__main__":
    sys.exit(main())
