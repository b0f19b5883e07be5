"""SkyPilot: the YAML of a task, for `sky jobs launch`, which starts it again elsewhere when a spot machine is taken."""

from typing import Any, Final

from mg_tui.runs.launchers.job import ClusterJob
from mg_tui.runs.launchers.script import NodeVariables, training_lines
from mg_tui.runs.launchers.yaml_text import to_yaml

MOUNT: Final = "/garden"  # where the volume is, and on it the home
_VARIABLES: Final = NodeVariables("$SKYPILOT_NODE_RANK", '$(echo "$SKYPILOT_NODE_IPS" | head -n 1)')
DEFAULT_SETUP: Final = ("pip install uv", "uv tool install 'model-garden-tui[families]'")


def skypilot_task(
    job: ClusterJob,
    *,
    infra: str | None = None,
    spot: bool = True,
    idle_minutes: int = 10,
    volume: str | None = None,
    disk_gb: int = 256,
) -> str:
    """The task of SkyPilot 0.14.

    Args:
        job: the job.
        infra: `aws`, `runpod/US-GA-1`, `k8s/context`, ...; None: wherever it is cheapest.
        spot: preemptible machines; a managed job recovers from their end.
        idle_minutes: the machine is taken down after so many minutes without a job.
        volume: a volume of SkyPilot's for the home, which outlives the machine.
        disk_gb: size of the machine's own disk.
    """
    resources: dict[str, Any] = {
        "infra": infra,
        "accelerators": job.accelerators if job.gpus else None,
        "cpus": None if job.gpus else f"{job.cpus}+",
        "use_spot": spot,
        "job_recovery": {"max_restarts_on_errors": 0},
        "disk_size": disk_gb,
        "autostop": {"idle_minutes": idle_minutes, "down": True},
    }
    home = f"{MOUNT}/home" if volume else "$HOME/garden"
    run = ["set -eu", 'export PATH="$HOME/.local/bin:$PATH"', *training_lines(job, home, _VARIABLES)]
    task: dict[str, Any] = {
        "name": job.name,
        "workdir": job.cwd,
        "num_nodes": job.nodes if job.nodes > 1 else None,
        "resources": {key: value for key, value in resources.items() if value is not None},
        "volumes": {MOUNT: volume} if volume else None,
        "file_mounts": {path: path for path in job.paths} or None,
        "setup": "\n".join(job.setup or DEFAULT_SETUP) + "\n",
        "run": "\n".join(run) + "\n",
    }
    text = to_yaml({key: value for key, value in task.items() if value is not None})
    return text + "".join(f"{line}\n" for line in job.extra)
