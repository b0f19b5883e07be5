"""The top of a run's screen: state, progress, and the outcome of a run that failed."""

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.program import runnable
from mg_tui.core.text import one_line
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.runs.snapshot import RunDetail
from mg_tui.tui.text_charts import meter
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, join_fitting, justify, line
from mg_tui.tui.widgets.runs.run_table import state_text, tags_text


def head_lines(detail: RunDetail, width: int) -> list[Content]:
    """Two lines: state, name and model; progress, steps and time."""
    row = detail.row
    left = line(state_text(row.state, "bold"), "  ", (row.title, "bold"))
    if row.annotations.tags:
        left = line(left, "  ", tags_text(row))
    return [justify(left, _status_line(detail, width), width), _progress_line(detail, width)]


def _status_line(detail: RunDetail, width: int) -> Content:
    parts = []
    if detail.stop_requested:
        parts.append(Content.styled("stopping after this step …", tone("eval")))
    elif detail.row.silence:
        parts.append(Content.styled(detail.row.silence, tone("failed")))
    elif detail.row.state is RunState.RUNNING and detail.row.phase:
        parts.append(Content.styled(detail.row.phase, tone("running")))
    if detail.attempt > 1:
        parts.append(Content.styled(f"attempt {detail.attempt}", tone("dim")))
    parts.append(Content.styled(detail.row.model, tone("dim")))
    return join_fitting((fit(part, max(width // 2, 10)) for part in parts), width // 2)


def _progress_line(detail: RunDetail, width: int) -> Content:
    row = detail.row
    facts = [line(formatting.percent(row.progress)) if row.progress is not None else Content("no plan yet")]
    facts.append(line(("step ", tone("dim")), f"{row.step}/{row.total}" if row.total else f"{row.step}"))
    if row.eta is not None:
        facts.append(line(("ETA ", tone("dim")), formatting.duration(row.eta)))
    if detail.elapsed is not None:
        facts.append(line(("took " if row.state.ended else "for ", tone("dim")), formatting.duration(detail.elapsed)))
    if detail.epoch is not None:
        facts.append(line(("epoch ", tone("dim")), f"{detail.epoch:.2f}"))
    text = join_fitting(facts, width - 12)
    filled, rest = meter(row.progress, max(width - text.cell_length - 2, 4))
    return line((filled, tone(row.state.value)), (rest, tone("track")), "  ", text)


class RunHead(Lines):
    """The top lines of the newest detail."""

    DEFAULT_CSS = """
    RunHead { height: 2; padding: 0 1; background: $surface; }
    """
    detail: reactive[RunDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        if self.detail is None:
            return [Content.styled("reading the journal …", tone("dim")), Content()]
        return head_lines(self.detail, width)


def outcome_lines(detail: RunDetail, width: int) -> list[Content]:
    """What happened, why, and what to try, when a run failed; else nothing."""
    outcome, state = detail.outcome, detail.row.state
    if outcome is None:
        return []
    first = line((f"{state.glyph} ", tone(state.value, "bold")), (one_line(outcome.what, limit=1_000), "bold"))
    # The reason first: a small terminal cuts the band off. The dashboard has keys for the commands.
    facts = {"try": runnable(next(iter(outcome.next), "")), **dict(outcome.facts)}
    if state is RunState.CRASHED and facts.get("rows"):
        facts["rows"] = f"{facts['rows']} (in that step; not necessarily the cause)"
    labels = ("why", "try", "where", "rows", "images")
    pairs = [*((label, facts.get(label)) for label in labels), ("saved", facts.get("checkpoint"))]
    lines = first.wrap(width)
    for label, text in pairs:
        if text:
            content = line((f"  {label:<6} ", tone("dim")), one_line(str(text), limit=1_000))
            first_line, *others = content.wrap(width)
            lines += [first_line, *(fit(other.pad_left(9), width) for other in others)]
    return lines


class OutcomeBand(Lines):
    """The outcome of a run that failed or crashed; hidden otherwise."""

    DEFAULT_CSS = """
    OutcomeBand { padding: 0 1; background: $band; display: none; max-height: 28%; }
    OutcomeBand.-visible { display: block; }
    """
    detail: reactive[RunDetail | None] = reactive(None, repaint=False)

    def watch_detail(self) -> None:
        self.set_class(bool(self.detail and outcome_lines(self.detail, 80)), "-visible")
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        return outcome_lines(self.detail, width) if self.detail is not None else []
