"""`python -m mg_tui.engine <run folder>`: the worker of one run."""

import os
import sys
from pathlib import Path


def _settle_environment() -> None:
    """What libraries read when they are imported. What the user set stays."""
    # Tokenisation happens in the loader's processes; threads of the tokenizer would fight over the same cores, and
    # warn at every fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Blocks of different sizes come and go with steps of different lengths.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def main() -> None:
    """Run the worker and leave with its exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m mg_tui.engine <run folder>\n")
        sys.exit(2)
    _settle_environment()
    from mg_tui.engine.worker import work

    sys.exit(work(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
