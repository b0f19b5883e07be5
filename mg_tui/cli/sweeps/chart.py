"""Curves as text: a letter for each run, in a terminal without anything but letters."""

from collections.abc import Mapping, Sequence
from typing import Final

_HEIGHT: Final = 12
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_LABEL: Final = 9  # columns of the numbers at the left


def draw_curves(
    curves: Mapping[int, Sequence[tuple[float, float]]], *, title: str, width: int, height: int = _HEIGHT
) -> list[str]:
    """Curves over steps as lines of text; empty when there is nothing to draw.

    Args:
        curves: points (step, value) by number of the run, ascending steps; where two curves meet, the first is seen.
        title: what the values are.
        width, height: columns in all, and lines of the grid.
    """
    drawn = {number: points for number, points in curves.items() if points}
    if not drawn:
        return []
    steps = [step for points in drawn.values() for step, _value in points]
    values = [value for points in drawn.values() for _step, value in points]
    left, right, low, high = min(steps), max(steps), min(values), max(values)
    columns = max(width - _LABEL - 2, 20)
    grid = [[" "] * columns for _ in range(height)]
    letters = {number: _LETTERS[place % len(_LETTERS)] for place, number in enumerate(drawn)}
    for number, points in reversed(drawn.items()):
        for step, value in points:
            column = round((step - left) / ((right - left) or 1) * (columns - 1))
            row = round((high - value) / ((high - low) or 1) * (height - 1))
            grid[row][column] = letters[number]
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    lines = [f"{title} by step"]
    lines += [f"{labels.get(row, ''):>{_LABEL}} │{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    lines.append(" " * _LABEL + " └" + "─" * columns)
    start, end = f"{left:g}", f"{right:g}"
    lines.append(" " * (_LABEL + 2) + start + end.rjust(columns - len(start)))
    lines.append("  ".join(f"{letter} run {number}" for number, letter in letters.items()))
    return lines
