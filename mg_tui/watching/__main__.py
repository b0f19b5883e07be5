"""`python -m mg_tui.watching FOLDER`: watches the run in a folder, or every run of a home folder."""

import sys
from pathlib import Path

from mg_tui.core.errors import GardenError
from mg_tui.watching.process import WatchProcess


def main() -> int:
    """Watch until nothing is left to do; returns the exit code."""
    try:
        return WatchProcess(Path(sys.argv[1])).run()
    except GardenError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
