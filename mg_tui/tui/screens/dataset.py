"""The rows of one dataset: browsed, searched, checked, and shown as a model sees them."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import ContentSwitcher, Input

from mg_tui.core.text import one_line
from mg_tui.runs import recents
from mg_tui.tui.actions import bindings
from mg_tui.tui.datasets.checker import DatasetChecker
from mg_tui.tui.datasets.finding_rows import list_finding_kinds
from mg_tui.tui.screens.dataset_base import DatasetScreenBase
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.datasets.findings import FindingKindTable, FindingsSummary
from mg_tui.tui.widgets.datasets.head import DatasetHead
from mg_tui.tui.widgets.datasets.histograms import SizeHistograms
from mg_tui.tui.widgets.datasets.panes import DatasetTabs, RowText
from mg_tui.tui.widgets.datasets.row_table import RowTable
from mg_tui.tui.widgets.datasets.tokens import TokenPane
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.job_line import JobLine
from mg_tui.tui.widgets.table import Table


class DatasetScreen(DatasetScreenBase):
    """One dataset. Everything is read by threads; keys and layout are here."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("dataset")]
    AUTO_FOCUS = "RowTable"

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield DatasetHead()
        yield ErrorBand()
        yield JobLine()
        yield RowTable(self._request_rows)
        yield DatasetTabs()
        with ContentSwitcher(initial="row", id="panes"):
            with Horizontal(id="row"):
                yield ImageBox("no image", missing="✗ image not found or unreadable")
                with VerticalScroll(can_focus=False):
                    yield RowText()
            yield TokenPane(id="tokens")
            with Vertical(id="findings"):
                yield FindingsSummary()
                yield FindingKindTable()
            with VerticalScroll(id="sizes", can_focus=False):
                yield SizeHistograms()
        yield KeyBar()

    # --- moving

    def on_table_moved(self, message: Table.Moved) -> None:
        self._cursor_moved()

    def on_table_chosen(self, message: Table.Chosen) -> None:
        message.stop()
        if isinstance(self.focused, FindingKindTable):
            self._choose_kind()
        else:
            self.action_zoom()

    def on_key(self, event: Any) -> None:
        if event.key == "enter" and isinstance(self.focused, FindingKindTable):
            event.stop()
            self._choose_kind()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        await self.query("#find").remove()
        self.set_focus(self.query_one(RowTable))
        if text:
            self._finding_kind, self._matching_rows = None, array("Q")
            self._show_only(self._matching_rows, f"with “{one_line(text, limit=60)}”", searching=True)
            self._reader.search(text)

    def _choose_kind(self) -> None:
        row = self.query_one(FindingKindTable).current
        if row is not None:
            self._only_kind(row.kind)
            self.set_focus(self.query_one(RowTable))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "find" | "jump" | "check" | "new":
                return self.dataset is not None
            case "reading":
                return self.dataset is not None or self._head_state.failed
            case "next" | "previous":
                return self._row_severities is not None and bool(self._row_severities.rows)
            case "kinds":
                return self.report is not None and bool(self.report.counts)
            case "image":
                return self.row_detail is not None and len(self.row_detail.images) > 1
            case "chat":
                return self.row_detail is not None and bool(self.row_detail.question)
        return True

    def action_back(self) -> None:
        if self.query("#find"):
            self.query("#find").remove()
            self.set_focus(self.query_one(RowTable))
        elif self.has_class("-zoomed"):
            self.action_zoom()
        elif isinstance(self.focused, FindingKindTable):
            self.set_focus(self.query_one(RowTable))
        elif self._head_state.filter_text:
            self._all_rows()
        else:
            self.dashboard.pop_screen()

    def _show_pane(self, name: str) -> None:
        self.query_one("#panes", ContentSwitcher).current = name
        tabs = self.query_one(DatasetTabs)
        tabs.pane = name
        for_model = model_line(self.base_model) if name in ("tokens", "findings", "sizes") else Content()
        tabs.right = for_model
        if name == "findings" and self.report is not None and self.report.counts:
            self.set_focus(self.query_one(FindingKindTable))
        else:
            self.set_focus(self.query_one(RowTable))
        tokens = self.query_one(TokenPane)
        tokens.is_shown = name == "tokens"
        tokens.show(self.row_detail, self.base_model)

    def action_row(self) -> None:
        self._show_pane("row")

    def action_tokens(self) -> None:
        self._show_pane("tokens")

    def action_findings(self) -> None:
        self._show_pane("findings")

    def action_sizes(self) -> None:
        self._show_pane("sizes")

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")

    def action_image(self) -> None:
        self.query_one(ImageBox).step()

    async def action_find(self) -> None:
        if not self.query("#find"):
            box = Input(placeholder="text to find in the rows; enter searches", id="find", compact=True)
            await self.mount(box, before=self.query_one(ErrorBand))
        self.set_focus(self.query_one("#find", Input))

    def action_jump(self) -> None:
        from mg_tui.tui.screens.jump import JumpScreen

        self.dashboard.push_screen(JumpScreen(self._head_state.row_count), self._go_to_row)

    def _go_to_row(self, number: int | None) -> None:
        if number is None:
            return
        if self._head_state.filter_text:
            self._all_rows()
        table = self.query_one(RowTable)
        if self._head_state.row_count is None and number > table.lazy_rows.total:
            table.set_count(number)  # reading on tells whether there is such a row
        table.go_to(number)

    def action_next(self) -> None:
        self._go_to_finding(1)

    def action_previous(self) -> None:
        self._go_to_finding(-1)

    def _go_to_finding(self, by: int) -> None:
        rows = self._row_severities.rows if self._row_severities is not None else ()
        if not rows:
            return
        table = self.query_one(RowTable)
        index = bisect_right(rows, table.current_number) if by > 0 else bisect_left(rows, table.current_number) - 1
        if self._head_state.filter_text:
            self._all_rows()
        if self.query_one(DatasetTabs).pane in ("findings", "sizes"):  # the findings of a row stand beside it
            self._show_pane("row")
        table.go_to(rows[index % len(rows)])

    def action_kinds(self) -> None:
        if self.report is not None:
            kinds: list[str | None] = [
                row.kind for row in list_finding_kinds(self.report) if any(self.report.rows_by_kind[row.kind])
            ]
            following = [*kinds, None]
            index = following.index(self._finding_kind) if self._finding_kind in following else -1
            self._only_kind(following[(index + 1) % len(following)])

    def action_check(self) -> None:
        if self._checker is not None:
            self._checker.stop()
            self.query_one(JobLine).progress("stopping …")
        elif self.dataset is not None:
            self._checker = DatasetChecker(self, self.dataset, self.dashboard.settings, self.base_model)
            self._checker.start()
            self.query_one(JobLine).start(f"checking for {self.base_model}")
            self.query_one(FindingsSummary).checking = self.query_one(SizeHistograms).checking = True
            self.query_one(ErrorBand).error = None
            self.set_footer_labels({"dataset.check": "stop check"})

    def action_reading(self) -> None:
        from mg_tui.tui.screens.read_options import ReadOptionsScreen

        if self.dataset is not None or self._head_state.failed:
            lists = self._json_lists()
            self.dashboard.push_screen(ReadOptionsScreen(self.options, self.dataset, lists), self._apply_options)

    def _json_lists(self) -> Sequence[str]:
        """The lists of a JSON object that has the rows in one of them, or does not say in which."""
        if self.dataset is not None:
            return tuple(getattr(self.dataset.source, "lists", ()))
        return tuple(getattr(self.query_one(ErrorBand).error, "lists", ()))

    def _apply_options(self, options: Mapping[str, str] | None) -> None:
        if options is not None and options != self.options:
            self._reader.stop()
            self.options = options
            self.query_one(ErrorBand).error = None
            self._open()

    def action_model(self) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        recent = recents.read(self.dashboard.settings.home, "models")
        picker = PickScreen("model", "Tokens and checks for which base model?", recent)
        self.dashboard.push_screen(picker, self._set_base_model)

    def _set_base_model(self, reference: str | None) -> None:
        if reference is not None:
            self.base_model, self._model_is_chosen = reference, True
            self._show_pane(self.query_one(DatasetTabs).pane)

    def action_chat(self) -> None:
        from mg_tui.tui.models.conversation import ChatQuestion
        from mg_tui.tui.screens.choose_model import ChooseModelScreen

        if self.row_detail is not None and self.row_detail.question:
            detail = self.row_detail
            images = tuple(view.path for view in detail.images if view.path is not None)
            question = ChatQuestion(detail.question, images, detail.answer, f"row {detail.number}")
            self.dashboard.push_screen(ChooseModelScreen(question, self.dashboard.settings))

    def action_new(self) -> None:
        if self.dataset is not None:
            model = {"base_model": self.base_model} if self._model_is_chosen else {}
            values = {**self.dataset.run_options(), "dataset": self._dataset_name, **model}
            self.dashboard.open_dataset_form(values)


def model_line(model: str) -> Content:
    """Which model something is shown for, and the key that changes it."""
    return Content.assemble(("for ", tone("dim")), (one_line(model, limit=60), "bold"), ("  b changes", tone("faint")))
