"""Numbers, meters, sparklines, curves, layout: pure functions."""

from math import inf, isnan, nan

import pytest

from mg_tui.tui import formatting
from mg_tui.tui.braille import Canvas, Frame, Pen, draw_curve, nice_ticks
from mg_tui.tui.runs.feeds import clean_log_line
from mg_tui.tui.text_charts import bucket_means, exponential_mean, meter, sparkline
from mg_tui.tui.widgets.chart import ChartLine, Plot, draw_plot
from mg_tui.tui.widgets.lines import hanging_indent, line
from mg_tui.tui.widgets.runs.run_table import RunTable
from mg_tui.tui.widgets.table import layout_columns


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (nan, "–"), (0.4, "0s"), (59.6, "1m 00s"), (252, "4m 12s"), (7500, "2h 05m"), (273600, "3d 4h")],
)
def test_durations(seconds, said) -> None:
    assert formatting.duration(seconds) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (nan, "NaN"),
        (inf, "∞"),
        (0.42131, "0.4213"),
        (12.345, "12.35"),
        (123456, "1.23e5"),
        (2e-5, "2.00e-5"),
    ],
)
def test_losses(value, said) -> None:
    assert formatting.loss(value) == said


def test_sizes_and_shares() -> None:
    assert formatting.size(512) == "512 B"
    assert formatting.size(9.54 * 2**30) == "9.54 GiB"
    assert formatting.used_of_total(54.1 * 2**30, 79.6 * 2**30) == "54.1/79.6 GiB"
    assert formatting.percent(0.9999) == "99%"
    assert formatting.percent(1.0) == "100%"
    assert formatting.count(1, "run") == "1 run" and formatting.count(2, "run") == "2 runs"


def test_meters_fill_their_width() -> None:
    for share in (None, nan, -1, 0, 0.34, 1, 7):
        assert sum(map(len, meter(share, 13))) == 13


def test_sparklines_survive_what_is_no_number() -> None:
    assert sparkline([], 8) == ""
    assert sparkline([nan, nan], 8) == ""
    assert sparkline([1, nan, 2, inf], 8) == "▁ ▇ "
    assert len(sparkline([1.0] * 500, 8)) == 8
    assert bucket_means([1, 2, 3, 4], 2) == [1.5, 3.5]


def test_smoothing_starts_at_the_first_value_and_passes_over_nan() -> None:
    smoothed = exponential_mean([nan, 4, 4, nan, 4], window=9)
    assert isnan(smoothed[0]) and smoothed[1:] == pytest.approx([4, 4, 4, 4])


def test_a_spike_stays_visible_in_a_long_run() -> None:
    values = [1.0] * 100_000
    values[54_321] = 9.0
    canvas = Canvas(60, 10)
    draw_curve(canvas, Frame(0, 100_000, 0, 10), range(100_000), values, Pen("raw", joined=False))
    top = "".join(text for text, _ in canvas.rows()[1])
    assert top.strip()


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0.31, 2.6, 5) == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert nice_ticks(nan, 1, 4) == [] and nice_ticks(1, 1, 4) == []


@pytest.mark.parametrize("values", [[], [1.0], [nan, nan], [1.0, nan, inf, -1.0], [0.0] * 50, [1e-9, 1e12]])
@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("size", [(24, 4), (78, 11), (200, 60), (10, 2)])
def test_the_chart_draws_anything_within_its_size(values, logarithmic, size) -> None:
    width, height = size
    plot = Plot("Loss", (ChartLine("each", list(range(len(values))), values, "raw", "dots"),), logarithmic=logarithmic)
    rows = draw_plot(plot, width, height)
    assert len(rows) <= max(height, 1)
    assert all(row.cell_length <= width for row in rows)


def test_rounding_does_not_look_like_a_mountain_range() -> None:
    values = [1.5, 1.500001, 1.499999] * 20
    rows = draw_plot(Plot("Loss", (ChartLine("each", list(range(60)), values, "raw", "dots"),)), 78, 20)
    drawn = [row for row in rows[1:-1] if any("\u2800" < character <= "\u28ff" for character in row.plain)]
    assert len(drawn) <= 2


@pytest.mark.parametrize("width", range(20, 260, 7))
def test_columns_fit(width) -> None:
    gap = 2 if width >= 100 else 1
    columns = layout_columns(RunTable().columns, width, gap)
    assert sum(wide for _, wide in columns) + gap * (len(columns) - 1) <= max(width, 10)
    assert columns[0][0].key == "state"
    if width >= 78:
        assert {"name", "progress", "step", "loss", "curve", "eta"} <= {column.key for column, _ in columns}


def test_wrapped_text_hangs() -> None:
    rows = hanging_indent(line("why"), line("one two three four"), 6, 16)
    assert [row.plain for row in rows] == ["why   one two", "      three four"]


def test_a_redrawn_progress_bar_is_its_last_state() -> None:
    assert clean_log_line("\x1b[31m 10%|#   |\r 90%|### |\r") == " 90%|### |"
    assert clean_log_line("\x1b]0;pwned\x07text\x07") == "text\N{REPLACEMENT CHARACTER}"
