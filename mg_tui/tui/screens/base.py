"""What every screen of the dashboard has: breakpoints, and a way to say what a feed cannot read."""

from typing import TYPE_CHECKING, Final, TypeVar

from rich.console import RenderableType
from textual.content import Content
from textual.screen import Screen

from mg_tui.tui.feeds import FeedFailed

if TYPE_CHECKING:
    from mg_tui.tui.app import GardenApp

R = TypeVar("R")
MIN_SIZE: Final = (60, 20)  # columns and rows


class GardenScreen(Screen[R]):
    """Below 100 columns or 30 rows, a screen leaves out what it can do without (classes `-narrow`, `-short`).

    It is made for 80x24 and more, does what it can below that, which a terminal within tmux often is, and below 60x20
    says that it is too small.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (MIN_SIZE[0], "-narrow"), (100, "-wide")]  # noqa: RUF012  (as Textual does)
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (MIN_SIZE[1], "-short"), (30, "-tall")]  # noqa: RUF012  (as Textual does)

    stylesheets_preloaded = False  # whether what it looks like is read before the first frame

    def __init__(self) -> None:
        super().__init__()
        if not self.stylesheets_preloaded:
            self.dashboard.load_stylesheets()
        self.feed_problems: dict[str, str] = {}  # what cannot be read now, and why
        self._enabled_actions: tuple[tuple[str, bool | None], ...] = ()

    def render(self) -> RenderableType | Content:
        width, height = self.size
        if width >= MIN_SIZE[0] and height >= MIN_SIZE[1]:
            return super().render()
        said = Content(f"This terminal has {width}x{height} cells; the dashboard needs {MIN_SIZE[0]}x{MIN_SIZE[1]}.")
        return Content("\n" * max(height // 2 - 1, 0)) + said

    @property
    def dashboard(self) -> "GardenApp":
        """The application."""
        from mg_tui.tui.app import GardenApp

        assert isinstance(self.app, GardenApp)
        return self.app

    def refresh_keys(self) -> None:
        """Look again at which actions apply, and have the line of keys drawn anew only if others do.

        Asking Textual costs a dozen milliseconds: too much for every row that the cursor passes.
        """
        names = (binding.action for _key, binding in self._bindings if "." not in binding.action)
        applies = tuple((name, self.check_action(name, ())) for name in names)
        if applies != self._enabled_actions:
            self._enabled_actions = applies
            self.refresh_bindings()

    def show_runs(self) -> None:
        """The list of runs was read and this screen is on top; screens that show it, do so."""

    def on_feed_failed(self, message: FeedFailed) -> None:
        if message.why:
            self.feed_problems[message.subject] = message.why
            self.notify(message.why, title=f"Cannot read {message.subject}", severity="error", markup=False, timeout=12)
        else:
            self.feed_problems.pop(message.subject, None)
            self.notify(f"{message.subject} can be read again", markup=False)
