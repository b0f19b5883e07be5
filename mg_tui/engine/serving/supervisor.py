"""`python -m mg_tui.engine.serving.supervisor COMMAND...`: runs a command until standard input closes.

The starter's end of the pipe closes however the starter ends, killed included. Then the command and everything it
started get SIGTERM, and SIGKILL after some seconds. Ends with the command's own exit code otherwise.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

_PATIENCE = 10.0  # seconds between SIGTERM and SIGKILL


def main() -> None:
    """Run the command line."""
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]}: {error.strerror}\n")
        sys.exit(127)
    ending = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()
        ending.set()
        _signal_group(process.pid, signal.SIGTERM)
        time.sleep(_PATIENCE)
        _signal_group(process.pid, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: _signal_group(process.pid, signal.SIGTERM))
    code = process.wait()
    # What it left behind goes with it.
    _signal_group(process.pid, signal.SIGKILL)
    sys.stdout.flush()
    os._exit(128 - code if code < 0 else code)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    main()
