"""dstack: the YAML of a task, printed only (`dstack apply -f FILE`)."""

from typing import Any, Final

from mg_tui.runs.launchers.job import ClusterJob
from mg_tui.runs.launchers.script import NodeVariables, training_lines
from mg_tui.runs.launchers.skypilot import DEFAULT_SETUP, MOUNT
from mg_tui.runs.launchers.yaml_text import to_yaml

_VARIABLES: Final = NodeVariables("$DSTACK_NODE_RANK", "$DSTACK_MASTER_NODE_IP")


def dstack_task(
    job: ClusterJob, *, spot: bool = True, idle_minutes: int = 10, volume: str | None = None, disk_gb: int = 256
) -> str:
    """The task of dstack 0.22. The arguments are those of `skypilot_task`."""
    home = f"{MOUNT}/home" if volume else "$HOME/garden"
    commands = [*(job.setup or DEFAULT_SETUP), "\n".join(training_lines(job, home, _VARIABLES)) + "\n"]
    task: dict[str, Any] = {
        "type": "task",
        "name": job.name,
        "python": "3.12",
        "nodes": job.nodes if job.nodes > 1 else None,
        "working_dir": job.cwd if job.cwd == "." else None,
        "files": [".", *job.paths],
        "commands": commands,
        "resources": {
            "gpu": job.accelerators if job.gpus else None,
            "cpu": None if job.gpus else f"{job.cpus}..",
            "disk": f"{disk_gb}GB..",
            "shm_size": "16GB",
        },
        "volumes": [{"name": volume, "path": MOUNT}] if volume else None,
        "spot_policy": "spot" if spot else "on-demand",
        "retry": {"on_events": ["no-capacity", "interruption"], "duration": "3d"},
        "idle_duration": f"{idle_minutes}m",
        "max_duration": None if job.hours is None else f"{max(round(job.hours), 1)}h",
    }
    task["resources"] = {key: value for key, value in task["resources"].items() if value is not None}
    text = to_yaml({key: value for key, value in task.items() if value is not None})
    return text + "".join(f"{line}\n" for line in job.extra)
