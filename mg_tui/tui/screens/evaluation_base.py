"""The state of the screen of an evaluation: what its threads post ends up here, and which rows are shown."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from textual.content import Content
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from mg_tui.core.text import one_line
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.state import RunState
from mg_tui.tui.evaluations.answers import AnswerReader, AnswersRead, AnswerView
from mg_tui.tui.evaluations.choice import ALL, FILTERS, RowChoice, RowSelector, available_filters, row_judge
from mg_tui.tui.evaluations.commands import EvaluationCommands
from mg_tui.tui.evaluations.detail import EvaluationDetail
from mg_tui.tui.evaluations.feeds import EvaluationFeed, EvaluationUpdated
from mg_tui.tui.evaluations.search import RowSearch, RowsFound, SearchKey
from mg_tui.tui.image_view import ImageView
from mg_tui.tui.screens.filter_screen import FilterScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.evaluations.answers import AnswerTable, AnswerText
from mg_tui.tui.widgets.evaluations.head import ResultHead, ResultTabs
from mg_tui.tui.widgets.evaluations.scores import GroupTable, ScoreList, group_rows
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.lines import line


class ResultScreenBase(FilterScreen):
    """One evaluation; `ResultScreen` has the layout and the keys."""

    filter_placeholder = "words of questions, references, answers or columns"

    def __init__(self, folder: EvaluationFolder) -> None:
        super().__init__()
        self.folder = folder
        self.detail: EvaluationDetail | None = None
        self.choice = RowChoice()
        self._shown: EvaluationDetail | None = None  # whose rows are in the table
        self._kinds: dict[int, str] = {}  # what became of rows by the metric, by their number
        self._selector: RowSelector | None = None  # once every row is read
        self._found: RowsFound | None = None  # the last search

    def on_mount(self) -> None:
        app = self.dashboard
        self.query_one(TopBar).breadcrumb = one_line(self.folder.id)
        self.commands = EvaluationCommands(app.confirm, app.run_commands.run_in_thread)
        self._reader = AnswerReader(self)
        self._reader.start()
        self._search = RowSearch(self)
        self._feed = EvaluationFeed(self, self.folder, app.update_period)
        self.call_after_refresh(self._feed.start)
        self.call_after_refresh(self._show_nothing_yet)

    def _show_nothing_yet(self) -> None:
        if self._shown is None and self.query(AnswerTable):
            self._show_empty("reading the evaluation …")

    def on_unmount(self) -> None:
        self._feed.stop()
        self._reader.stop()
        self._search.end()

    def on_screen_suspend(self) -> None:
        if self.is_mounted:
            self._feed.pause()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self._feed.resume()
            self._show_if_current()

    @property
    def table(self) -> AnswerTable:
        """The rows."""
        return self.query_one(AnswerTable)

    @property
    def filtered_table(self) -> AnswerTable:
        return self.table

    @property
    def below_filter(self) -> Widget:
        return self.query_one("#panes")

    def show_filtered(self) -> None:
        self.choice = replace(self.choice, text=self.filter_text)
        self.show_chosen(keep_cursor=False)

    @property
    def pane(self) -> str:
        """The pane that is shown."""
        return str(self.query_one("#panes", ContentSwitcher).current)

    @property
    def current(self) -> AnswerView | None:
        """The row under the cursor, if it was read."""
        place = self.table.current
        return None if place is None or self.pane != "rows" else self.table.answer_at(place)

    @property
    def marked(self) -> set[int]:
        """Numbers of the marked rows."""
        return self.table.marked

    # --- messages of the threads

    def on_evaluation_updated(self, message: EvaluationUpdated) -> None:
        first, self.detail = self.detail is None, message.detail
        self.dashboard.coalescer.schedule((self, "evaluation"), self._show_if_current, at_once=first)

    def _show_if_current(self) -> None:
        if not self.is_current or self.detail is None:
            return
        if self.query(AnswerTable):
            self._show(self.detail)
        else:  # widgets within others are mounted a moment later
            self.call_after_refresh(self._show_if_current)

    def on_answers_read(self, message: AnswersRead) -> None:
        if self.detail is None or message.rows is not self.detail.rows:
            return  # of the rows before they were scored
        self.table.answers_read(message.answers)
        self._show_current_row()

    def on_rows_found(self, message: RowsFound) -> None:
        self._found = message
        self._search.end()
        if message.problem:
            self.notify(message.problem, severity="error", markup=False)
        self.show_chosen()

    def request_rows(self, places: list[int]) -> None:
        """Read rows that became visible."""
        if self._shown is not None:
            self._reader.request(self._shown.rows, self._shown.before, places)

    # --- showing

    def _show(self, detail: EvaluationDetail) -> None:
        self.query_one(TopBar).breadcrumb = f"{detail.item.title} › evaluation"
        self.query_one(ResultHead).detail = detail
        self.query_one(ErrorBand).error = detail.problem
        self.query_one(ScoreList).detail = detail
        self.query_one(GroupTable).show(group_rows(detail))
        self._show_rows(detail)
        self.refresh_keys()

    def _show_rows(self, detail: EvaluationDetail) -> None:
        """The newest rows: others when they are scored or read anew, more when there are more."""
        before, self._shown = self._shown, detail
        if before is None or (before.rows, before.count) != (detail.rows, detail.count) or before.reading:
            self._selector = None
        if before is not None and before.before is not detail.before:
            self.table.forget()
        names = detail.metric_names
        if self.choice.metric not in names:
            self.choice = replace(self.choice, metric=next(iter(names), ""))
        if before is None or before.rows is not detail.rows or before.comparison is not detail.comparison:
            self.table.number_at = lambda place: detail.rows.numbers[place]
            if before is None or before.rows is not detail.rows:
                self._keep_row(before, detail)
            self.judge_rows()
        elif (before.count, before.reading) != (detail.count, detail.reading):
            self.show_chosen()
        else:
            if before.before_count != detail.before_count:
                self._read_before_again(detail)
            self._show_empty(_placeholder(detail))  # what it is doing may have changed

    def _keep_row(self, before: EvaluationDetail | None, detail: EvaluationDetail) -> None:
        """Of an index that was replaced, keep the cursor on the same row."""
        self.table.forget()
        place = self.table.current
        if before is not None and place is not None and place < len(before.rows.numbers):
            now = detail.rows.place_of(before.rows.numbers[place])
            if now is not None:
                self.table.rows = range(detail.count)
                self.table.cursor = now

    def _read_before_again(self, detail: EvaluationDetail) -> None:
        """Rows that were read before the other model answered them."""
        stale = [
            answer.place
            for answer in self.table.cached()
            if answer.before is None and detail.before is not None and detail.before.place_of(answer.number) is not None
        ]
        if stale:
            self.table.forget(stale)

    def judge_rows(self, *, keep_cursor: bool = True) -> None:
        """What became of each row by the metric; then show those that are chosen."""
        detail, metric = self._shown, self.choice.metric
        if detail is None:
            return
        kinds = ("fixed", "broken") if detail.judges_rows(metric) else ("improved", "worsened")
        self._kinds = {number: kind for kind in kinds for number in detail.numbers(metric, kind)}
        errors, is_correct = set(detail.rows.errors), row_judge(detail, metric)
        scores = detail.rows.scores.get(metric)

        def mark_at(place: int) -> str:
            if place in errors:
                return "error"
            kind = self._kinds.get(detail.rows.numbers[place])
            return kind or {True: "right", False: "wrong", None: ""}[is_correct(place)]

        self.table.mark_at = mark_at
        self.table.score_at = lambda place: scores[place] if scores is not None and place < len(scores) else None
        self.show_chosen(keep_cursor=keep_cursor)

    def show_chosen(self, *, keep_cursor: bool = True) -> None:
        """Show the rows that are chosen."""
        detail = self._shown
        if detail is None:
            return
        if self.choice.only not in available_filters(detail, self.choice.metric, self.marked):
            self.choice = replace(self.choice, only="all")
        places: Sequence[int] = range(detail.count)
        if not detail.reading:  # sorted and filtered when all are there
            self._selector = self._selector or RowSelector(detail)
            places = self._selector.select(self.choice, self.marked, self._places_found(detail))
        self.table.show_places(places, keep_cursor=keep_cursor)
        self._show_state(detail, places)
        self._show_empty(_placeholder(detail))

    def _places_found(self, detail: EvaluationDetail) -> Collection[int] | None:
        """Places that have the words searched for, of the last search while a thread searches; None without words."""
        key = SearchKey.of(self.choice.text, detail)
        if key is None:
            self._search.end()
            self._found = None
            return None
        if self._found is None or self._found.key != key:
            self._search.request(key)
        return self._found.places if self._found is not None and self._found.key.rows is detail.rows else None

    def _show_state(self, detail: EvaluationDetail, places: Sequence[int]) -> None:
        """What is shown, at the right of the tabs."""
        choice, parts = self.choice, []
        if detail.reading:
            parts.append(Content.styled(f"reading rows … {detail.count:,}", tone("running")))
        if self.marked:
            parts.append(Content.styled(f"● {len(self.marked)} marked", tone("key")))
        if not choice.is_everything:
            only = [FILTERS[choice.only]] if choice.only != ALL else []
            only += [one_line(choice.group[1], limit=30)] if choice.group is not None else []
            only += [f"“{one_line(choice.text.strip(), limit=30)}”"] if choice.text.strip() else []
            parts.append(Content.styled(f"{', '.join(only)}: {len(places)}", tone("eval")))
        if choice.metric and not detail.reading:
            by = f" by {choice.metric}" if len(detail.metric_names) > 1 else ""
            parts.append(Content.styled(f"{choice.order}{by}", tone("dim")))
        self.query_one(ResultTabs).right = Content("  ").join(parts)

    def _show_empty(self, text: str) -> None:
        has_rows = bool(len(self.table.rows))
        self.table.display = self.query_one("#lower").display = has_rows
        empty = self.query_one("#no-rows")
        empty.display = not has_rows
        if has_rows and self.focused is None and self.pane == "rows":
            self.set_focus(self.table)  # a hidden widget has lost the focus
        if not has_rows:
            only = FILTERS[self.choice.only] if self._shown is not None and self._shown.count else ""
            if only and self.choice.text.strip():
                only = f"with “{one_line(self.choice.text.strip(), limit=30)}”, {only}"
            shown = line(f"No row: {only} is shown; f shows others, esc all.") if only else Content(text)
            empty.update(shown.stylize(tone("dim")))  # type: ignore[attr-defined]

    def _show_current_row(self) -> None:
        place, text = self.table.current, self.query_one(AnswerText)
        answer = None if place is None else self.table.answer_at(place)
        if answer is None and place is not None and len(self.table.rows):
            return  # it comes when it is read
        text.mark = self.table.mark_at(place) if place is not None else ""
        text.answer = answer
        images = [ImageView(path, path.name) for path in answer.images] if answer is not None else []
        self.query_one(ImageBox).show(images)
        self.refresh_keys()


def _placeholder(detail: EvaluationDetail) -> str:
    """The text in place of rows."""
    if detail.item.state is RunState.RUNNING:
        return f"{detail.item.status_text or 'starting'} … rows come as they are answered"
    if detail.item.state is RunState.CREATED:
        return "The evaluation process has not started yet."
    return "No row was answered."
