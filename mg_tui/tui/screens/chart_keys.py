"""The actions of screens with a chart over steps."""

from collections.abc import Sequence

from mg_tui.tui.choice import Choice
from mg_tui.tui.runs.chart_view import ChartView
from mg_tui.tui.screens.base import GardenScreen


class ChartKeys(GardenScreen[None]):
    """A screen with `curve_count` curves over `steps`, whose `draw_chart` draws `view`."""

    view: ChartView

    @property
    def curve_count(self) -> int:
        """How many curves there are to go through."""
        raise NotImplementedError

    @property
    def curve_choices(self) -> Sequence[Choice]:
        """Every curve to choose from: ids are the index of a curve, or a field of the step events."""
        raise NotImplementedError

    @property
    def steps(self) -> Sequence[int]:
        """The steps of the curves."""
        raise NotImplementedError

    def draw_chart(self) -> None:
        """Draw `view`."""
        raise NotImplementedError

    def _set_view(self, view: ChartView) -> None:
        if view != self.view:
            self.view = view
            self.set_class(view.grid, "-grid")
            self.draw_chart()

    def action_curve(self) -> None:
        self._set_view(self.view.next_curve(self.curve_count, 1))

    def action_curve_back(self) -> None:
        self._set_view(self.view.next_curve(self.curve_count, -1))

    def action_pick(self) -> None:
        from mg_tui.tui.screens.choose import ChooseScreen

        help = "Every number that the run writes into its journal."
        self.dashboard.push_screen(ChooseScreen("Curve", self.curve_choices, help=help), self._pick)

    def _pick(self, ids: tuple[str, ...] | None) -> None:
        if ids:
            chosen = ids[0]
            self._set_view(self.view.show_curve(int(chosen)) if chosen.isdigit() else self.view.show_field(chosen))

    def action_grid(self) -> None:
        self._set_view(self.view.toggle_grid())

    def action_scale(self) -> None:
        self._set_view(self.view.toggle_log_scale())

    def action_smoother(self) -> None:
        self._set_view(self.view.adjust_smoothing(1))

    def action_rougher(self) -> None:
        self._set_view(self.view.adjust_smoothing(-1))

    def action_closer(self) -> None:
        self._set_view(self.view.zoom(self.steps, 0.5))

    def action_wider(self) -> None:
        self._set_view(self.view.zoom(self.steps, 2.0))

    def action_pan_left(self) -> None:
        self._set_view(self.view.pan(self.steps, -0.25))

    def action_pan_right(self) -> None:
        self._set_view(self.view.pan(self.steps, 0.25))

    def action_whole(self) -> None:
        self._set_view(self.view.show_all_steps())
