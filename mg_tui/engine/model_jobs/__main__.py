"""`python -m mg_tui.engine.model_jobs <job folder>`: the worker of one job."""

from pathlib import Path

from mg_tui.engine.__main__ import run_program


def _work(folder: Path) -> int:
    from mg_tui.engine.model_jobs.worker import run_worker

    return run_worker(folder)


if __name__ == "__main__":
    run_program("mg_tui.engine.model_jobs <job folder>", _work)
