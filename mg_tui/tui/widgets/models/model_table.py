"""The table of models, and the preview of the selected one."""

from collections.abc import Sequence
from dataclasses import replace
from time import time
from typing import ClassVar

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.tui import formatting
from mg_tui.tui.models.catalog import EXACT_MATCH, KIND_GLYPHS, KIND_LABELS, ModelRow
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, hanging_indent, join_fitting, line
from mg_tui.tui.widgets.table import Column, Table

_KIND_TONES = {"adapter": "finished", "model": "running", "merged": "running", "base": "dim", "broken": "failed"}


def kind_text(row: ModelRow, *styles: str) -> Content:
    """The kind of a model as glyph and word."""
    return Content.styled(f"{KIND_GLYPHS[row.kind]} {KIND_LABELS[row.kind]}", tone(_KIND_TONES[row.kind], *styles))


class ModelTable(Table[ModelRow]):
    """Results and base models; `metric` is the metric of evaluations whose scores are shown."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("kind", "Kind", 9),
        Column("title", "Name", 20, grow=3, max_width=48),
        Column("base", "Base", 18, grow=2, max_width=34, drop_rank=3),
        Column("loss", "Eval loss", 9, drop_rank=2, align_right=True),
        Column("match", "Exact", 5, drop_rank=4, align_right=True),
        Column("bytes", "Size", 8, drop_rank=1, align_right=True),
        Column("age", "Age", 4, drop_rank=5, align_right=True),
        Column("run", "Run", 22, drop_rank=6, grow=1, max_width=30),
    )

    def __init__(self) -> None:
        super().__init__()
        self.metric = EXACT_MATCH

    @property
    def columns(self) -> Sequence[Column]:
        if self.metric == EXACT_MATCH:
            return self.COLUMNS
        title = one_line(self.metric, limit=14)
        width = max(len(title) + 1, 6)
        # A metric that was chosen is dropped last.
        return [
            replace(column, title=title, width=width, drop_rank=0) if column.key == "match" else column
            for column in self.COLUMNS
        ]

    def show_metric(self, metric: str) -> None:
        """Show the scores by another metric."""
        if metric != self.metric:
            self.metric = metric
            self.relayout()

    def key_of(self, row: ModelRow) -> str:
        return row.reference

    def cell_of(self, row: ModelRow, key: str, width: int) -> Content:
        match key:
            case "kind":
                return kind_text(row)
            case "title":
                return Content(row.title)
            case "base":
                return Content.styled(row.base, tone("dim"))
            case "loss":
                return Content(formatting.loss(row.eval_loss) if row.eval_loss is not None else "")
            case "match":
                return Content(self._score_text(row))
            case "bytes":
                return Content(formatting.size(row.bytes) if row.bytes else "")
            case "age":
                return Content.styled(
                    formatting.age(None if row.created is None else time() - row.created), tone("dim")
                )
            case _:
                return Content.styled(row.run or "", tone("dim"))

    def _score_text(self, row: ModelRow) -> str:
        if self.metric == EXACT_MATCH:
            return formatting.percent(row.exact_match) if row.exact_match is not None else ""
        return formatting.loss(row.scores[self.metric].value) if self.metric in row.scores else ""


class ModelPreview(Lines):
    """The selected model: kind, base, summary and folder."""

    DEFAULT_CSS = """
    ModelPreview { height: 4; background: $surface; padding: 0 1; }
    """
    row: reactive[ModelRow | None] = reactive(None, repaint=False)

    def watch_row(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        row = self.row
        if row is None:
            return [Content()]
        if row.is_result:
            about = line(kind_text(row, "bold"), (" of " if row.kind == "merged" else " on ", tone("dim")), row.base)
        else:
            about = line(kind_text(row, "bold"), ("  " + row.base, tone("dim")))
        lines = [line((row.title, "bold"), "  ", about)]
        if row.summary:
            style = tone("failed") if row.kind == "broken" else ""
            lines += Content.styled(row.summary, style).wrap(width)[:2]
        if row.scores:
            lines.append(_scores_line(row, width))
        if row.folder is not None:
            lines += hanging_indent(
                Content.styled("in", tone("dim")), Content.styled(one_line(str(row.folder)), tone("dim")), 3, width
            )[:1]
        return lines[: max(self.size.height, 4)]


def _scores_line(row: ModelRow, width: int) -> Content:
    """The scores by metric, and on what the newest evaluation scored."""
    newest = max(row.scores.values(), key=lambda score: score.evaluation)
    dataset = one_line(newest.dataset.rpartition("/")[2] or newest.dataset, limit=40)
    parts = [line((f"{one_line(name)} ", tone("dim")), formatting.loss(row.scores[name].value)) for name in row.scores]
    about = Content.styled(f"on {dataset}, {formatting.count(newest.rows, 'row')}", tone("dim"))
    return join_fitting([*parts[:1], about, *parts[1:]], width, "  ")
