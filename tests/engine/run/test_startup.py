"""What is left out of the start, and when nothing may be."""

import gc
import subprocess
import sys

from mg_tui.engine.run import gc_pause


def test_garbage_is_collected_again_after_importing() -> None:
    with gc_pause.gc_paused():
        assert not gc.isenabled()
        with gc_pause.gc_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_worker_says_its_first_words_without_torch() -> None:
    code = (
        "import sys; import mg_tui.engine.run.worker, mg_tui.engine.run.training;"
        "heavy = {'torch', 'transformers', 'peft', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
