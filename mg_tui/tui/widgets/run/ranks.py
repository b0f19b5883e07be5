"""How each of several training processes is; nothing where there is one."""

from textual.content import Content
from textual.reactive import reactive

from mg_tui.core.text import one_line
from mg_tui.runs.records import SILENT_RANK_SECONDS, RankState, describe_rank
from mg_tui.tui import formatting
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.lines import Lines, fit, line


class RankStrip(Lines):
    """A line for each process: its step, last word, the time of its share of a step, memory and utilization."""

    DEFAULT_CSS = """
    RankStrip { background: $surface; padding: 0 1; display: none; }
    RankStrip.-several { display: block; }
    """
    ranks: reactive[tuple[RankState, ...]] = reactive((), repaint=False)

    def watch_ranks(self) -> None:
        self.set_class(len(self.ranks) > 1, "-several")
        self.redraw()

    def on_resize(self) -> None:
        self.redraw()

    def lines(self, width: int) -> list[Content]:
        height = self.app.size.height
        limit = 8 if height >= 36 else 4 if height >= 28 else 2
        lines = [self._rank_line(state, width) for state in self.ranks]
        if len(lines) > limit:
            hidden = len(lines) - limit + 1
            more = f"  and {formatting.count(hidden, 'more process', 'more processes')}"
            lines = [*lines[: limit - 1], Content.styled(more, tone("dim"))]
        return lines or [Content()]

    def _rank_line(self, state: RankState, width: int) -> Content:
        step, *rest = (one_line(part, limit=60) for part in describe_rank(state, self.ranks))
        silent = state.silent is not None and state.silent >= SILENT_RANK_SECONDS
        style = tone("eval", "bold") if silent else tone("dim")
        return fit(line((f"{state.rank} ", tone("key", "bold")), f"{step}  ", ("  ".join(rest), style)), width)
