"""What is left out of the start, and when nothing may be."""

import gc
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine import startup
from mg_tui.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("config", "quantization", "optimizer"),
    [
        (None, "none", "adamw"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "none", "adamw"),
        ({}, "nf4", "adamw"),
        ({}, "none", "adamw_8bit"),
        ({}, "none", "adamw"),  # but the process is not the worker's alone
    ],
)
def test_nothing_that_is_needed_is_hidden(config: dict[str, object] | None, quantization: str, optimizer: str) -> None:
    assert not startup.leave_out_bitsandbytes(config, quantization=quantization, optimizer=optimizer)
    assert importlib.util.find_spec("bitsandbytes") is not None


def test_a_hidden_library_is_not_installed_to_others() -> None:
    code = (
        "from mg_tui.engine import startup; startup.own_process();"
        "assert startup.leave_out_bitsandbytes({}, quantization='none', optimizer='adamw');"
        "import importlib.util; assert importlib.util.find_spec('bitsandbytes') is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_garbage_is_collected_again_after_importing() -> None:
    with startup.importing():
        assert not gc.isenabled()
        with startup.importing():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_worker_says_its_first_words_without_torch() -> None:
    code = (
        "import sys; import mg_tui.engine.worker, mg_tui.engine.training;"
        "heavy = {'torch', 'transformers', 'peft', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


_WAITING = (
    "import sys; from mg_tui.engine import startup; startup.own_process();"
    "import datasets; assert not {'pandas', 'pyarrow', 'datasets.features'} & sys.modules.keys();"
)


@pytest.mark.parametrize(
    "used",
    [
        "assert datasets.Dataset.from_list([{'a': 1}])[0] == {'a': 1}",
        "from datasets import Dataset; assert Dataset.__name__ == 'Dataset'",
        "from datasets.features import Value; assert Value is datasets.Value; import datasets.features as f;"
        "assert f is sys.modules['datasets.features'] and f.__spec__.loader.path.endswith('__init__.py')",
        "import importlib.util as u; assert u.find_spec('datasets').origin == datasets.__file__",
    ],
)
def test_a_library_that_waits_is_there_when_it_is_used(used: str) -> None:
    after = "; assert type(datasets) is type(sys)" if "Dataset" in used or "Value" in used else ""
    subprocess.run([sys.executable, "-c", _WAITING + used + after], check=True, timeout=60)


def test_a_run_imports_no_library_of_tables(tmp_path: Path) -> None:
    row = {"text": "how many?", "image": "picture.png", "response": "one"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    Image.new("RGB", (56, 56)).save(tmp_path / "picture.png")
    values = {"base_model": "tiny", "dataset": str(tmp_path / "rows.jsonl"), "max_steps": 1, "device": "cpu"}
    spec = TrainingSpec.parse({**values, "workers": 0, "sample_count": 0})
    folder = RunFolder.create(tmp_path / "home", spec, cwd=tmp_path)
    command = [sys.executable, "-X", "importtime", "-m", "mg_tui.engine", str(folder.path)]
    done = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"torch", "peft", "mg_tui.engine.trainer"} <= imported
    assert not imported & {
        "pandas",
        "pyarrow",
        "sklearn",
        "scipy",
        "bitsandbytes.nn",
        "tensorboard",
        "datasets.features",
    }
