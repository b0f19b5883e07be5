"""`python -m mg_tui.engine RUN_FOLDER`: the worker of one run."""

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from mg_tui.hardware.host import cgroup_cpu_limit
from mg_tui.runs.folder import RunFolder

# These flush their data when the interpreter exits.
_FLUSHING_TRACKERS = frozenset({"wandb", "mlflow", "trackio"})


def _set_environment_defaults() -> None:
    """Variables that libraries read when they are imported. Those the user has set are not changed."""
    # Tokenization happens in the data workers; the tokenizer's threads would compete for the same cores, and warn at
    # every fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Steps of different lengths allocate blocks of different sizes.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    # Threads that wait by spinning slow down the data workers and other processes on the machine: measured on two
    # shared cores, a step took ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Spinning for a few microseconds bridges the gap between small operations: a tenth faster on two idle cores, and
    # no slower on busy ones (docs/benchmarks.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # oneDNN caches compiled code for every shape, and torch caches its oneDNN primitives, 0.3 MiB each: up to 1,024 in
    # either. Steps have ever new lengths: 15 steps of a small model held 320 MiB more and were no faster. These sizes
    # suffice for one forward pass.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "32")
    # A container with a share of a large machine: threads for all of its cores would only slow each other down.
    if (cores := cgroup_cpu_limit()) is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def main() -> None:
    """Run the worker and exit with its code."""

    def work(folder: Path) -> int:
        from mg_tui.engine.layout.partition import World
        from mg_tui.engine.run.rank_supervisor import plan_ranks, supervise

        world = World.from_environment()
        if world.size == 1 and (plan := plan_ranks(RunFolder(folder), os.environ)).size > 1:
            return supervise(folder, plan)
        if not world.leads:
            from mg_tui.engine.run.rank_worker import run_rank

            return run_rank(folder, world)
        from mg_tui.engine.run.worker import run_worker

        return run_worker(folder)

    run_program("mg_tui.engine <run folder>", work)


def run_program(usage: str, work: Callable[[Path], int]) -> None:
    """Call `work` with the folder named on the command line and exit with the code it returns.

    Args:
        usage: the module and its argument.
        work: must import libraries only when it is called, since they read the environment when they are imported.
    """
    if len(sys.argv) != 2:
        sys.stderr.write(f"usage: python -m {usage}\n")
        sys.exit(2)
    _set_environment_defaults()
    # Announced renames in libraries concern developers, not the readers of the log.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|accelerate|torch)\b")
    from mg_tui.engine.run import log_stream

    log_stream.tolerate_full_disk()
    code = work(Path(sys.argv[1]))
    if _FLUSHING_TRACKERS.isdisjoint(sys.modules):
        # An orderly shutdown of torch takes a second or two and fills the log with leak warnings.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
