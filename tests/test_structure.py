"""The structure of the code: no import cycles, no two public classes of one name, a core that needs no plugin."""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = [("mg_tui", ROOT), *((path.name, path.parent) for path in sorted(ROOT.glob("plugins/*/mg_*")))]


def modules() -> dict[str, Path]:
    """Dotted name -> file of every module of Model Garden and its plugins."""
    files: dict[str, Path] = {}
    for package, folder in SOURCES:
        for file in (folder / package).rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def imported_modules(name: str, file: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The known modules that a module imports by name, wherever in it the import stands.

    Imports inside functions and under TYPE_CHECKING count like all others. That importing a submodule runs the
    `__init__` of its packages does not count: only names in import statements do.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import; write it in full"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                target = submodule if submodule in known else str(node.module)
                if target in known:
                    yield target


def import_graph() -> dict[str, set[str]]:
    known = modules()
    return {name: set(imported_modules(name, file, known)) - {name} for name, file in known.items()}


def find_cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of one cycle, each importing the next and the last the first again; empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle[::-1]
    return []


def test_there_is_no_import_cycle() -> None:
    graph = import_graph()
    assert len(graph) > 300, "the graph is of the whole code"
    assert find_cycle(graph) == []


def test_the_cycle_test_sees_every_kind_of_import(tmp_path: Path) -> None:
    bodies = {
        "a": "import b\n",
        "b": "def load():\n    from c import thing\n",
        "c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import other\n",
        "d": "import a\nimport json\n",
    }
    known = {name: tmp_path / f"{name}.py" for name in bodies}
    for name, body in bodies.items():
        known[name].write_text(body)
    graph = {name: set(imported_modules(name, file, known)) for name, file in known.items()}
    assert graph == {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    cycle = find_cycle(graph)
    assert set(cycle) == {"a", "b", "c"}
    assert all(target in graph[name] for name, target in pairwise(cycle))
    assert find_cycle({**graph, "c": set()}) == []


def test_no_two_public_classes_share_a_name() -> None:
    owners: dict[str, list[str]] = defaultdict(list)
    for name, file in modules().items():
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                owners[node.name].append(name)
    assert {name: places for name, places in owners.items() if len(places) > 1} == {}


def test_the_default_install_brings_every_plugin_and_no_module_imports_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    plugins = {tomllib.loads(file.read_text())["project"]["name"] for file in ROOT.glob("plugins/*/pyproject.toml")}
    assert plugins and plugins <= set(project["project"]["dependencies"])
    assert plugins <= set(project["tool"]["uv"]["sources"])
    packages = {file.parent.name for file in ROOT.glob("plugins/*/mg_*/__init__.py")}
    contracts = {contract["name"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    assert set(contracts["Nothing in mg_tui imports a plugin"]["forbidden_modules"]) == packages
