"""A walk through the dashboard by keys only, timed: from the first start to a chat with the model just trained.

    uv run python benchmarks/walk.py                  # the table in docs/dashboard.md
    uv run python benchmarks/walk.py --print          # the table only

In tmux, in an empty home, on 24 rows of the demo's dataset and the tiny model. A person's thinking is not in it: each
key is sent as soon as what it is for is on the screen.
"""

import argparse
import datetime
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.docs_page import describe_machine

from mg_tui.data.synthetic.demo import make_demo_dataset
from tests.tui.conftest import TmuxSession

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dashboard.md"
BEGIN, END = "<!-- walk: begin -->", "<!-- walk: end -->"
PATIENCE = 600.0  # seconds; two processes import torch


def walk(folder: Path, width: int, height: int) -> list[tuple[str, float]]:
    """What was done, and the seconds that it took."""
    data = make_demo_dataset(folder / "data", seed=0).train
    rows = folder / "data" / "small.jsonl"
    rows.write_text("".join(line + "\n" for line in data.read_text().splitlines()[:24]))
    image = next((folder / "data" / "images").glob("train-*.jpg"))
    times: list[tuple[str, float]] = []
    began = time.monotonic()
    tmux = TmuxSession(folder, width, height)

    def stage(name: str, done: Callable[[], object]) -> None:
        start = time.monotonic()
        done()
        times.append((name, time.monotonic() - start))

    def keys(*steps: tuple[str, ...] | str) -> None:
        """A tuple: press these keys. A text that begins with `=`: type it. Another text: wait for it."""
        for step in steps:
            if isinstance(step, tuple):
                tmux.send_keys(*step)
            elif step.startswith("="):
                tmux.type(step[1:])
            else:
                tmux.wait_for(step, PATIENCE)

    try:
        stage("the first frame", lambda: keys("No runs yet"))
        stage("a dataset, by its path", lambda: keys(("2",), "o open path", ("o",), "Open a dataset", f"={rows}"))
        stage("its rows", lambda: keys(("Enter",), "24 rows", "Which bay stores this part"))
        stage("the form, with a model", lambda: keys(("R",), "1 needed", ("Enter",), "path of a model", "=tiny"))
        stage("its estimate", lambda: keys(("Enter",), "Steps +9"))
        stage("the run in sight", lambda: keys(("r",), "▶ running"))
        stage("its end", lambda: keys("✓ finished"))
        stage("a chat with the result", lambda: keys(("C",), "ask about the image"))
        stage("an image", lambda: keys(("C-o",), "path of an image", f"={image}", ("Enter",), image.name, "✓ ready"))
        stage("the answer", lambda: keys("=Which bay stores this part?", ("Enter",), "you +Which bay", r"\d tokens?\b"))
        times.append(("**all of it**", time.monotonic() - began))
    finally:
        tmux.close()
    return times


def format_table(columns: dict[str, list[tuple[str, float]]], load: float) -> str:
    """Seconds by stage, a column for each size."""
    about = f"Measured on {datetime.date.today()} on {describe_machine()}; Textual {version('textual')}, Python "
    about += f"{sys.version.split()[0]}; load average before: {load:.1f}. `benchmarks/walk.py` measures again."
    head = ["| until there is | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines = [
        f"| {stages[0][0]} | {' | '.join(f'{seconds:.1f} s' for _, seconds in stages)} |"
        for stages in zip(*columns.values(), strict=True)
    ]
    return "\n".join([about, "", *head, *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", dest="only_print", help="leave the page as it is")
    inputs = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    load = os.getloadavg()[0]
    columns = {}
    for width, height in ((80, 24), (120, 40)):
        with tempfile.TemporaryDirectory() as scratch:
            columns[f"{width}x{height}"] = walk(Path(scratch), width, height)
    text = format_table(columns, load)
    print(text)
    if not inputs.only_print:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
