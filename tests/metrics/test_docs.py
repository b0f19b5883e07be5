"""docs/evaluation.md says what the code does."""

import re
from pathlib import Path

from mg_tui.metrics import Prediction
from mg_tui.metrics.captions import MIN_IMAGES
from mg_tui.metrics.contract import MIN_ROWS
from mg_tui.metrics.groups import MIN_GROUP_ROWS
from mg_tui.metrics.registry import BUILT_IN, docs_table
from mg_tui.metrics.report import Limits
from mg_tui.metrics.results import files
from mg_tui.metrics.uncertainty import CONFIDENCE, RESAMPLES

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_table_is_made_from_the_metrics() -> None:
    assert docs_table() in TEXT
    named = set(re.findall(r"`([a-z]+[a-z_0-9]*)`", TEXT.split("chosen from the references")[1].split("### ")[0]))
    assert named <= {metric.name for metric in BUILT_IN}


def test_every_metric_is_described() -> None:
    names = [metric.name for metric in BUILT_IN]
    assert len(set(names)) == len(names)
    for metric in BUILT_IN:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert metric.version and metric.title and metric.source
        assert metric.summary.endswith("."), metric.name
        assert metric.origin == ""


def test_its_figures_are_the_codes() -> None:
    assert (RESAMPLES, CONFIDENCE, MIN_ROWS, MIN_IMAGES, MIN_GROUP_ROWS) == (1000, 0.95, 30, 50, 5)
    text = " ".join(TEXT.split())
    for said in (
        "95 % confidence interval",
        "1,000 resamples",
        "under 30 independent rows",
        "below 50 images",
        "fewer than five",
    ):
        assert said in text
    assert Limits().image_bytes == 6_000_000
    for name in (files.SPEC, files.ANSWERS, files.ROWS, files.TABLE, files.SUMMARY):
        assert f"  {name} " in TEXT


def test_what_counts_as_right_is_said() -> None:
    half = {metric.name for metric in BUILT_IN if metric.correct_at == 0.5}
    assert half == {"anls", "token_f1", "vqa_accuracy", "vqa_accuracy_evalai", "box_iou"}
    assert {metric.name for metric in BUILT_IN if metric.correct_at is None} == {"rouge_l", "bleu", "chrf", "cider_d"}
    assert {metric.name for metric in BUILT_IN if metric.correct_at == 0} == {"cer", "wer", "count_error"}


def test_the_plugin_of_the_page_works() -> None:
    from mg_tui.metrics.scoring import score

    source = TEXT.split("## Adding a metric")[1].split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(source, "docs/evaluation.md", "exec"), names)  # noqa: S102
    (metric,) = names["mg_metrics"]()  # type: ignore[operator]
    assert score([Prediction(1, "It is a Cat.", ("cat",))], metric).values == (1,)
