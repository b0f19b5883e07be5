"""What a login shell shows: how to open the dashboard, active runs, and what is wrong with the container."""

import os
from pathlib import Path

import start_checks


def list_active(home: Path) -> list[str]:
    """One line for every run that has not ended."""
    from mg_tui.core.text import one_line, printable
    from mg_tui.runs.store import list_runs

    lines = []
    for run in list_runs(home):
        if not run.state.ended:
            step = f"step {run.view.step} of {run.view.total_steps}" if run.view.step else "before the first step"
            lines.append(f"  {run.state_text}  {one_line(printable(run.name or run.id), limit=60)}  {step}")
    return lines


def main() -> None:
    home = Path(os.environ.get("MODEL_GARDEN_HOME", "/workspace/garden"))
    print(f"Model Garden, home {home}.  Dashboard: model-garden   A first run: model-garden demo")
    lines = list_active(home)
    print("\n".join(["Active runs:", *lines]) if lines else "No run is active.")
    for problem in start_checks.find_problems(start_checks.gather(os.environ)):
        print(problem)


if __name__ == "__main__":
    main()
