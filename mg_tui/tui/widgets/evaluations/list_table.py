"""The table of evaluations, and the preview of the selected one."""

from time import time
from typing import ClassVar

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.evaluations.listing import EvaluationItem
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, join_fitting, justify, line
from mg_tui.tui.widgets.runs.run_table import state_text
from mg_tui.tui.widgets.table import Column, Table


class EvaluationListTable(Table[EvaluationItem]):
    """Evaluations, newest first."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("state", "State", 10, grow=1, max_width=13),
        Column("model", "Model", 17, grow=3, max_width=44),
        Column("compare", "Against", 8, grow=1, max_width=24, drop_rank=5),
        Column("dataset", "Dataset", 14, grow=2, max_width=34, drop_rank=3),
        Column("progress", "Progress", 10, grow=1, max_width=20, drop_rank=1),
        Column("eta", "ETA", 7, drop_rank=2, align_right=True),
        Column("score", "Score", 6, drop_rank=0, align_right=True),
        Column("age", "Age", 4, drop_rank=6, align_right=True),
    )

    def key_of(self, row: EvaluationItem) -> str:
        return row.id

    def cell_of(self, row: EvaluationItem, key: str, width: int) -> Content:
        match key:
            case "state":
                return state_text(row.state)
            case "model":
                return line(row.model, (" !", tone("failed", "bold")) if row.problem else "")
            case "compare":
                return Content.styled(row.compare, tone("dim"))
            case "dataset":
                return Content.styled(row.dataset, tone("dim"))
            case "progress":
                return _progress(row, width)
            case "eta":
                return Content(formatting.duration(row.eta) if row.eta is not None else "")
            case "score":
                return Content.styled(f"{row.score[1]:.3f}" if row.score is not None else "", "bold")
            case _:
                age = None if row.changed_at is None else time() - row.changed_at
                return Content.styled(formatting.age(age), tone("dim"))


def _progress(row: EvaluationItem, width: int) -> Content:
    if row.progress is None or (row.state is RunState.RUNNING and not row.answered):
        return Content.styled(row.status_text or formatting.DASH, tone("dim"))
    filled, rest = meter(row.progress, max(width - 5, 3))
    return line((filled, tone(row.state.value)), (rest, tone("track")), f" {formatting.percent(row.progress):>4}")


class EvaluationPreview(Lines):
    """The selected evaluation: id, what it is doing or how it ended, its score."""

    DEFAULT_CSS = """
    EvaluationPreview { height: 2; background: $surface; padding: 0 1; }
    """
    item: reactive[EvaluationItem | None] = reactive(None, repaint=False)

    def watch_item(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        item = self.item
        if item is None:
            return [Content(), Content()]
        answers = f"{item.answered}/{item.total} answers" if item.total else ""
        right = Content.styled(answers, tone("dim"))
        first = justify(line((item.id, "bold"), (f"  {item.status_text}", tone("dim"))), right, width)
        parts = [line(("on ", tone("dim")), one_line(str(item.spec.get("dataset") or item.dataset), limit=200))]
        if item.score is not None:
            parts.insert(0, line((f"{item.score[0]} ", tone("dim")), (f"{item.score[1]:.3f}", "bold")))
        if item.elapsed is not None:
            word = "took " if item.state.ended else "for "
            parts.insert(1 if item.score else 0, line((word, tone("dim")), formatting.duration(item.elapsed)))
        if item.problem:
            parts = [Content.styled(item.problem, tone("failed"))]
        return [first, join_fitting(parts, width)]
