"""What every screen of the dashboard has: breakpoints, and a way to say what a feed cannot read."""

from typing import TYPE_CHECKING, Final, TypeVar

from rich.console import RenderableType
from textual.content import Content
from textual.screen import Screen

from mg_tui.tui.feeds import FeedFailed

if TYPE_CHECKING:
    from mg_tui.tui.app import GardenApp

R = TypeVar("R")
LEAST: Final = (60, 20)  # columns and rows


class GardenScreen(Screen[R]):
    """Below 100 columns or 30 rows, a screen leaves out what it can do without (classes `-narrow`, `-short`).

    It is made for 80x24 and more, does what it can below that, which a terminal within tmux often is, and below 60x20
    says that it is too small.
    """

    HORIZONTAL_BREAKPOINTS = [(0, "-slim"), (LEAST[0], "-narrow"), (100, "-wide")]  # noqa: RUF012  (as Textual does)
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (LEAST[1], "-short"), (30, "-tall")]  # noqa: RUF012  (as Textual does)

    styles_read = False  # whether what it looks like is read before the first frame

    def __init__(self) -> None:
        super().__init__()
        if not self.styles_read:
            self.garden.read_styles()
        self.problems: dict[str, str] = {}  # what cannot be read now, and why
        self._applies: tuple[tuple[str, bool | None], ...] = ()

    def render(self) -> RenderableType | Content:
        width, height = self.size
        if width >= LEAST[0] and height >= LEAST[1]:
            return super().render()
        said = Content(f"This terminal has {width}x{height} cells; the dashboard needs {LEAST[0]}x{LEAST[1]}.")
        return Content("\n" * max(height // 2 - 1, 0)) + said

    @property
    def garden(self) -> "GardenApp":
        """The application."""
        from mg_tui.tui.app import GardenApp

        assert isinstance(self.app, GardenApp)
        return self.app

    def keys_changed(self) -> None:
        """Look again at which actions apply, and have the line of keys drawn anew only if others do.

        Asking Textual costs a dozen milliseconds: too much for every row that the cursor passes.
        """
        names = (binding.action for _key, binding in self._bindings if "." not in binding.action)
        applies = tuple((name, self.check_action(name, ())) for name in names)
        if applies != self._applies:
            self._applies = applies
            self.refresh_bindings()

    def show_runs(self) -> None:
        """The list of runs was read and this screen is on top; screens that show it, do so."""

    def on_feed_failed(self, message: FeedFailed) -> None:
        if message.why:
            self.problems[message.what] = message.why
            self.notify(message.why, title=f"Cannot read {message.what}", severity="error", markup=False, timeout=12)
        else:
            self.problems.pop(message.what, None)
            self.notify(f"{message.what} can be read again", markup=False)
