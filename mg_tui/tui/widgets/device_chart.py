"""Charts of what the devices did lately: a curve for each device."""

from typing import Final

from mg_tui.tui.device_history import METRICS, DeviceHistory
from mg_tui.tui.widgets.chart import CURVE_DASHES, CURVE_GLYPHS, ChartLine, Plot

_WINDOWS: Final = (2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)  # minutes that a chart spans


def device_plots(history: DeviceHistory, first: int = 0) -> list[Plot]:
    """A plot of every metric over the minutes before the newest sample, from the metric `first` on."""
    minutes = history.minutes
    if not minutes:
        return []
    span = next((span for span in _WINDOWS if -minutes[0] <= span), _WINDOWS[-1])
    return [_plot(history, (first + index) % len(METRICS), span) for index in range(len(METRICS))]


def _plot(history: DeviceHistory, metric: int, span: float) -> Plot:
    lines = []
    for number, device in enumerate(history.devices):
        style = number % len(CURVE_GLYPHS)
        lines.append(
            ChartLine(
                device,
                *history.curve(device, metric),
                f"run-{style + 1}",
                dash=CURVE_DASHES[style],
                glyph=CURVE_GLYPHS[style],
                offset=number * 3,
            )
        )
    title, write = METRICS[metric].title, METRICS[metric].format_value
    return Plot(title, tuple(lines), None, write, True, False, (-span, 0.0), "min")
