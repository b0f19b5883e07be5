"""How quickly the dashboard shows the rows of a large dataset: opening, jumping, finding a text, turning pages.

    python benchmarks/dashboard_rows.py [ROWS]     # a million when left out; writes a file of about 90 MB aside

Measured through Textual's pilot at 120x40, from the request to the text on the (headless) screen; prints a Markdown
table with the machine and the versions.
"""

import asyncio
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mg_tui.config import Settings
from mg_tui.tui.app import GardenApp
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.widgets.datasets.row_table import RowTable
from tests.tui.synthetic_places import photo


def write_dataset(file: Path, rows: int) -> None:
    """A JSON Lines file of one photo; one row in a hundred thousand has the searched word."""
    image = str(photo("chelsea"))
    with file.open("w", encoding="utf-8") as stream:
        for number in range(1, rows + 1):
            answer = "needle in hay" if number % 99_999 == 0 else "A cat."
            stream.write(json.dumps({"text": f"Question {number}: what?", "image": image, "response": answer}) + "\n")


async def measure(file: Path, cache: Path, rows: int) -> list[tuple[str, float]]:
    """Each operation and the seconds it took."""
    app = GardenApp(Settings(home=cache / "home", cache=cache))
    results: list[tuple[str, float]] = []
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(1)
        screen = DatasetScreen(str(file))

        def is_visible(text: str) -> bool:
            return any(
                text in "".join(part.text for part in strip) for strip in app.screen._compositor.render_strips(app.size)
            )

        async def measure_until(title: str, condition: Callable[[], Any], began: float) -> None:
            while not condition():
                await pilot.pause(0.002)
            results.append((title, time.monotonic() - began))

        began = time.monotonic()
        app.push_screen(screen)
        await measure_until("first rows", lambda: is_visible("Question 1:"), began)
        await measure_until("every row indexed", lambda: screen._head_state.row_count == rows, began)
        for number in (rows * 9 // 10, 5, rows // 2, rows):
            began = time.monotonic()
            screen._go_to_row(number)
            await measure_until(f"row {number:,}", lambda number=number: is_visible(f"Question {number}:"), began)  # type: ignore[misc]
        began = time.monotonic()
        await screen.action_find()
        await pilot.pause(0.01)
        await pilot.press(*"needle", "enter")
        await measure_until(
            "rows with a text", lambda: screen._head_state.filter_text and not screen._head_state.searching, began
        )
        await pilot.press("escape")
        began = time.monotonic()
        for _ in range(40):
            await pilot.press("pagedown")
        results.append(("a page further (mean of 40)", (time.monotonic() - began) / 40))
        assert len(screen.query_one(RowTable).lazy_rows) == rows
    return results


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.jsonl"
        write_dataset(file, rows)
        results = asyncio.run(measure(file, Path(scratch) / "cache", rows))
        size = file.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, Python {platform.python_version()}, ", end="")
    print(f"Textual {version('textual')}; {rows:,} rows, {size / 1e6:.0f} MB; at most {memory:.0f} MiB of memory\n")
    print("| what | seconds |\n|---|---|")
    for title, seconds in results:
        print(f"| {title} | {seconds:.3f} |")


if __name__ == "__main__":
    main()
