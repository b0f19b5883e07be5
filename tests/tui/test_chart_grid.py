"""Several charts side by side, any journaled number as a curve, and what devices did lately by device."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mg_tui.hardware.types import DeviceSnapshot, Gpu, Host
from mg_tui.runs.series import MAX_FIELDS, Series
from mg_tui.tui import formatting
from mg_tui.tui.device_history import METRICS, DeviceHistory
from mg_tui.tui.runs.chart_view import ChartView
from mg_tui.tui.screens.choose import ChoiceTable, ChooseScreen
from mg_tui.tui.screens.compare import CompareScreen
from mg_tui.tui.screens.devices import DevicesScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.chart import Chart, ChartLine, Plot, draw_grid, draw_plot, grid_shape
from mg_tui.tui.widgets.device_chart import device_plots
from mg_tui.tui.widgets.run.metrics import METRICS as RUN_METRICS

GIB = 1 << 30
HOST = Host(31.0, 8 * GIB, 64 * GIB, "AMD EPYC 9654", 16)


# --- the numbers of the journal


def test_every_number_of_the_step_events_is_kept() -> None:
    series = Series(all_fields=True)
    series.add(1, 0.0, {"step": 1, "loss": 2.0, "relaid": True, "note": "text"})
    series.add(2, 1.0, {"step": 2, "loss": 1.0, "energy_j": 5, "spread": "nan"})
    assert set(series.fields) == {"loss", "energy_j", "spread"}
    assert str(series.fields["energy_j"]) == "[nan, 5.0]" and series.fields["loss"] == [2.0, 1.0]
    series.add(2, 1.0, {"step": 2, "loss": 0.5})  # resumed: the step is done again
    assert series.fields["loss"] == [2.0, 0.5] and str(series.fields["energy_j"]) == "[nan, nan]"
    assert Series().fields == {}


def test_the_kept_numbers_are_bounded() -> None:
    series = Series(points=8, all_fields=True)
    for step in range(1, 200):
        series.add(step, 0.0, {f"field{n}": step for n in range(MAX_FIELDS + 9)})
    assert len(series.fields) == MAX_FIELDS and len(series) <= 8
    assert series.fields["field0"] == [float(step) for step in series.steps]


def test_the_views_of_a_grid_begin_with_the_chosen_curve() -> None:
    view = ChartView(curve_index=2, grid=True)
    assert [one.curve_index for one in view.in_order(4)] == [2, 3, 0, 1]
    picked = view.show_field("seconds").in_order(3)
    assert [(one.field, one.curve_index) for one in picked] == [("seconds", 2), (None, 2), (None, 0), (None, 1)]
    assert view.show_field("seconds").next_curve(4, 1) == view, "m leaves a field for the curve it was chosen over"


# --- the grid


@pytest.mark.parametrize(
    ("count", "width", "height", "shape"),
    [(1, 200, 50, (1, 1)), (8, 78, 9, (2, 1)), (8, 118, 19, (3, 2)), (4, 118, 19, (2, 2)), (3, 200, 60, (3, 1))],
)
def test_as_many_charts_as_there_is_room_for(count, width, height, shape) -> None:
    assert grid_shape(count, width, height) == shape
    steps = [1, 2, 3, 4]
    plots = [Plot(f"Title {n}", (ChartLine("each", steps, [4.0, 3.0, 2.0, 1.0], "raw"),)) for n in range(count)]
    lines = draw_grid(plots, width, height)
    assert len(lines) == height and all(line.cell_length <= width for line in lines)
    shown = shape[0] * shape[1]
    text = "\n".join(line.plain for line in lines)
    assert all((f"Title {n}" in text) == (n < shown) for n in range(count))


@pytest.mark.asyncio
async def test_a_run_shows_a_grid_of_its_curves(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.open_run(app.run_rows[-1].folder)
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and "smoothed" in text(app))
        assert "Learning rate" not in text(app)
        await pilot.press("number_sign", "y")
        titles = ["Loss", "Learning rate"] + (["Gradient norm", "Memory", "Tokens/s"] if size[0] > 100 else [])
        await until(pilot, lambda: all(title in text(app) for title in titles))
        assert text(app).count("log") >= len(titles), "each with a logarithmic axis"
        await pilot.press("m")
        await until(pilot, lambda: app.screen.query_one(Chart)._plots[0].title == "Learning rate")
        await pilot.press("number_sign")
        await until(pilot, lambda: len(app.screen.query_one(Chart)._plots) == 1)


async def _choose(app, pilot, until, title: str) -> None:
    await pilot.press("P")
    await until(pilot, lambda: isinstance(app.screen, ChooseScreen) and app.screen.query_one(ChoiceTable).rows)
    table = app.screen.query_one(ChoiceTable)
    table.move(next(index for index, row in enumerate(table.rows) if row.title == title))
    await pilot.press("enter")
    await until(pilot, lambda: not isinstance(app.screen, ChooseScreen))


@pytest.mark.asyncio
async def test_any_journaled_number_is_a_curve(home, dashboard, size, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.open_run(app.run_rows[-1].folder)
        await until(pilot, lambda: isinstance(app.screen, RunScreen) and "smoothed" in text(app))
        await _choose(app, pilot, until, "Supervised tokens")
        chart = app.screen.query_one(Chart)
        await until(pilot, lambda: chart._plots[0].title == "Supervised tokens" and not chart._plots[0].is_empty)
        steps = chart._plots[0].lines[0].steps
        assert len(steps) > 100 and all(180 <= value <= 420 for value in chart._plots[0].lines[0].values)
        await _choose(app, pilot, until, "Tokens/s")
        await until(pilot, lambda: chart._plots[0].title == "Tokens/s")
        await _choose(app, pilot, until, "Device memory")
        await until(pilot, lambda: "GiB" in text(app) and chart._plots[0].format_value is formatting.size)


@pytest.mark.asyncio
async def test_runs_are_compared_by_any_journaled_number(home, dashboard, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.open_compare([row.folder for row in app.run_rows[-2:]])
        await until(pilot, lambda: isinstance(app.screen, CompareScreen) and app.screen.details)
        await _choose(app, pilot, until, "Tokens")
        plot = app.screen.query_one(Chart)._plots[0]
        assert plot.title == "Tokens" and [len(line.values) > 100 for line in plot.lines] == [True, True]
        await pilot.press("number_sign")
        await until(pilot, lambda: len(app.screen.query_one(Chart)._plots) >= 1 + len(RUN_METRICS))
        assert "Loss" in text(app) and "Gradient norm" in text(app)


def test_a_logarithmic_axis_has_powers_of_two_for_bytes_and_plain_numbers_for_losses() -> None:
    steps = list(range(1, 20))

    def labels(values: list[float], write: Callable[[float | None], str]) -> list[str]:
        plot = Plot("x", (ChartLine("each", steps, values, "raw"),), None, write, True, True)
        return [line.plain.split("┤")[0].strip() for line in draw_plot(plot, 60, 16) if "┤" in line.plain]

    assert labels([GIB * (1.0 + step) for step in steps], formatting.size) == [
        "16.0 GiB", "8.00 GiB", "4.00 GiB", "2.00 GiB"
    ]  # fmt: skip
    assert labels([10.0 ** (1 - step / 6) for step in steps], formatting.loss) == ["10", "1", "0.1", "0.01"]


def test_no_share_is_more_than_all_of_it() -> None:
    steps = list(range(20))
    plot = Plot("Busy", (ChartLine("GPU 0", steps, [0.9] * 19 + [1.0], "raw"),), None, formatting.percent, True)
    labels = [line.plain.split("┤")[0].strip() for line in draw_plot(plot, 40, 12) if "┤" in line.plain]
    assert len(labels) == len(set(labels)) and labels[0] == "100%"


# --- devices


def _snapshot(seconds: float, *gpus: Gpu) -> DeviceSnapshot:
    return DeviceSnapshot(gpus, replace(HOST, cpu_percent=10.0 + seconds), None if gpus else "no driver", seconds)


def _gpu(index: int, busy: float | None, watts: float | None = 400.0) -> Gpu:
    return Gpu(index, "H100", utilization=busy, memory_used=20 * GIB, memory_total=80 * GIB, power_w=watts)


def test_the_history_is_by_device() -> None:
    history = DeviceHistory()
    for now in range(60):
        history.add(_snapshot(float(now), _gpu(0, float(now)), _gpu(1, None if now < 30 else 50.0)))
        history.add(_snapshot(now + 0.1, _gpu(0, 99.0)))  # another screen sampled just after
    busy, memory, power, temperature = device_plots(history)
    assert [line.name for line in busy.lines] == ["GPU 0", "GPU 1", "CPU"]
    first, second, cpu = busy.lines
    assert list(first.values) == [n / 100 for n in range(60)] and list(second.values) == [0.5] * 30
    assert first.steps[0] == pytest.approx(-59 / 60) and first.steps[-1] == 0 and cpu.values[0] == 0.1
    assert {line.name: line.values[-1] for line in memory.lines} == {"GPU 0": 0.25, "GPU 1": 0.25, "CPU": 0.125}
    assert not power.is_empty and temperature.is_empty
    assert device_plots(history, 2)[0].title == METRICS[2].title
    assert busy.step_window == (-2.0, 0.0) and device_plots(DeviceHistory()) == []


@pytest.mark.asyncio
async def test_the_devices_screen_has_a_chart_by_device(tmp_path: Path, dashboard, size, text, until, monkeypatch):
    monkeypatch.setattr("mg_tui.hardware.nvml.Nvml.sample", lambda self: ((_gpu(0, 96.0), _gpu(1, 4.0)), None))
    app = dashboard(tmp_path)
    for second in range(-100, -1):
        app.device_history.add(_snapshot(float(second), _gpu(0, 50.0), _gpu(1, 7.0)))
    async with app.run_test(size=size) as pilot:
        await app.push_screen(DevicesScreen())
        chart = app.screen.query_one(Chart)
        await until(pilot, lambda: len(chart._plots) == 3, seconds=20)  # nobody reports a temperature
        assert [plot.title for plot in chart._plots] == ["Busy", "Memory used", "Power in W"]
        await until(pilot, lambda: all(part in text(app) for part in ("Busy", "GPU 0", "GPU 1", "Memory used", "min")))
        await pilot.press("m")
        await until(pilot, lambda: chart._plots[0].title == "Memory used")
        await pilot.press("M", "M")
        await until(pilot, lambda: "No device reports this." in text(app))
