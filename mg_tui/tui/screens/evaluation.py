"""One evaluation: scores with intervals, groups worst first, and rows beside their images; live while it runs."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import ContentSwitcher, Static

from mg_tui.core.errors import GardenError, describe_exception
from mg_tui.core.text import one_line
from mg_tui.runs import recents
from mg_tui.runs.state import RunState
from mg_tui.tui import formatting
from mg_tui.tui.actions import bindings
from mg_tui.tui.evaluations.choice import DATASET, WORST, available_filters
from mg_tui.tui.screens.evaluation_base import ResultScreenBase
from mg_tui.tui.screens.plain_text import CLIPBOARD_NOTICE, PlainTextScreen
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.evaluations.answers import AnswerTable, AnswerText
from mg_tui.tui.widgets.evaluations.head import ResultHead, ResultTabs
from mg_tui.tui.widgets.evaluations.scores import GroupTable, ScoreList
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.scroll_box import ScrollBox
from mg_tui.tui.widgets.table import Table

LOG_LINES = 60


class ResultScreen(ResultScreenBase):
    """The panes and their keys. Everything is read by threads."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("result")]
    AUTO_FOCUS = "AnswerTable"

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ResultHead()
        yield ErrorBand()
        yield ResultTabs()
        with ContentSwitcher(initial="rows", id="panes"):
            with ScrollBox(id="scores"):
                yield ScoreList()
            yield GroupTable(id="groups")
            with Vertical(id="rows"):
                yield AnswerTable(self.request_rows)
                yield Static(id="no-rows")
                with Horizontal(id="lower"):
                    yield ImageBox("no image")
                    with VerticalScroll(can_focus=False):
                        yield AnswerText()
        yield KeyBar()

    def on_table_moved(self) -> None:
        self._show_current_row()
        self.refresh_keys()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        self.action_open()

    # --- which actions apply

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        detail = self.detail
        if detail is None or not self.is_mounted or not self.query(AnswerTable):
            return action in ("back", "place", "scores", "groups", "rows")
        in_rows = self.pane == "rows" and bool(len(self.table.rows))
        match action:
            case "open":
                return self.current is not None or self._group is not None
            case "copy" | "image":
                return self.current is not None and (action == "copy" or bool(self.current.images))
            case "mark" | "mark_all":
                return in_rows
            case "filter":
                return self.pane == "rows" and bool(detail.count)
            case "only":
                return self.pane == "rows" and len(available_filters(detail, self.choice.metric, self.marked)) > 1
            case "order":
                return in_rows and bool(self.choice.metric)
            case "metric":
                return self.pane == "rows" and len(detail.metric_names) > 1
            case "write":
                return bool(self.marked)
            case "report":
                return detail.item.state is RunState.FINISHED
            case "stop":
                return detail.item.state is RunState.RUNNING
            case "resume":
                return detail.item.state.can_resume
        return True

    @property
    def _group(self) -> tuple[str, str] | None:
        """The group under the cursor."""
        row = self.query_one(GroupTable).current if self.pane == "groups" else None
        return (row.column, row.value) if row is not None else None

    # --- panes

    def _show_pane(self, name: str) -> None:
        self.query_one("#panes", ContentSwitcher).current = name
        self.query_one(ResultTabs).pane = name
        self.set_focus(self.table if name == "rows" else self.query_one(f"#{name}"))
        self.refresh_keys()

    def action_scores(self) -> None:
        self._show_pane("scores")

    def action_groups(self) -> None:
        self._show_pane("groups")

    def action_rows(self) -> None:
        self._show_pane("rows")

    async def action_back(self) -> None:
        if self.filter_open:
            await self.action_clear()
        elif self.pane == "rows" and not self.choice.is_everything:
            self.choice = replace(self.choice, only="all", group=None)
            self.show_chosen()
        else:
            self.dashboard.pop_screen()

    # --- rows

    def action_open(self) -> None:
        if (group := self._group) is not None:
            self.choice = replace(self.choice, group=group, only="all")
            self.show_chosen(keep_cursor=False)
            self._show_pane("rows")
        elif (answer := self.current) is not None and self.detail is not None:
            self._open_chat(answer.chat_question)

    def _open_chat(self, question: object) -> None:
        from mg_tui.tui.models.catalog import ModelRow
        from mg_tui.tui.models.conversation import ChatQuestion
        from mg_tui.tui.screens.chat import ChatScreen
        from mg_tui.tui.screens.choose_model import ChooseModelScreen

        assert isinstance(question, ChatQuestion) and self.detail is not None
        item = self.detail.item
        model = item.spec.get("model")
        if item.spec.get("endpoint") or not isinstance(model, str):  # a server is no model of this machine
            self.dashboard.push_screen(ChooseModelScreen(question, self.dashboard.settings))
        else:
            self.dashboard.push_screen(ChatScreen(ModelRow(model, "adapter", item.model), question))

    def action_only(self) -> None:
        if self.detail is not None:
            names = available_filters(self.detail, self.choice.metric, self.marked)
            index = names.index(self.choice.only) if self.choice.only in names else -1
            self.choice = replace(self.choice, only=names[(index + 1) % len(names)])
            self.show_chosen(keep_cursor=False)

    def action_order(self) -> None:
        self.choice = replace(self.choice, order=DATASET if self.choice.order == WORST else WORST)
        self.show_chosen(keep_cursor=False)

    def action_metric(self) -> None:
        if self.detail is not None:
            names = self.detail.metric_names
            index = names.index(self.choice.metric) if self.choice.metric in names else -1
            self.choice = replace(self.choice, metric=names[(index + 1) % len(names)])
            self.judge_rows(keep_cursor=False)

    def action_mark(self) -> None:
        place = self.table.current
        if place is not None:
            self.marked.symmetric_difference_update({self.table.number_at(place)})
            self._marks_changed()
            self.table.action_down()

    def action_mark_all(self) -> None:
        numbers = {self.table.number_at(place) for place in self.table.rows}
        if numbers <= self.marked:
            self.marked.difference_update(numbers)
        else:
            self.marked.update(numbers)
        self._marks_changed()

    def _marks_changed(self) -> None:
        if self._shown is not None:
            self._show_state(self._shown, self.table.rows)
        self.table.refresh()
        self.refresh_keys()

    def action_copy(self) -> None:
        if self.current is not None:
            self.app.copy_to_clipboard(self.current.as_text())
            self.notify(f"Row {self.current.number}: {CLIPBOARD_NOTICE[:1].lower()}{CLIPBOARD_NOTICE[1:]}")

    def action_image(self) -> None:
        from mg_tui.tui.screens.image import AnsweredImage, ImageScreen

        answer = self.current
        if answer is not None and answer.images:
            images = [AnsweredImage(path, answer.question, answer.answer) for path in answer.images]
            self.app.push_screen(ImageScreen(images))

    # --- marked rows to a dataset

    def action_write(self) -> None:
        from mg_tui.tui.evaluations.commands import suggest_output
        from mg_tui.tui.screens.hard_rows import HardRowsScreen

        if self.detail is not None and self.marked:
            item = self.detail.item
            screen = HardRowsScreen(len(self.marked), item.dataset, suggest_output(item, Path.cwd()))
            self.dashboard.push_screen(screen, self._write)

    def _write(self, out: Path | None) -> None:
        if out is not None and self.detail is not None:
            places = [place for number in self.marked if (place := self.detail.rows.place_of(number)) is not None]
            self.notify("writing the marked rows …", markup=False)
            work = partial(self._write_in_thread, self.detail.rows, sorted(places), out)
            self.run_worker(work, thread=True, exit_on_error=False)

    def _write_in_thread(self, rows: object, places: list[int], out: Path) -> None:
        from mg_tui.metrics.results.index import RowIndex
        from mg_tui.preflight.evaluation_outputs import write_rows

        assert isinstance(rows, RowIndex)
        try:
            found = [rows.read(place).row for place in places]
            questions = {row.row: str(row.question) for row in found}
            written = write_rows(self.folder, questions, out, cache=self.dashboard.settings.cache)
            recents.remember(self.dashboard.settings.home, "datasets", str(written.dataset.path))
        except GardenError as error:
            self.app.call_from_thread(self.dashboard.notify_error, error, "Nothing was written")
        except Exception as error:  # a bug must not vanish with its thread
            bug = GardenError(describe_exception(error))
            self.app.call_from_thread(self.dashboard.notify_error, bug, "Nothing was written")
        else:
            self.app.call_from_thread(self._written, written.dataset.path, written.dataset.rows, written.flags)

    def _written(self, path: Path, rows: int, flags: tuple[str, ...]) -> None:
        from mg_tui.tui.screens.dataset import DatasetScreen

        read_by = f" Read it with {' '.join(flags)}." if flags else ""
        self.notify(f"{formatting.count(rows, 'row')} in {path}.{read_by}", title="Written", markup=False, timeout=12)
        self.marked.clear()
        self._marks_changed()
        if self.is_current:
            self.dashboard.push_screen(DatasetScreen(str(path)))

    # --- the evaluation

    def action_stop(self) -> None:
        if self.detail is not None:
            self.commands.stop(self.detail.item)

    def action_resume(self) -> None:
        if self.detail is not None:
            self.commands.resume(self.detail.item)

    def action_place(self) -> None:
        self.app.push_screen(PlainTextScreen("Where it is", str(self.folder.path), "The folder of the evaluation."))

    def action_log(self) -> None:
        from mg_tui.runs.worker_log import read_tail, strip_terminal_codes

        lines = [one_line(strip_terminal_codes(text), limit=400) for text in read_tail(self.folder.log_file, LOG_LINES)]
        text = "\n".join(line for line in lines if line) or "It has printed nothing."
        self.app.push_screen(PlainTextScreen("Log", text, str(self.folder.log_file)))

    def action_report(self) -> None:
        self.notify("writing the report …", markup=False)
        self.run_worker(self._write_report, thread=True, exit_on_error=False)

    def _write_report(self) -> None:
        from mg_tui.preflight.evaluation_outputs import write_evaluation_report
        from mg_tui.tui.evaluations.commands import REPORT_NAME, open_in_browser

        path = self.folder.path / REPORT_NAME
        try:
            write_evaluation_report(self.folder, path)
        except GardenError as error:
            self.app.call_from_thread(self.dashboard.notify_error, error, "No report was written")
        except Exception as error:  # a bug must not vanish with its thread
            bug = GardenError(describe_exception(error))
            self.app.call_from_thread(self.dashboard.notify_error, bug, "No report was written")
        else:
            note = "It is opened in a browser." if open_in_browser(path) else "Open it in a browser, or send it."
            self.app.call_from_thread(self.app.push_screen, PlainTextScreen("The report", str(path), note))
