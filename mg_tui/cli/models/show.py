"""`model-garden models list`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mg_tui.cli.runs.common import JSON_OPTION, print_json
from mg_tui.cli.tables import format_table, terminal_width
from mg_tui.config import Settings
from mg_tui.core.errors import UsageError
from mg_tui.core.program import runnable
from mg_tui.core.text import did_you_mean, one_line

if TYPE_CHECKING:
    from mg_tui.runs.model_scores import ModelScore
    from mg_tui.runs.results import Result

    Scores = Mapping[str, ModelScore]

_TIME = "time"
_LOSS = "eval_loss"


@click.command("list")
@click.option("--sort", metavar="METRIC", default=_TIME, help="time, eval_loss or a metric; best first.")
@JSON_OPTION
@click.pass_obj
def list_(settings: Settings, as_json: bool, sort: str = _TIME) -> None:
    """List results of runs and merges, newest first, with the scores of their newest evaluations."""
    from mg_tui.runs import recents
    from mg_tui.runs.model_scores import read_model_scores, scores_of
    from mg_tui.runs.results import find_results

    opened = [Path(item.reference) for item in recents.read(settings.home, "models")]
    all_scores = read_model_scores(settings.home)
    models: list[tuple[Result, Scores]] = []
    for result in find_results(settings.home, [folder for folder in opened if folder.is_absolute()]):
        names = (result.run,) if result.run and result.kind != "merged" else ()
        models.append((result, scores_of(all_scores, result.folder, names)))
    models = _sort(models, sort)
    if as_json:
        print_json([_record(result, scores) for result, scores in models])
    elif not models:
        click.echo(runnable("No models yet; a finished run lists its result here."), err=True)
    else:
        for line in _table(models):
            click.echo(line)


def _sort(models: "list[tuple[Result, Scores]]", by: str) -> "list[tuple[Result, Scores]]":
    if by == _TIME:
        return models
    metrics = {name: score.higher_is_better for _, scores in models for name, score in scores.items()}
    if by != _LOSS and by not in metrics:
        known = [_TIME, _LOSS, *sorted(metrics)]
        raise UsageError(f"No model has {by!r}{did_you_mean(by, known)}", hint="sort by " + ", ".join(known))

    def value(model: "tuple[Result, Scores]") -> float | None:
        result, scores = model
        if by == _LOSS:
            loss = result.training.get(_LOSS)
            return float(loss) if isinstance(loss, int | float) and loss == loss else None
        return scores[by].value if by in scores else None

    valued = [(number, model) for model in models if (number := value(model)) is not None]
    valued.sort(key=lambda item: item[0], reverse=metrics.get(by, False))
    return [*(model for _, model in valued), *(model for model in models if value(model) is None)]


def _table(models: "list[tuple[Result, Scores]]") -> list[str]:
    from mg_tui.runs.results import result_name

    rows = []
    for result, scores in models:
        loss = result.training.get(_LOSS)
        created = "" if result.created is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(result.created))
        rows.append(
            (
                one_line(result.name or result_name(result.folder), limit=40),
                "broken" if result.problem else result.kind,
                one_line(result.base, limit=40),
                created,
                f"{loss:.4f}" if isinstance(loss, int | float) else "",
                " ".join(f"{one_line(name)}={score.value:.3f}" for name, score in scores.items()),
                one_line(str(result.folder), limit=200),
            )
        )
    headings = ("name", "kind", "base", "created", "eval loss", "scores", "folder")
    return format_table(headings, rows, width=terminal_width(), right=("eval loss",))


def _record(result: "Result", scores: "Scores") -> dict[str, Any]:
    return {
        "path": str(result.folder),
        "name": result.name,
        "kind": result.kind,
        "base": result.base,
        "run": result.run,
        "dataset": result.dataset,
        "created_at": result.created,
        "bytes": result.bytes,
        "eval_loss": result.training.get(_LOSS),
        "problem": result.problem,
        "scores": {
            name: {
                "score": score.value,
                "higher_is_better": score.higher_is_better,
                "evaluation": score.evaluation,
                "dataset": score.dataset,
                "rows": score.rows,
            }
            for name, score in scores.items()
        },
    }
