"""The table of jobs, and the preview of the selected one."""

from typing import ClassVar

from textual.content import Content
from textual.reactive import reactive

from mg_tui.runs.job_results import quantization_rows, result_lines
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.jobs.listing import JobItem
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, line
from mg_tui.tui.widgets.table import Column, Table

_METER_CELLS = 10


class JobTable(Table[JobItem]):
    """Jobs, newest first."""

    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("state", "State", 12, max_width=14),
        Column("what", "What", 13),
        Column("model", "Model", 14, grow=2, max_width=40),
        Column("target", "To", 14, grow=2, max_width=48, drop_rank=2),
        Column("progress", "Done", 16, drop_rank=1),
        Column("elapsed", "Time", 6, drop_rank=3, align_right=True),
    )

    def key_of(self, row: JobItem) -> str:
        return row.id

    def cell_of(self, row: JobItem, key: str, width: int) -> Content:
        match key:
            case "state":
                style = tone(row.state.value) if row.state is not RunState.RUNNING else tone("running")
                text = "stopping" if row.stop_requested else row.state.label
                return Content.styled(f"{row.state.glyph} {text}", style)
            case "what":
                return Content(row.what)
            case "model":
                return Content(row.model)
            case "target":
                return Content.styled(row.target, tone("dim"))
            case "progress" if row.progress is not None and row.state is not RunState.FINISHED:
                filled, rest = meter(row.progress, _METER_CELLS)
                return line((filled, tone("running")), (rest, tone("track")), f" {formatting.percent(row.progress):>4}")
            case "elapsed":
                return Content(formatting.duration(row.elapsed))
        return Content("" if row.state is RunState.FINISHED else formatting.DASH)


class JobPreview(Lines):
    """The selected job: what it does, the figures of its result, or what ended it."""

    DEFAULT_CSS = """
    JobPreview { height: 7; background: $surface; padding: 0 1; }
    """
    item: reactive[JobItem | None] = reactive(None, repaint=False)

    def watch_item(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        item = self.item
        if item is None:
            return [Content()]
        style = tone("failed") if item.state in (RunState.FAILED, RunState.CRASHED) else ""
        lines = [line((item.title, "bold"), (f"  {item.id}", tone("dim")))]
        lines += [text for part in Content.styled(item.status_text, style).wrap(width) for text in [part]]
        for text in job_figures(item):
            lines += Content(text).wrap(width) if text else []
        return lines[: max(self.size.height, 3)]


def job_figures(item: JobItem) -> list[str]:
    """The figures of a finished job's result, a table of quantizations first; nothing of another job."""
    if item.result is None:
        return []
    rows = quantization_rows(item.result, formatting.size)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*table, *result_lines(item.operation, item.result, formatting.size)]
