"""Slurm: an sbatch file. Before the time limit the run saves a checkpoint, and the job goes back into the queue."""

from typing import Final

from mg_tui.runs.launchers.job import ClusterJob, quote
from mg_tui.runs.launchers.script import NodeVariables, training_lines

GRACE: Final = 120  # seconds before the time limit in which a checkpoint has to be whole
_VARIABLES: Final = NodeVariables("$SLURM_NODEID", "$FIRST_HOST", "${CUDA_VISIBLE_DEVICES:-all}")


def sbatch_file(
    job: ClusterJob, *, partition: str | None = None, account: str | None = None, grace: int = GRACE
) -> str:
    """The file for `sbatch`.

    `--signal=B:USR1@120` sends SIGUSR1 to the batch shell, and to nothing else, 120 seconds before the limit.

    Args:
        job: the job; its home has to be on a file system that all machines share.
        partition, account: as Slurm has them.
        grace: seconds between the signal and the limit.
    """
    kind = f"{job.gpu}:" if job.gpu else ""
    options = {
        "job-name": job.name,
        "partition": partition,
        "account": account,
        "nodes": job.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": f"{kind}{job.gpus}" if job.gpus else None,
        "cpus-per-task": None if job.gpus else job.cpus,
        "time": None if job.hours is None else _slurm_time(job.hours),
        "signal": f"B:USR1@{grace}",
        "chdir": job.cwd,
        "output": f"{job.home}/slurm-{job.name}-%j.log",
        "open-mode": "append",
    }
    name = quote(job.name)
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH --{key}={_quoted(str(value))}" for key, value in options.items() if value is not None),
        "#SBATCH --requeue",
        *(f"#SBATCH {line.removeprefix('#SBATCH ')}" for line in job.extra),
        "",
        "set -u",
        *job.setup,
        f"export GARDEN_HOME={quote(str(job.home))}",
        'FIRST_HOST="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
        "export FIRST_HOST",
        "",
        "requeue() {",
        "  trap '' USR1",
        "  echo 'the time limit is near: a checkpoint, then back into the queue'",
        f'  MODEL_GARDEN_HOME="$GARDEN_HOME{"/node-0" if job.nodes > 1 else ""}" model-garden runs stop {name}',
        '  wait "$step"',
        '  scontrol requeue "$SLURM_JOB_ID"',
        "  exit 0",
        "}",
        "trap requeue USR1",
        "",
        "# What every machine runs.",
        "IFS= read -r -d '' TRAIN <<'END'",
        *training_lines(job, "$GARDEN_HOME", _VARIABLES),
        "END",
        "",
        'srun --kill-on-bad-exit=1 bash -c "$TRAIN" &',
        "step=$!",
        'wait "$step"',
    ]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """A value as sbatch reads it from a comment: blanks need quotes."""
    return f'"{value}"' if " " in value else value


def _slurm_time(hours: float) -> str:
    """`2-04:30:00`, days left out when there are none."""
    minutes = max(round(hours * 60), 1)
    days, rest = divmod(minutes, 24 * 60)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"
