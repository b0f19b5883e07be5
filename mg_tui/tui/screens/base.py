"""What every screen of the dashboard has: breakpoints, the application, and the problems of feeds."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from rich.console import RenderableType
from textual.await_complete import AwaitComplete
from textual.content import Content
from textual.screen import Screen

from mg_tui.tui.base_app import ERROR_SECONDS, BaseApp
from mg_tui.tui.feeds import FeedFailed

R = TypeVar("R")
MIN_SIZE: Final = (60, 20)  # columns and rows


if TYPE_CHECKING:
    _Base = Screen
else:  # no widget: Textual takes the styles of the first base that is one

    class _Base(Generic[R]):
        pass


class DismissOnce(_Base[R]):
    """A screen that returns its result once.

    Textual pops whatever screen is on top, and sets the future of the result whether it is set already or not: a second
    dismissal, or one below another screen, closes the wrong screen or ends in an InvalidStateError.
    """

    _result_below: tuple[R | None] | None = None

    def dismiss(self, result: R | None = None) -> AwaitComplete:
        """As Textual's; below another screen, as soon as that is closed; nothing when it was dismissed already."""
        if self.is_active:
            return super().dismiss(result)
        if self._result_below is None and self in self.app.screen_stack:
            self._result_below = (result,)
        return AwaitComplete()

    def on_screen_resume(self) -> None:
        if self._result_below is not None:
            self.call_after_refresh(self._dismiss_late, *self._result_below)

    def _dismiss_late(self, result: R | None) -> None:
        self.dismiss(result)  # not awaited, as this is one of its own handlers


class GardenScreen(DismissOnce[R], Screen[R]):
    """Below 100 columns or 30 rows, a screen leaves out what it can do without (classes `-narrow`, `-short`).

    Screens are made for 80x24 and more, do what they can below that (a terminal within tmux often is smaller), and
    below 60x20 only say that the terminal is too small.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (MIN_SIZE[0], "-narrow"), (100, "-wide")]  # noqa: RUF012  (as Textual does)
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (MIN_SIZE[1], "-short"), (30, "-tall")]  # noqa: RUF012  (as Textual does)

    footer_labels: Mapping[str, str] = MappingProxyType({})  # in place of those of actions, by id, while they differ
    stylesheets_preloaded = False  # whether its stylesheet is read before the first frame

    def __init__(self) -> None:
        super().__init__()
        if not self.stylesheets_preloaded:
            self.dashboard.load_stylesheets()
        self.feed_problems: dict[str, str] = {}  # why a feed cannot read, by its subject
        self._enabled_actions: tuple[tuple[str, bool | None], ...] = ()

    def render(self) -> RenderableType | Content:
        width, height = self.size
        if width >= MIN_SIZE[0] and height >= MIN_SIZE[1]:
            return super().render()
        text = f"This terminal has {width}x{height} cells; the dashboard needs {MIN_SIZE[0]}x{MIN_SIZE[1]}."
        return Content("\n" * max(height // 2 - 1, 0)) + Content(text)

    @property
    def dashboard(self) -> BaseApp:
        """The application."""
        assert isinstance(self.app, BaseApp)
        return self.app

    def refresh_keys(self) -> None:
        """Check again which actions apply, and redraw the line of keys only when that changed.

        Redrawing it costs Textual a dozen milliseconds: too much for every row that the cursor passes.
        """
        names = (binding.action for _key, binding in self._bindings if "." not in binding.action)
        enabled = tuple((name, self.check_action(name, ())) for name in names)
        if enabled != self._enabled_actions:
            self._enabled_actions = enabled
            self.refresh_bindings()

    def set_footer_labels(self, labels: Mapping[str, str]) -> None:
        """What the line of keys calls some actions now, by id."""
        if dict(labels) != dict(self.footer_labels):
            self.footer_labels = labels
            self.refresh_bindings()

    def show_runs(self) -> None:
        """Called when the list of runs was read and this screen is on top; screens that show it override it."""

    def on_feed_failed(self, message: FeedFailed) -> None:
        if message.why:
            self.feed_problems[message.subject] = message.why
            title = f"Cannot read {message.subject}"
            self.notify(message.why, title=title, severity="error", markup=False, timeout=ERROR_SECONDS)
        else:
            self.feed_problems.pop(message.subject, None)
            self.notify(f"{message.subject} can be read again", markup=False)
