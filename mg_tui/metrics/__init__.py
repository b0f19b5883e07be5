"""Metrics of answers: what they score, how sure a score is, results on disk, and the report. Without torch.

All that a plugin needs is here: `from mg_tui.metrics import Metric, hookimpl, row_metric`. Importing this package
imports neither numpy nor any of the libraries that metrics use; each is imported when a metric is computed.
"""

from mg_tui.metrics.contract import BoxFrame, Evaluation, Metric, MetricOutput, Prediction, Scores
from mg_tui.metrics.hookspec import hookimpl
from mg_tui.metrics.rows import row_metric

__all__ = [
    "BoxFrame",
    "Evaluation",
    "Metric",
    "MetricOutput",
    "Prediction",
    "Scores",
    "hookimpl",
    "row_metric",
]
