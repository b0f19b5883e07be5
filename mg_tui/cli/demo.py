"""`model-garden demo`: fine-tune the bundled tiny model and evaluate it on held-out images before and after.

Nothing is downloaded and no GPU is needed.
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.demo_evaluation import METRIC, change_record, evaluate_demo, forgetting_lines, forgetting_report
from mg_tui.cli.demo_models import TINY_MAX_PIXELS, DemoModel, choose_demo_model
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.errors import RunFailed, UsageError
from mg_tui.core.program import runnable
from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from mg_tui.metrics.results import Results
    from mg_tui.runs.evaluations import EvaluationFolder

# Images of the data for a random model: training, held-out.
LAST_STEPS = 10  # whose mean loss is told as the last one
RANDOM_IMAGES = {"train": 432, "held_out": 36}


@click.command("demo")
@click.option(
    "--dashboard/--no-dashboard", default=None, help="Show progress in the dashboard (default in a terminal)."
)
@click.option(
    "--family",
    metavar="NAME",
    help="Train a random small model of this family instead, made on this machine (`model-garden plugins` lists them).",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed for the images.")
@click.option("--forgetting", is_flag=True, help="Also show which answers of the base model the fine-tuning broke.")
@click.option("--json", "as_json", is_flag=True, help="Print scores, answers and times as JSON.")
@click.pass_obj
def demo(
    settings: Settings, dashboard: bool | None, family: str | None, seed: int, forgetting: bool, as_json: bool
) -> None:
    """Fine-tune the tiny model on a small task and show the result.

    The base model is bundled and was trained on synthetic images; the task is new to it. The final table compares
    answers to held-out images, including real photos, before and after fine-tuning. The task shares nothing with what
    the base model was trained on, so some of that is forgotten: --forgetting lists what.

    With --family the base model is a random one of that architecture, all of which is trained: that it learns shows in
    the loss, and the table says what it answers after so short a training.
    """
    from mg_tui.data.synthetic.demo import make_demo_dataset

    started_at = time.monotonic()
    model = choose_demo_model(family, settings.home)
    if model.random and forgetting:
        raise UsageError("--forgetting needs a base model that knows something", hint="leave --family out")
    # Answers of a random model are long: fewer rows are asked.
    name, counts = (f"seed-{seed}-short", RANDOM_IMAGES) if model.random else (f"seed-{seed}", {})
    data = make_demo_dataset(settings.home / "demo" / name, seed=seed, **counts)
    click.echo(f"{data.train_rows} training rows, {data.held_out_rows} held-out rows: {data.folder}", err=True)
    folder = _train(settings, demo_spec(data.train, model), dashboard=dashboard, as_json=as_json)
    base = model.base_model if model.random else "base"
    evaluation = evaluate_demo(settings, folder, data.held_out, "demo", base=base)
    report = _build_report(folder, evaluation, time.monotonic() - started_at)
    if forgetting:
        report["forgetting"] = forgetting_report(settings, folder, data.folder, seed=seed)
    if as_json:
        click.echo(json.dumps(report))
    else:
        _print_report(report, folder)


def demo_spec(train: Path, model: DemoModel) -> TrainingSpec:
    """The spec of the demo: hyperparameters that suit its data and its base model; garden.toml is ignored."""
    from mg_tui.data.synthetic.demo import DEMO_HYPERPARAMETERS, RANDOM_HYPERPARAMETERS

    parts = ("train_language", "train_projector", "train_vision")
    whole = {**dict.fromkeys(parts, "full"), **RANDOM_HYPERPARAMETERS} if model.random else {}
    return TrainingSpec.parse(
        {
            "base_model": model.base_model,
            "dataset": str(train),
            "name": "demo",
            "gradient_accumulation_steps": 1,
            "gradient_checkpointing": False,
            "save_steps": 1000,
            **({"max_pixels": TINY_MAX_PIXELS} if model.takes_areas else {}),
            **DEMO_HYPERPARAMETERS,
            **whole,
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


def _build_report(folder: RunFolder, evaluation: "EvaluationFolder", seconds: float) -> dict[str, Any]:
    """Exact match by kind of question with intervals, what changed, sample answers, time and memory."""
    from mg_tui.data.synthetic.demo import QUESTIONS
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.metrics.results import compare_results, read_results
    from mg_tui.runs.watch import RunWatch

    watch = RunWatch(folder)
    watch.refresh()
    before, after = read_results(evaluation.before_dir), read_results(evaluation.results_dir)
    (change,) = compare_results(before, after, load_metrics())
    losses = [value for value in watch.view.series.loss if value == value]
    memory = max((value for value in watch.view.series.host_memory if value == value), default=None)
    scores: dict[str, dict[str, Any]] = {kind: {"questions": 0} for kind in dict.fromkeys(QUESTIONS.values())}
    for when, results in (("before", before), ("after", after)):
        for kind, counts in _scores_by_kind(results).items():
            scores.setdefault(kind, {"questions": 0}).update(
                {"questions": counts[0], when: counts[1], f"{when}_low": counts[2], f"{when}_high": counts[3]}
            )
    return {
        "run": folder.id,
        "evaluation": evaluation.id,
        "metric": change.name,
        "scores": {kind: score for kind, score in scores.items() if score["questions"]},
        "change": change_record(change),
        "loss": {"first": losses[0], "last": sum(losses[-LAST_STEPS:]) / len(losses[-LAST_STEPS:])} if losses else None,
        "steps": len(losses),
        "samples": _first_row_per_question(before, after),
        "training_seconds": watch.view.elapsed_seconds(time.time()),
        "seconds": seconds,
        "host_memory": memory,
    }


def _scores_by_kind(results: "Results") -> dict[str, tuple[int, float, float, float]]:
    """Questions, score and its interval, by kind of question and of all together."""
    from mg_tui.data.synthetic.demo import QUESTIONS
    from mg_tui.metrics.groups import by_group
    from mg_tui.metrics.registry import load_metrics
    from mg_tui.metrics.scoring import clusters_by_image

    evaluation = results.evaluate(load_metrics().named([METRIC]))
    kinds = [QUESTIONS[row.question] for row in results.rows]
    clusters = clusters_by_image(evaluation.predictions)
    groups = by_group(evaluation.of(METRIC), kinds, clusters)
    (all_rows,) = by_group(evaluation.of(METRIC), ["all"] * len(kinds), clusters)
    return {
        group.value: (len(group.rows), group.score, group.interval.low, group.interval.high)
        for group in (*groups, all_rows)
    }


def _first_row_per_question(before: "Results", after: "Results") -> list[dict[str, Any]]:
    """For each question the first held-out row that asks it, whatever was answered."""
    first: dict[str, dict[str, Any]] = {}
    for old, new in zip(before.rows, after.rows, strict=True):
        row = {
            "row": new.row,
            "image": new.images[0],
            "prompt": new.question,
            "expected": new.references[0],
            "answer": new.answer,
            "base_answer": old.answer,
        }
        first.setdefault(new.question, row)
    return list(first.values())


def _print_report(report: dict[str, Any], folder: RunFolder) -> None:
    from mg_tui.core.text import one_line

    width, scores = terminal_width(), []
    for kind, score in report["scores"].items():
        cells = [
            f"{score[when]:.1%} ({score[f'{when}_low']:.0%} to {score[f'{when}_high']:.0%})"
            for when in ("before", "after")
        ]
        scores.append((kind, str(score["questions"]), *cells))
    headings = ("question", "rows", "before", "after")
    lines = ["Exact match on held-out images, with 95% intervals", ""]
    lines += format_table(headings, scores, width=width, right=headings[1:])
    change = report["change"]
    lines += ["", f"{change['sentence']} {len(change['fixed'])} rows fixed, {len(change['broken'])} broken.", ""]
    samples = [
        [
            one_line(text, limit=36)
            for text in (Path(row["image"]).name, row["prompt"], row["expected"], row["base_answer"], row["answer"])
        ]
        for row in report["samples"]
    ]
    lines += [*format_table(("image", "question", "expected", "before", "after"), samples, width=width), ""]
    if "forgetting" in report:
        lines += forgetting_lines(report["forgetting"], width)
    if report["loss"]:
        first, last = report["loss"]["first"], report["loss"]["last"]
        lines.append(f"loss {first:.2f} in the first of {report['steps']} steps, {last:.2f} in the last {LAST_STEPS}")
    memory = f", {report['host_memory'] / 2**30:.1f} GiB of memory" if report["host_memory"] else ""
    lines.append(f"training {report['training_seconds']:.0f} s, total {report['seconds']:.0f} s{memory}")
    lines.append(runnable(f"try it: model-garden generate-vision {folder.id} --image IMAGE --prompt QUESTION"))
    lines.append(runnable(f"every row: model-garden evaluations show {report['evaluation']} --report report.html"))
    for line in lines:
        click.echo(line)
