"""The environment of all tests: signals as a terminal's programs have them, and the program on the PATH.

A shell without job control starts background commands with signals off.
"""

import os
import signal
import sys
from pathlib import Path

# Programs that tests start inherit what is ignored here, and would not hear an interrupt or a hang-up.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The models are tiny: a second thread gains nothing and waits for its core where tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # so that messages name `model-garden`, not `uv run model-garden`
os.environ["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")])
