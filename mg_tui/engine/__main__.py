"""`python -m mg_tui.engine <run folder>`: the worker of one run."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

# These send what they hold back when the interpreter ends.
_FLUSHING_TRACKERS = frozenset({"wandb", "mlflow", "trackio"})


def _set_environment_defaults() -> None:
    """What libraries read when they are imported. What the user set stays."""
    # Tokenisation happens in the loader's processes; threads of the tokenizer would fight over the same cores, and
    # warn at every fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Blocks of different sizes come and go with steps of different lengths.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    # Threads that wait for their turn by spinning stand in the way of the loader's processes and of whatever else runs
    # on the machine: measured on two shared cores, a step took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A few microseconds of it bridge the gap from one small operation to the next: a tenth faster on two quiet cores,
    # and no slower where somebody else wants them (docs/benchmarks.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # oneDNN keeps the code it made for every shape it met, and torch another list of what it asked oneDNN for, 0.3 MiB
    # each: up to 1,024 in either. Steps have ever new lengths: 15 steps of a small model held 320 MiB more, and were no
    # quicker for it. What one forward pass needs is kept.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
    # A container with a share of a large machine: threads for all of its cores would only stand in each other's way.
    if (cores := _cgroup_cpu_limit()) is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def _cgroup_cpu_limit(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int | None:
    """Cores that a control group grants this process, when they are fewer than it may run on; else None."""
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        granted = max(1, round(int(limit) / int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        return None
    return granted if granted < len(os.sched_getaffinity(0)) else None


def main() -> None:
    """Run the worker and leave with its exit code."""

    def work(folder: Path) -> int:
        from mg_tui.engine.run.worker import run_worker

        return run_worker(folder)

    run_program("mg_tui.engine <run folder>", work)


def run_program(usage: str, work: Callable[[Path], int]) -> None:
    """Do `work` on the folder named on the command line, and leave with its exit code.

    Args:
        usage: the module and its argument.
        work: imports what it needs when it is called: libraries read the environment when they are imported.
    """
    if len(sys.argv) != 2:
        sys.stderr.write(f"usage: python -m {usage}\n")
        sys.exit(2)
    _set_environment_defaults()
    # What is going to be renamed in a library's next version concerns its users' programmers, not the log's readers.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|accelerate|torch)\b")
    from mg_tui.engine.run import log_stream

    log_stream.tolerate_full_disk()
    code = work(Path(sys.argv[1]))
    if _FLUSHING_TRACKERS.isdisjoint(sys.modules):
        # Taking torch down in good order takes a second or two and fills the log with what its libraries leaked.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
