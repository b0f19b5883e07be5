"""Results of an evaluation on disk.

    <folder>/
      evaluation.json   what is evaluated: model, data, sampling; never changes
      answers.jsonl     the answers in the order they came, with their times; append-only, one JSON object a line
      rows.jsonl        at the end: the rows of the dataset in order, with answers and scores, without times
      rows.parquet      the same as a table
      summary.json      scores with intervals, groups, names and versions; written last, so that where it is all is

What is written at the end depends on the answers alone: a run that was killed and resumed ends with the same bytes as
one that was not.
"""

from mg_tui.metrics.results.reading import Results, compare_results, read_answers, read_results
from mg_tui.metrics.results.records import AnsweredRow
from mg_tui.metrics.results.writer import ResultsWriter

__all__ = ["AnsweredRow", "Results", "ResultsWriter", "compare_results", "read_answers", "read_results"]
