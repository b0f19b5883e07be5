"""What is left out of the start, and when nothing may be."""

import gc
import importlib.util
import subprocess
import sys

import pytest

from mg_tui.engine import startup


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
