"""The names of transformers that the engine depends on are all listed, and exist in the installed version.

Run with every version that pyproject allows: `uv run --with transformers==VERSION pytest FILE`, or with the version's
folder first in PYTHONPATH.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.run import training_arguments, transformers_contract
from mg_tui.engine.run.placement import Placement
from mg_tui.engine.run.transformers_contract import NAMES, LibraryName, find_differences

PLACEMENT = Placement("cpu", "CPU", "float32", "none", "sdpa")


def test_the_installed_version_is_a_supported_one_and_has_every_name() -> None:
    import transformers

    assert find_differences() == []
    supported = SpecifierSet(transformers_contract.supported_range())
    assert transformers.__version__ in supported
    assert {"5.17.0", "5.23.0"} <= set(supported.filter(["5.16.2", "5.17.0", "5.23.0", "5.24.0", "6.0.0"]))
    assert not {"5.16.2", "5.24.0", "6.0.0"} & set(supported.filter(["5.16.2", "5.24.0", "6.0.0"]))


def test_a_name_that_is_gone_or_takes_something_else_is_found() -> None:
    gone = LibraryName("transformers:Trainer._never_there", "called", "run.trainer")
    other = LibraryName(
        "transformers:Trainer._save_checkpoint", "overridden", "run.trainer", ("model", "trial", "metrics")
    )
    missing_parameter = LibraryName("transformers:Trainer.__init__(no_such_parameter)", "set", "run.trainer")
    either = LibraryName("transformers:Trainer._never_there|evaluate", "called", "run.trainer")
    result = find_differences((gone, other, missing_parameter, either))
    assert len(result) == 3
    assert "_never_there is missing" in result[0] and "metrics" in result[1] and "no_such_parameter" in result[2]


def _trainer_names(file: Path) -> Iterator[str]:
    """Names of transformers' Trainer that a module overrides, and private ones that it uses."""
    from transformers import Trainer

    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ClassDef) and "Trainer" in {getattr(base, "id", None) for base in node.bases}:
            overridden = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            yield from (name for name in overridden - {"__init__"} if hasattr(Trainer, name))
        if isinstance(node, ast.Attribute) and node.attr[0] == "_" != node.attr[1] and hasattr(Trainer, node.attr):
            yield node.attr


def test_every_overridden_and_private_name_is_listed() -> None:
    listed = {name.path.rsplit(".", 1)[-1].partition("(")[0] for name in NAMES if ":Trainer." in name.path}
    folder = Path(inspect.getfile(transformers_contract)).parent
    used = {name for file in sorted(folder.glob("*.py")) for name in _trainer_names(file)}
    assert {"_save_checkpoint", "_get_learning_rate", "training_step"} <= used
    assert used <= listed


def make_arguments(tmp_path: Path) -> Any:
    spec = TrainingSpec.parse(
        {"base_model": "tiny", "dataset": "rows.jsonl", "weight_decay": 0.125, "max_grad_norm": 0.5}
    )
    return training_arguments.make_training_arguments(
        spec, PLACEMENT, folder=tmp_path, run="run", total_steps=10, evaluates=True
    )


def test_every_argument_reaches_transformers(tmp_path: Path) -> None:
    created = make_arguments(tmp_path)
    assert (created.weight_decay, created.max_grad_norm, created.max_steps) == (0.125, 0.5, 10)


def test_an_argument_that_transformers_has_renamed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers

    known = [SimpleNamespace(name=field.name) for field in fields(transformers.TrainingArguments)]
    monkeypatch.setattr(
        training_arguments, "fields", lambda _kind: [field for field in known if field.name != "max_grad_norm"]
    )
    with pytest.raises(EnvironmentProblem, match="has no training argument max_grad_norm") as caught:
        make_arguments(tmp_path)
    assert caught.value.hint is not None and transformers_contract.supported_range() in caught.value.hint


@pytest.mark.parametrize(("version", "works"), [("5.17.0", False), ("5.18.0", True), ("5.23.0", True), ("6.0.1", True)])
def test_image_features_need_a_version_that_takes_them(
    version: str, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _name: version)
    problem = transformers_contract.image_features_problem()
    assert (problem is None) is works
    assert works or f"transformers {version}" in str(problem)
    assert find_differences() == []
