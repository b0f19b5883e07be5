"""The top of the screen of an evaluation: what it is, how far it is, its first score; and the tabs of its panes."""

from collections.abc import Mapping
from typing import Any, Final

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.actions import format_key
from mg_tui.tui.evaluations.detail import EvaluationDetail
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, cell, fit, join_fitting, justify, line, link
from mg_tui.tui.widgets.runs.run_table import state_text

PANES: Final = (("scores", "Scores", "t"), ("groups", "Groups", "b"), ("rows", "Rows", "a"))
# Tone of each verdict of a comparison; without a tone it is no difference.
VERDICT_TONES: Final[Mapping[str, str]] = {"better": "finished", "worse": "failed"}


def change_text(change: Mapping[str, Any]) -> Content:
    """A change with its verdict: `+0.120 better`."""
    verdict = one_line(str(change["verdict"]), limit=40)
    return Content.styled(f"{change['change']:+.3f} {verdict}", tone(VERDICT_TONES.get(verdict, "dim"), "bold"))


class ResultHead(Lines):
    """Two lines."""

    DEFAULT_CSS = """
    ResultHead { height: 2; padding: 0 1; background: $surface; }
    """
    detail: reactive[EvaluationDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        detail = self.detail
        if detail is None:
            return [Content.styled("reading the evaluation …", tone("dim")), Content()]
        item = detail.item
        against = line((" against ", tone("dim")), item.compare) if item.compare else Content()
        left = line(state_text(item.state, "bold"), "  ", (item.model, "bold"), against)
        right = line(("on ", tone("dim")), item.dataset)
        return [justify(left, fit(right, max(width // 2, 10)), width), _second_line(detail, width)]


def _second_line(detail: EvaluationDetail, width: int) -> Content:
    item = detail.item
    if item.state is RunState.FINISHED and detail.summary is not None:
        return join_fitting(_score_parts(detail, 36 if width >= 96 else 22), width)
    facts = [line(formatting.percent(item.progress) if item.progress is not None else "not planned yet")]
    if item.total:
        facts.append(line(f"{item.answered}/{item.total}", (" answers", tone("dim"))))
    if item.eta is not None:
        facts.append(line(("ETA ", tone("dim")), formatting.duration(item.eta)))
    if item.elapsed is not None:
        facts.append(line(("for ", tone("dim")), formatting.duration(item.elapsed)))
    if item.stop_requested:
        facts.append(Content.styled("stopping …", tone("eval")))
    elif item.status_text:
        facts.append(Content.styled(item.status_text, tone("running" if item.state is RunState.RUNNING else "dim")))
    text = join_fitting(facts, max(width - 14, 20))
    filled, rest = meter(item.progress, max(width - text.cell_length - 2, 4))
    return line((filled, tone(item.state.value)), (rest, tone("track")), "  ", text)


def _score_parts(detail: EvaluationDetail, title_limit: int) -> list[Content]:
    assert detail.summary is not None
    parts, change = [], None
    first = next(iter(detail.summary["metrics"]), None)
    if first is not None:
        title = one_line(first["title"], limit=title_limit)
        parts.append(line((f"{title} ", tone("dim")), (f"{first['score']:.3f}", "bold")))
        change = detail.comparison.get(first["name"])
    if first is not None and change is not None:
        parts.append(change_text(change))
        kinds = ("fixed", "broken") if detail.judges_rows(first["name"]) else ("improved", "worsened")
        up, down = (len(detail.numbers(first["name"], kind)) for kind in kinds)
        parts.append(line((f"▲ {up} {kinds[0]}", tone("finished")), (f"  ▼ {down} {kinds[1]}", tone("failed"))))
    if errors := detail.summary.get("rows_with_errors"):
        parts.append(line((f"! {errors} not answered", tone("failed"))))
    parts.append(line(f"{detail.summary['rows']}", (" rows", tone("dim"))))
    if change is not None:
        parts.append(line(("before ", tone("dim")), f"{change['before']:.3f}"))
    return parts


class ResultTabs(Lines):
    """The current pane with the keys of the others, and what the rows are limited to."""

    DEFAULT_CSS = """
    ResultTabs { height: 1; padding: 0 1; background: $panel; }
    """
    pane: reactive[str] = reactive("rows", repaint=False)
    right: reactive[Content] = reactive(Content(), repaint=False)

    def watch_pane(self) -> None:
        self.redraw()

    def watch_right(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        parts = []
        for pane, title, key in PANES:
            style = "underline bold" if pane == self.pane else tone("dim")
            call = f"screen.{pane}"
            parts.append(line(link(format_key(key), call, tone("key")), " ", link(title, call, style)))
        tabs = Content("   ").join(parts)
        room = width - tabs.cell_length - 3
        right = fit(self.right, max(room, 0))
        return [line(cell(tabs, max(width - right.cell_length, tabs.cell_length)), right)]
