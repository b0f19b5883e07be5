"""The shell lines that a job runs on each machine: the first start trains, every later one resumes.

Jobs are started again after a preemption, a time limit or a failed machine, so the lines look for the run by its name.
"""

from dataclasses import dataclass
from typing import Final

from mg_tui.runs.launchers.job import PORT, ClusterJob, quote, quote_lines

_EVERY: Final = "all"


@dataclass(frozen=True, slots=True)
class NodeVariables:
    """Shell expressions of a launcher: this machine's number, machine 0's address, and its GPUs (empty: none)."""

    rank: str
    first_host: str
    gpus: str = _EVERY


def training_lines(job: ClusterJob, home: str, variables: NodeVariables) -> list[str]:
    """The lines that start or resume the run on one machine.

    Args:
        job: the job.
        home: a shell expression for the home folder; machines after the first have a folder of their own in it.
        variables: those of the launcher.
    """
    many, name = job.nodes > 1, quote(job.name)
    gpus = [f'--gpus "{variables.gpus}"'] if job.gpus else []
    node = [f"--nodes {job.nodes}", f"--node-rank {variables.rank}", '--rendezvous "$RENDEZVOUS"'] if many else []
    sync = [f"--sync {quote(f'{job.sync}/{job.name}')}"] if job.sync else []
    flags = [*job.flags, *node, *sync, f"--name {name}", *gpus]
    lines = [f'export MODEL_GARDEN_HOME="{home}"']
    if many:
        lines = [
            f'export MODEL_GARDEN_HOME="{home}/node-{variables.rank}"',
            f'RENDEZVOUS="{variables.first_host}:{PORT}"',
        ]
    lines.append('mkdir -p "$MODEL_GARDEN_HOME"')
    if sync:
        lines.append(
            f"model-garden runs show {name} > /dev/null 2>&1 || "
            f"model-garden runs fetch {quote(f'{job.sync}/{job.name}')} || true"
        )
    resume = [f"model-garden runs resume {name} --from-start", *gpus]
    # Other machines than before, with another address of the first: the run's options name the old one.
    if many:
        resume.append("--accept-spec")
    lines += [
        f'case "$(model-garden runs show {name} --json 2> /dev/null)" in',
        '*\'"state": "finished"\'*)',
        "  echo 'the run is finished' ;;",
        "'')",
        f"  model-garden train-vision \\\n    {quote_lines(flags, '    ')} ;;",
        "*)",
    ]
    if many:
        lines.append(
            f'  sed -i "s|\\"rendezvous\\": \\"[^\\"]*\\"|\\"rendezvous\\": \\"$RENDEZVOUS\\"|" '
            f'"$MODEL_GARDEN_HOME"/runs/*-{name}/spec.json'
        )
    return [*lines, f"  {' '.join(resume)} ;;", "esac"]
