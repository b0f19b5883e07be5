"""`model-garden demo`: fine-tune the bundled tiny model and evaluate it on held-out images before and after.

Nothing is downloaded and no GPU is needed.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mg_tui.config import Settings
from mg_tui.core.errors import RunFailed
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder

# Long enough for every expected answer; longer answers of the base model are truncated and wrong either way.
MAX_ANSWER_TOKENS = 16
TINY_MAX_PIXELS = 12_544  # the largest images the tiny checkpoint was trained on


@click.command("demo")
@click.option(
    "--dashboard/--no-dashboard", default=None, help="Show progress in the dashboard (default in a terminal)."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed for the images.")
@click.option("--json", "as_json", is_flag=True, help="Print scores, answers and times as JSON.")
@click.pass_obj
def demo(settings: Settings, dashboard: bool | None, seed: int, as_json: bool) -> None:
    """Fine-tune the tiny model on a small task and show the result.

    The base model is bundled and was trained on synthetic images; the task is new to it. The final table compares
    answers to held-out images, including real photos, before and after fine-tuning.
    """
    from mg_tui.data.synthetic.demo import make_demo_dataset

    started_at = time.monotonic()
    data = make_demo_dataset(settings.home / "demo" / f"seed-{seed}", seed=seed)
    click.echo(f"{data.train_rows} training rows, {data.held_out_rows} held-out rows: {data.folder}", err=True)
    folder = _train(settings, demo_spec(data.train, settings), dashboard=dashboard, as_json=as_json)
    rows = _evaluate(settings, folder, data.held_out)
    report = _build_report(folder, rows, time.monotonic() - started_at)
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print_report(report, folder)


def demo_spec(train: Path, settings: Settings) -> TrainingSpec:
    """The spec of the demo: hyperparameters that suit its data; garden.toml is ignored."""
    from mg_tui.data.synthetic.demo import DEMO_HYPERPARAMETERS

    return TrainingSpec.parse(
        {
            "base_model": "tiny",
            "dataset": str(train),
            "name": "demo",
            "max_pixels": TINY_MAX_PIXELS,
            "gradient_accumulation_steps": 1,
            "gradient_checkpointing": False,
            "save_steps": 1000,
            **DEMO_HYPERPARAMETERS,
        }
    )


def _train(settings: Settings, spec: TrainingSpec, *, dashboard: bool | None, as_json: bool) -> RunFolder:
    """Train as `train-vision` does, followed in the dashboard or by a progress bar."""
    from mg_tui.cli.follow import exit_code_of, follow_run
    from mg_tui.cli.train import start_run

    folder = start_run(spec, settings)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if dashboard or (dashboard is None and terminal and not as_json):
        from mg_tui.cli.dashboard import run_dashboard

        run_dashboard(settings, open_run=folder.id)
    # After leaving the dashboard early, wait for the run, so that the table is still printed.
    state = follow_run(folder)
    if state.value != "finished":
        code = exit_code_of(state, folder)
        if code:
            raise RunFailed(
                f"the demo run did not finish ({state.label})", hint=f"see `model-garden runs show {folder.id}`"
            )
        raise click.exceptions.Exit(0)
    return folder


def _evaluate(settings: Settings, folder: RunFolder, held_out: Path) -> list[dict[str, Any]]:
    """Answers of the result and of its base model to the held-out rows."""
    from mg_tui.cli.progress import spinner
    from mg_tui.runs.engine_process import EngineProcess

    with (
        EngineProcess("mg_tui.engine.inference.evaluate") as child,
        spinner("evaluating held-out rows with base model and result"),
    ):
        list(child.stream("load", model=folder.id, home=str(settings.home)))
        *_progress, reply = child.stream("exam", dataset=str(held_out), max_new_tokens=MAX_ANSWER_TOKENS)
    rows: list[dict[str, Any]] = reply["rows"]
    return rows


def _build_report(folder: RunFolder, rows: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Exact match by kind of question, sample answers, time and memory."""
    from mg_tui.data.synthetic.demo import QUESTIONS
    from mg_tui.runs.watch import RunWatch

    watch = RunWatch(folder)
    watch.refresh()
    questions: Counter[str] = Counter()
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    for row in rows:
        for kind in (QUESTIONS[row["prompt"]], "all"):
            questions[kind] += 1
            before[kind] += is_exact_match(row["base_answer"], row["expected"])
            after[kind] += is_exact_match(row["answer"], row["expected"])
    memory = max((value for value in watch.view.series.host_memory if value == value), default=None)
    return {
        "run": folder.id,
        "scores": {
            kind: {"questions": count, "before": before[kind] / count, "after": after[kind] / count}
            for kind in [*dict.fromkeys(QUESTIONS.values()), "all"]
            if (count := questions[kind])
        },
        "samples": _first_row_per_question(rows),
        "training_seconds": watch.view.elapsed_seconds(time.time()),
        "seconds": seconds,
        "host_memory": memory,
    }


def is_exact_match(answer: str, expected: str) -> bool:
    """Exact match after stripping surrounding whitespace and a final full stop, ignoring case."""
    return answer.strip().rstrip(".").casefold() == expected.strip().rstrip(".").casefold()


def _first_row_per_question(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first held-out row of each question, whatever the answers were."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["prompt"], row)
    return list(first.values())


def _print_report(report: dict[str, Any], folder: RunFolder) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mg_tui.core.text import one_line

    console = Console()
    table = Table(title="Exact match on held-out images")
    for column in ("question", "rows", "before", "after"):
        table.add_column(column, justify="left" if column == "question" else "right")
    for kind, score in report["scores"].items():
        table.add_section()
        table.add_row(kind, str(score["questions"]), f"{score['before']:.1%}", f"{score['after']:.1%}")
    console.print(table)
    samples = Table(title="Sample answers")
    for column in ("image", "question", "expected", "before", "after"):
        samples.add_column(column, overflow="fold")
    for row in report["samples"]:
        texts = (Path(row["image"]).name, row["prompt"], row["expected"], row["base_answer"], row["answer"])
        samples.add_row(*(Text(one_line(text, limit=60)) for text in texts))
    console.print(samples)
    memory = f", {report['host_memory'] / 2**30:.1f} GiB of memory" if report["host_memory"] else ""
    console.print(f"training {report['training_seconds']:.0f} s, total {report['seconds']:.0f} s{memory}")
    console.print(f"try it: model-garden generate-vision {folder.id} --image IMAGE --prompt QUESTION")
