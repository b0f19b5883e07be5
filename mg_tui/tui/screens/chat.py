"""A chat with a model about pictures. The model is loaded once and kept until the screen is left."""

import os
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input

from mg_tui.core.errors import GardenError
from mg_tui.core.text import one_line, printable
from mg_tui.tui import recents
from mg_tui.tui.actions import bindings
from mg_tui.tui.children import Child, ChildFailed, ChildSaid
from mg_tui.tui.screens.base import GardenScreen
from mg_tui.tui.theme import tone
from mg_tui.tui.widgets.bars import KeyBar, TopBar
from mg_tui.tui.widgets.lines import line
from mg_tui.tui.widgets.models.chathead import ChatHead
from mg_tui.tui.widgets.models.found import ModelRow
from mg_tui.tui.widgets.models.talk import Asked, Exchange, Talk, TalkScroll, turns_of
from mg_tui.tui.widgets.picturebox import PictureBox, Shown
from mg_tui.tui.widgets.said import Said

GENERATOR = "mg_tui.engine.answers.generate"


class ChatScreen(GardenScreen[None]):
    """Questions below, conversation above, the picture beside it."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("chat")]
    AUTO_FOCUS = "#ask"

    def __init__(self, row: ModelRow, asked: Asked | None = None) -> None:
        super().__init__()
        self.row = row
        self._pending = asked or Asked()
        self._loading = self._answering = self._loaded = False

    def compose(self) -> ComposeResult:
        yield TopBar()
        yield ChatHead(self.row)
        yield Said()
        with Horizontal(id="talk"):
            yield TalkScroll(id="said")
            yield PictureBox("no picture yet: ctrl+o chooses one", id="side")
        yield Input(one_line(self._pending.question), placeholder="ask about the picture", id="ask", compact=True)
        yield KeyBar()

    def on_mount(self) -> None:
        from mg_tui.tui.app import over_ssh

        self.query_one(TopBar).crumb = self.row.title
        self._child = Child(self, GENERATOR, every=self.garden.period if over_ssh(os.environ) else 0.1)
        self._talk.hint = _hint()
        self._show_pictures()
        self._load()

    def on_unmount(self) -> None:
        self._child.end()

    @property
    def _talk(self) -> Talk:
        return self.query_one(Talk)

    @property
    def exchanges(self) -> list[Exchange]:
        """What was asked and answered."""
        return self._talk.exchanges

    # --- the model

    def _load(self) -> None:
        self._loading = True
        self.query_one(ChatHead).state = "loading"
        self.query_one(Said).error = None
        self._child.ask("load", model=self.row.given, home=str(self.garden.settings.home))

    def on_child_said(self, message: ChildSaid) -> None:
        event = message.event
        match event.get("event"):
            case "ready":
                self._loading, self._loaded = False, True
                head = self.query_one(ChatHead)
                head.ready = event
                head.state = "answering" if self._answering else "ready"
            case "notice":
                self.notify(one_line(str(event.get("text", "")), limit=400), markup=False, timeout=10)
            case "text" if self.exchanges and not self.exchanges[-1].over:
                self.exchanges[-1].answer += str(event.get("text", ""))
                self._changed()
            case "answer" if self.exchanges and not self.exchanges[-1].over:
                self.exchanges[-1].answer = str(event.get("answer", ""))
                self.exchanges[-1].record = event
                self._answered()
        self.keys_changed()

    def on_child_failed(self, message: ChildFailed) -> None:
        follows = message.op == "generate" and not self._loaded and self.query_one(Said).error is not None
        if not follows:  # a question that was asked while loading is refused because that failed
            self.query_one(Said).error = message.error
        if message.op == "load":
            self._loading = False
        if message.gone or message.op == "load":
            self._loaded = False
        if message.op == "generate" and self._answering:
            self.exchanges[-1].lost = "no answer"
            self._answered()
        self.query_one(ChatHead).state = "ready" if self._loaded else "failed"
        self.keys_changed()

    def _answered(self) -> None:
        self._answering = False
        self.query_one(ChatHead).state = "ready" if self._loaded else "failed"
        self._changed()

    def _changed(self) -> None:
        if self.is_current:
            self.query_one(TalkScroll).changed()

    def on_screen_resume(self) -> None:
        if self.is_mounted:
            self.query_one(TalkScroll).changed()

    # --- asking

    def on_input_submitted(self, event: Input.Submitted) -> None:
        typed = event.value.strip()
        if not typed or self._answering:
            return
        asked = Asked(typed, self._pending.pictures)
        if typed == one_line(self._pending.question):  # the row's own question, not what a line of input made of it
            asked = self._pending
        turns = turns_of(self.exchanges, asked)
        if not self._loaded and not self._loading:
            self._load()
        self.exchanges.append(Exchange(asked))
        self._pending = Asked()
        self._answering = True
        event.input.value = ""
        if not self._loading:
            self.query_one(ChatHead).state = "answering"
        self.query_one(Said).error = None
        self._child.ask("generate", messages=turns)
        self.query_one(TalkScroll).scroll_end(animate=False)
        self._changed()
        self.keys_changed()

    # --- pictures

    def _show_pictures(self) -> None:
        pictures = self._pending.pictures
        said = "for the next question" if self.exchanges else ""
        box = self.query_one(PictureBox)
        if pictures:
            box.show([Shown(path, f"{path.name}  {said}".strip()) for path in pictures])
        elif not self.exchanges or not any(exchange.asked.pictures for exchange in self.exchanges):
            box.show([])

    def take(self, asked: Asked) -> None:
        """Make this the next question."""
        self._pending = asked
        box = self.query_one("#ask", Input)
        if asked.question:
            box.value = one_line(asked.question)
            box.cursor_position = len(box.value)
        box.focus()
        self._show_pictures()

    def _picked(self, given: str | None) -> None:
        if given is not None:
            recents.remember(self.garden.settings.home, "pictures", given)
            pictures = (*self._pending.pictures, Path(given)) if not self._pending.expected else (Path(given),)
            self.take(Asked("", pictures))

    # --- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "drop":
            return bool(self._pending.pictures)
        if action == "fresh":
            return bool(self.is_mounted and self.query(Talk) and self.exchanges) and not self._answering
        return True

    def action_picture(self) -> None:
        from mg_tui.tui.screens.pick import PickScreen

        recent = [(item.given, item.when) for item in recents.read(self.garden.settings.home, "pictures")]
        self.garden.push_screen(PickScreen("picture", "Choose a picture", recent), self._picked)

    def action_row(self) -> None:
        from mg_tui.tui.screens.pick import PickScreen

        recent = [(item.given, item.when) for item in recents.read(self.garden.settings.home, "datasets")]
        self.garden.push_screen(PickScreen("dataset", "Take a row of a dataset", recent), self._which_row)

    def _which_row(self, given: str | None) -> None:
        from mg_tui.tui.screens.jump import JumpScreen

        if given is not None:
            asks = JumpScreen(None, f"Which row of {one_line(Path(given).name, limit=40)}?")
            self.garden.push_screen(asks, lambda number: self._read_row(given, number) if number else None)

    def _read_row(self, given: str, number: int) -> None:
        self.run_worker(partial(self._take_row, given, number), thread=True, exit_on_error=False)

    def _take_row(self, given: str, number: int) -> None:
        from mg_tui.tui.widgets.datasets.reading import one_row

        try:
            asked = one_row(given, number, cwd=Path.cwd(), cache=self.garden.settings.cache)
        except GardenError as error:
            text = printable("\n".join(error.lines()))
            say = partial(self.notify, text, severity="error", markup=False, timeout=12)
            self.app.call_from_thread(say)
        else:
            self.app.call_from_thread(self.take, asked)

    def action_drop(self) -> None:
        self.take(Asked(self._pending.question))
        self.query_one(PictureBox).show([])
        self.keys_changed()

    def action_fresh(self) -> None:
        last = next((item.asked.pictures for item in reversed(self.exchanges) if item.asked.pictures), ())
        self.exchanges.clear()
        self._pending = Asked("", self._pending.pictures or last)
        self._show_pictures()
        self._changed()
        self.keys_changed()

    def action_page_up(self) -> None:
        self.query_one(TalkScroll).scroll_page_up(animate=False)

    def action_page_down(self) -> None:
        self.query_one(TalkScroll).scroll_page_down(animate=False)

    def action_back(self) -> None:
        if self._answering and self._loaded:
            self._child.cancel()
        else:
            self.garden.pop_screen()


def _hint() -> list[Content]:
    return [
        Content.styled("Choose a picture, ask, and the answer is written here.", tone("dim")),
        Content(),
        line(("ctrl+o ", tone("key", "bold")), ("a picture by its path", tone("dim"))),
        line(("ctrl+r ", tone("key", "bold")), ("a row of a dataset, with its question", tone("dim"))),
        line(("enter  ", tone("key", "bold")), ("asks", tone("dim"))),
    ]
