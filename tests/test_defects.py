"""`scripts/defects.toml` is not stale, and `scripts/mutate.py` tells a defect that is noticed from one that is not."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutate", ROOT / "scripts" / "mutate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


mutate = load_script()
DEFECTS = mutate.read_defects()


def test_ids_are_unique_and_there_are_many() -> None:
    ids = [defect.id for defect in DEFECTS]
    assert len(set(ids)) == len(ids) > 50


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.id)
def test_an_entry_still_fits_the_code(defect: mutate.Defect) -> None:  # type: ignore[name-defined]
    before = (ROOT / defect.file).read_text(encoding="utf-8")
    assert before.count(defect.text) == 1, "its text occurs exactly once"
    after = before.replace(defect.text, defect.becomes)
    assert ast.dump(ast.parse(after)) != ast.dump(ast.parse(before)), "it changes what the file does"
    assert defect.tests
    for test in defect.tests:
        file, *names = test.partition("[")[0].split("::")
        body: list[ast.stmt] = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for name in names:
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            (node,) = [node for node in body if isinstance(node, kinds) and node.name == name]
            assert "slow" not in " ".join(map(ast.unparse, node.decorator_list)), "it runs every time"
            body = node.body


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one function, one test and three defects."""
    files = {
        "mg_tui/__init__.py": "",
        "mg_tui/half.py": "def half(number):\n    return number / 2\n",
        "tests/test_half.py": "from mg_tui.half import half\n\n\ndef test_half():\n    assert half(4) == 2\n",
        "ignored.txt": "",
        ".gitignore": "ignored.txt\n",
        "defects.toml": "defects = [\n"
        + "".join(
            f'  {{ id = "{id}", file = "mg_tui/half.py", text = "{text}", becomes = "{new}", '
            'tests = ["tests/test_half.py::test_half"] },\n'
            for id, text, new in (("wrong", "/ 2", "/ 3"), ("harmless", "/ 2", "* 0.5"), ("stale", "/ 7", "/ 8"))
        )
        + "]\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    monkeypatch.setattr(mutate, "import_libraries", lambda: None)
    defects = mutate.read_defects(tmp_path / "defects.toml")
    monkeypatch.setattr(mutate, "read_defects", lambda: defects)
    return tmp_path


def stand_in(project: Path, tests: object) -> tuple[int, str]:
    """pytest in a process of its own: here another pytest is running."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", *tests]  # type: ignore[misc]
    done = subprocess.run(
        command, cwd=project, env={"PYTHONPATH": ".", "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True
    )
    return done.returncode, done.stdout


def test_survivors_and_stale_entries_are_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutate, "run_tests", stand_in)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert mutate.main([]) == 1
    output = capsys.readouterr().out
    verdicts = {line.split()[-1]: line.rpartition(" s ")[0].rstrip("0123456789. ") for line in output.splitlines()[1:4]}
    assert verdicts == {"wrong": "noticed", "harmless": "SURVIVED", "stale": "text not found"}
    assert "3 defects, 1 noticed" in output and "not noticed: harmless, stale" in output
    assert mutate.main(["--only", "wrong"]) == 0
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before, "nothing planted here"


def test_nothing_is_tried_when_the_tests_fail_without_a_defect(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "mg_tui/half.py").write_text("def half(number):\n    return number / 2 + 1\n")
    monkeypatch.setattr(mutate, "run_tests", stand_in)
    assert mutate.main(["--only", "wrong"]) == 1
    assert "without a defect the tests do not pass" in capsys.readouterr().err


def test_listing_and_an_unknown_id(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mutate.main(["--list", "--only", "w*"]) == 0
    assert capsys.readouterr().out == "wrong  mg_tui/half.py\n    tests/test_half.py::test_half\n"
    assert mutate.main(["--only", "nothing"]) == 2
    assert "no defect is called nothing" in capsys.readouterr().err


def test_a_copy_has_what_git_knows_or_would_add(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("copy")
    mutate.copy_project(project, target)
    assert (target / "mg_tui/half.py").is_file() and (target / ".gitignore").is_file()
    assert not (target / "ignored.txt").exists() and not (target / ".git").exists()
