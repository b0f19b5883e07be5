"""A chat with a model about images. The model stays loaded until the screen is left."""

import os
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input

from mg_tui.core.errors import DataError, GardenError
from mg_tui.core.text import one_line
from mg_tui.runs import recents
from mg_tui.runs.recents import RecentItem
from mg_tui.tui.actions import bindings
from mg_tui.tui.engine_client import EngineClient, EngineEvent, EngineRequestFailed
from mg_tui.tui.image_view import ImageView
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.models.chat_memory import QuestionHistory, parse_sampling, read_sampling, write_sampling
from mg_tui.tui.models.conversation import ChatQuestion, Exchange, build_messages
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.terminal import is_over_ssh
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.models.chat_head import ChatHead
from mg_tui.tui.widgets.models.conversation import ConversationScroll, ConversationText

TEXT_SECONDS = 0.1  # between two pieces of an answer that are drawn; over a network, the update period
GENERATE_PROGRAM = "mg_tui.engine.inference.generate"


class ChatScreen(GardenScreen[None]):
    """Questions below, conversation above, the image beside it."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("chat")]
    AUTO_FOCUS = "#ask"

    def __init__(self, row: ModelRow, question: ChatQuestion | None = None) -> None:
        """`question`: what the field for the next question starts with."""
        super().__init__()
        self.model = row
        self._draft = question or ChatQuestion()
        self._loading = self._answering = self._loaded = False
        self._history = QuestionHistory(self.dashboard.settings.home)
        self._sampling = read_sampling(self.dashboard.settings.home)

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ChatHead(self.model)
        yield ErrorBand()
        with Horizontal(id="talk"):
            yield ConversationScroll(id="said")
            yield ImageBox("no image yet; ctrl+o chooses one", id="side")
        yield Input(one_line(self._draft.question), placeholder="ask about the image", id="ask", compact=True)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(TopBar).breadcrumb = self.model.title
        interval = self.dashboard.update_period if is_over_ssh(os.environ) else TEXT_SECONDS
        self._engine = EngineClient(self, GENERATE_PROGRAM, text_interval=interval)
        self._conversation.hint = _hint()
        self.query_one(ChatHead).sampling = self._sampling
        self._show_images()
        self._load_model()

    def on_unmount(self) -> None:
        self._engine.shut_down()

    @property
    def _conversation(self) -> ConversationText:
        return self.query_one(ConversationText)

    @property
    def exchanges(self) -> list[Exchange]:
        """Questions and answers so far."""
        return self._conversation.exchanges

    # --- the model

    def _load_model(self) -> None:
        self._loading = True
        self.query_one(ChatHead).state = "loading"
        self.query_one(ErrorBand).error = None
        self._engine.request("load", model=self.model.reference, home=str(self.dashboard.settings.home))

    def on_engine_event(self, message: EngineEvent) -> None:
        event = message.event
        match event.get("event"):
            case "ready":
                self._loading, self._loaded = False, True
                head = self.query_one(ChatHead)
                head.model_info = event
                head.state = "answering" if self._answering else "ready"
            case "notice":
                self.notify(one_line(str(event.get("text", "")), limit=400), markup=False, timeout=10)
            case "text" if self.exchanges and not self.exchanges[-1].finished:
                self.exchanges[-1].answer += str(event.get("text", ""))
                self._refresh_conversation()
            case "answer" if self.exchanges and not self.exchanges[-1].finished:
                self.exchanges[-1].answer = str(event.get("answer", ""))
                self.exchanges[-1].generation = event
                self._finish_answer()
        self.refresh_keys()

    def on_engine_request_failed(self, message: EngineRequestFailed) -> None:
        # A question asked while the model was loading fails because loading failed, which is shown already.
        follows = message.op == "generate" and not self._loaded and self.query_one(ErrorBand).error is not None
        if not follows:
            self.query_one(ErrorBand).error = message.error
            self._show_reason_once(message.error)
        if message.op == "load":
            self._loading = False
        if message.process_ended or message.op == "load":
            self._loaded = False
        if message.op == "generate" and self._answering:
            self.exchanges[-1].error = "no answer"
            self._finish_answer()
        self.query_one(ChatHead).state = "ready" if self._loaded else "failed"
        self.refresh_keys()

    def _show_reason_once(self, error: GardenError | None) -> None:
        """The image's box does not repeat what the band says."""
        box = self.query_one(ImageBox)
        box.reason_shown = isinstance(error, DataError) or (error is not None and "image" in error.what)
        box.redraw()

    def _finish_answer(self) -> None:
        self._answering = False
        self.set_footer_labels({})
        self.query_one(ChatHead).state = "ready" if self._loaded else "failed"
        self._refresh_conversation()

    def _refresh_conversation(self) -> None:
        if self.is_current:
            self.query_one(ConversationScroll).refresh_conversation()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self.query_one(ConversationScroll).refresh_conversation()

    # --- asking

    def on_input_submitted(self, event: Input.Submitted) -> None:
        typed = event.value.strip()
        if not typed or self._answering:
            return
        question = ChatQuestion(typed, self._draft.images)
        if typed == one_line(self._draft.question):  # the row's own question, which may have more than one line
            question = self._draft
        self._history.add(one_line(question.question))
        self._draft = ChatQuestion()
        event.input.value = ""
        self._ask(question)

    def _ask(self, question: ChatQuestion) -> None:
        messages = build_messages(self.exchanges, question)
        if not self._loaded and not self._loading:
            self._load_model()
        self.exchanges.append(Exchange(question))
        self._answering = True
        self.set_footer_labels({"chat.back": "stop answer"})
        if not self._loading:
            self.query_one(ChatHead).state = "answering"
        self.query_one(ErrorBand).error = None
        self._show_reason_once(None)
        self._engine.request("generate", messages=messages, **self._sampling.fields())
        self.query_one(ConversationScroll).scroll_end(animate=False)
        self._refresh_conversation()
        self.refresh_keys()

    # --- images

    def _show_images(self) -> None:
        images = self._draft.images
        note = "for the next question" if self.exchanges else ""
        box = self.query_one(ImageBox)
        if images:
            box.show([ImageView(path, f"{path.name}  {note}".strip()) for path in images])
        elif not self.exchanges or not any(exchange.question.images for exchange in self.exchanges):
            box.show([])

    def set_question(self, question: ChatQuestion) -> None:
        """Make this the next question."""
        self._draft = question
        box = self.query_one("#ask", Input)
        if question.question:
            box.value = one_line(question.question)
            box.cursor_position = len(box.value)
        self.set_focus(box)
        self._show_images()

    def _add_image(self, path: str | None) -> None:
        if path is not None:
            recents.remember(self.dashboard.settings.home, "images", path)
            images = (*self._draft.images, Path(path)) if not self._draft.expected else (Path(path),)
            self.set_question(ChatQuestion("", images))

    @property
    def _conversation_so_far(self) -> list[Exchange]:
        """The exchanges; none before the screen is there."""
        return self.exchanges if self.is_mounted and self.query(ConversationText) else []

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "drop":
            return bool(self._draft.images)
        if action in ("retry", "answer"):
            return any(item.finished for item in self._conversation_so_far) and not self._answering
        if action == "fresh":
            return bool(self._conversation_so_far) and not self._answering
        return True

    def action_image(self) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        recent = recents.read(self.dashboard.settings.home, "images")
        self.dashboard.push_screen(PickScreen("image", "Choose an image", recent), self._add_image)

    def action_row(self) -> None:
        from mg_tui.tui.screens.picker import PickScreen

        recent = list(recents.read(self.dashboard.settings.home, "datasets"))
        if self.model.dataset is not None:  # what it was trained on first
            recent = [RecentItem(self.model.dataset, 0.0), *(r for r in recent if r.reference != self.model.dataset)]
        self.dashboard.push_screen(PickScreen("dataset", "Choose a dataset", recent), self._ask_row_number)

    def _ask_row_number(self, dataset: str | None) -> None:
        from mg_tui.tui.screens.jump import JumpScreen

        if dataset is not None:
            screen = JumpScreen(None, f"Which row of {one_line(Path(dataset).name, limit=40)}?")
            self.dashboard.push_screen(
                screen, lambda number: self._load_row_in_thread(dataset, number) if number else None
            )

    def _load_row_in_thread(self, dataset: str, number: int) -> None:
        self.run_worker(partial(self._load_row, dataset, number), thread=True, exit_on_error=False)

    def _load_row(self, dataset: str, number: int) -> None:
        from mg_tui.tui.datasets.reader import read_row_question

        try:
            question = read_row_question(dataset, number, cwd=Path.cwd(), cache=self.dashboard.settings.cache)
        except GardenError as error:
            self.app.call_from_thread(self.dashboard.notify_error, error)
        else:
            self.app.call_from_thread(self.set_question, question)

    def action_drop(self) -> None:
        self.set_question(ChatQuestion(self._draft.question))
        self.query_one(ImageBox).show([])
        self.refresh_keys()

    def action_fresh(self) -> None:
        last = next((item.question.images for item in reversed(self.exchanges) if item.question.images), ())
        self.exchanges.clear()
        self._draft = ChatQuestion("", self._draft.images or last)
        self._show_images()
        self._refresh_conversation()
        self.refresh_keys()

    def action_retry(self) -> None:
        if self._conversation_so_far and not self._answering:
            self._ask(self.exchanges.pop().question)

    def action_answer(self) -> None:
        from mg_tui.tui.screens.plain_text import PlainTextScreen

        answers = [item.answer.strip() for item in self._conversation_so_far if item.answer.strip()]
        if answers:
            self.dashboard.push_screen(PlainTextScreen("The answer", answers[-1]))

    def action_earlier(self) -> None:
        self._walk_history(-1)

    def action_later(self) -> None:
        self._walk_history(1)

    def _walk_history(self, by: int) -> None:
        field = self.query_one("#ask", Input)
        question = self._history.step(by, field.value)
        if question is not None:
            field.value = question
            field.cursor_position = len(question)

    def action_sampling(self) -> None:
        description = (
            "temperature 0 is greedy: the same answer every time. Without a seed one is drawn. Empty: defaults."
        )
        title, value = "Sampling", self._sampling.as_text()
        self.dashboard.ask_text(title, description, self._set_sampling, value=value, limit=120)

    def _set_sampling(self, text: str) -> None:
        try:
            self._sampling = parse_sampling(text)
        except GardenError as error:
            self.dashboard.notify_error(error)
            return
        write_sampling(self.dashboard.settings.home, self._sampling)
        self.query_one(ChatHead).sampling = self._sampling

    def action_page_up(self) -> None:
        self.query_one(ConversationScroll).scroll_page_up(animate=False)

    def action_page_down(self) -> None:
        self.query_one(ConversationScroll).scroll_page_down(animate=False)

    def action_back(self) -> None:
        if self._answering and self._loaded:
            self._engine.cancel()
        else:
            self.dashboard.pop_screen()


def _hint() -> list[Content]:
    return [
        Content.styled("Choose an image and ask a question; the answer appears here.", tone("dim")),
        Content(),
        line(("ctrl+o ", tone("key", "bold")), ("choose an image", tone("dim"))),
        line(("ctrl+r ", tone("key", "bold")), ("use a row of a dataset", tone("dim"))),
        line(("enter  ", tone("key", "bold")), ("asks", tone("dim"))),
    ]
