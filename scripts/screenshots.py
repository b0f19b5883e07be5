"""Make the screenshots and tables of the docs from the program itself.

    uv run python scripts/screenshots.py                # docs/screens/*.png and docs/keys.md
    uv run python scripts/screenshots.py runs run chat  # only these images

Screenshots need rsvg-convert (Debian: librsvg2-bin). Their runs are synthetic (`tests.tui.synthetic_runs`), and so are
the GPUs: `sample_gpus` stands in for NVML, as its caption says wherever an image is shown.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import replace
from html import escape, unescape
from pathlib import Path
from unittest.mock import patch

from PIL import Image
from rich.cells import cell_len

from mg_tui.config import Settings
from mg_tui.hardware.types import DeviceSnapshot, Gpu, GpuProcess, Host
from mg_tui.tui.actions import markdown_table
from mg_tui.tui.app import GardenApp
from tests.tui.synthetic_places import showcase, showcase_engine
from tests.tui.synthetic_runs import synthetic_home

DOCS = Path(__file__).resolve().parent.parent / "docs"
SIZES = ((80, 24), (120, 40))
KEYS_HEADER = "# Keys of the dashboard\n\nMade from the registry of actions by `scripts/screenshots.py`.\n\n"
COLORS = 160
CELL_WIDTH = 12.2  # units of the SVG that Textual writes
GLYPH_WIDTH = 0.602  # of DejaVu Sans Mono, in which rsvg-convert draws for want of Textual's font: a cell is as wide
FONT_SIZE = re.compile(r"font-size: 20px")
BLANK = "&#160;"
TEXT = re.compile(r'(<text class="[^"]*" x=")([\d.]+)(" y="[\d.]+" textLength=")[\d.]+("[^>]*>)([^<]*)</text>')
PAUSE = ""  # among keys: wait for their effect
CHAT = ["4", PAUSE, "j", "enter", PAUSE, "ctrl+o", PAUSE, "enter", PAUSE, *"What animal is it?", "enter"]
# Name of a screenshot, and the keys that lead to it from the list of runs.
SCREENSHOTS = {
    "runs": [],
    "run": ["j", "enter"],
    "grid": ["j", "enter", PAUSE, "number_sign"],
    "failed": ["j", "j", "j", "enter"],
    "memory": ["j", "enter", PAUSE, "m", "m", "m"],
    "answers": ["G", "enter", PAUSE, "a", "z"],
    "replay": ["G", "v", PAUSE, PAUSE],
    "compare": ["G", "space", "k", "space", "k", "k", "space", "c"],
    "devices": ["d"],
    "help": ["question_mark"],
    "new": ["3", PAUSE, "m", PAUSE, PAUSE, PAUSE],
    "datasets": ["2"],
    "dataset": ["2", PAUSE, "enter", PAUSE, "j"],
    "findings": ["2", PAUSE, "enter", PAUSE, "c", PAUSE, PAUSE, "f"],
    "tokens": ["2", PAUSE, "enter", PAUSE, "j", "t"],
    "models": ["4", PAUSE, "j"],
    "chat": CHAT,
    "before-after": ["4", PAUSE, "j", "b"],
}


def sample_gpus(_nvml: object) -> tuple[tuple[Gpu, ...], str | None]:
    """Two H100s in place of those that NVML would report; one has the running run of `synthetic_home`."""
    idle = Gpu(
        1,
        "NVIDIA H100 80GB HBM3",
        utilization=0.0,
        memory_used=600 << 20,
        memory_total=81_559 << 20,
        power_w=71.0,
        power_limit_w=700.0,
        temperature_c=34.0,
        clock_mhz=345,
        clock_max_mhz=1980,
        ecc_errors=0,
    )
    busy = replace(
        idle,
        index=0,
        utilization=96.0,
        memory_used=20_400 << 20,
        power_w=512.0,
        temperature_c=61.0,
        clock_mhz=1755,
        processes=(GpuProcess(4242, 19_800 << 20, None, None),),
    )
    return (busy, idle), None


def sample_history() -> list[DeviceSnapshot]:
    """What the sampled GPUs did in the ten minutes before."""
    (busy, idle), _ = sample_gpus(None)
    host = Host(0.0, 22 << 30, 256 << 30, "AMD EPYC 9654", 32)
    snapshots, now = [], time.time()
    for ago in range(580, 1, -2):
        share = min(max((540 - ago) / 60, 0.0), 1.0) * (0.55 if ago % 110 < 8 else 1 - 0.04 * (ago % 7) / 7)
        load = replace(
            busy,
            utilization=96 * share,
            power_w=71 + 441 * share,
            memory_used=int((600 + 19_800 * min(max((560 - ago) / 40, 0.0), 1.0)) * 2**20),
            temperature_c=34 + 27 * min(max((540 - ago) / 200, 0.0), 1.0),
        )
        snapshots.append(
            DeviceSnapshot((load, idle), replace(host, cpu_percent=8 + 6 * (ago % 5) / 5), None, now - ago)
        )
    return snapshots


def place_texts(svg: str) -> str:
    """The SVG with every word at its own place: rsvg-convert drops blanks, and draws letters not as wide as cells."""

    def place_words(match: re.Match[str]) -> str:
        before, x, between, after, text = match.groups()
        placed, column = [], 0
        for word in text.split(BLANK):
            # Braille and lines come from other fonts, whose letters are not as wide as cells either.
            for piece in [word] if unescape(word).isascii() else unescape(word):
                start, cells = float(x) + column * CELL_WIDTH, cell_len(unescape(piece))
                written = escape(unescape(piece))
                if piece:
                    placed.append(f"{before}{start:.1f}{between}{cells * CELL_WIDTH:.1f}{after}{written}</text>")
                column += cells
            column += 1
        return "".join(placed)

    return TEXT.sub(place_words, FONT_SIZE.sub(f"font-size: {CELL_WIDTH / GLYPH_WIDTH:.3f}px", svg))


def reduce_colors(image: Image.Image) -> Image.Image:
    """The image in its commonest colors, of which a terminal has few: a quarter of the bytes."""
    counted = sorted(image.getcolors(1 << 24) or (), reverse=True)[:COLORS]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, color in counted if isinstance(color, tuple) for part in color])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


async def save_screenshots(
    home: Path, folder: Path, size: tuple[int, int], theme: str, names: Collection[str] = SCREENSHOTS
) -> None:
    """Save screenshots, by default all, at one size, as SVG."""
    for name, keys in SCREENSHOTS.items():
        if name not in names:
            continue
        app = GardenApp(Settings(home=home, cache=home / "cache", ui={"theme": theme}))
        for snapshot in sample_history():
            app.device_history.add(snapshot)
        async with app.run_test(size=size) as pilot:
            while not app.run_rows:
                await pilot.pause(0.1)
            for key in keys:
                await (pilot.press(key) if key != PAUSE else pilot.pause(1.5))
            await pilot.pause(2.0)
            app.clear_notifications()
            await pilot.pause()
            app.save_screenshot(f"{name}-{theme}-{size[0]}x{size[1]}.svg", path=str(folder))


def main() -> None:
    names = sys.argv[1:] or list(SCREENSHOTS)
    if unknown := [name for name in names if name not in SCREENSHOTS]:
        sys.exit(f"no screenshot {unknown[0]!r}; there is {', '.join(SCREENSHOTS)}")
    (DOCS / "keys.md").write_text(KEYS_HEADER + markdown_table(), encoding="utf-8")
    convert = shutil.which("rsvg-convert")
    if convert is None:
        sys.exit("rsvg-convert is not installed (Debian: librsvg2-bin): docs/keys.md was written, images were not")
    os.environ.pop("UV_RUN_RECURSION_DEPTH", None)  # commands as they are where the program is on the PATH
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ["PATH"]])
    target = DOCS / "screens"
    target.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        synthetic_home(Path(scratch) / "home") as home,
        patch("mg_tui.runs.engine_process.EngineProcess", showcase_engine()),
        patch("mg_tui.hardware.nvml.Nvml.sample", sample_gpus),
    ):
        work = Path(scratch) / "work"
        work.mkdir()
        os.chdir(work)
        showcase(home, work)
        for size in SIZES:
            for theme in ("dark", "light"):
                asyncio.run(save_screenshots(home, Path(scratch), size, theme, names))
        for svg in sorted(Path(scratch).glob("*.svg")):
            png = target / f"{svg.stem}.png"
            svg.write_text(place_texts(svg.read_text(encoding="utf-8")), encoding="utf-8")
            subprocess.run([convert, "--width", "1400", "-o", png, svg], check=True)
            with Image.open(png) as image:
                reduce_colors(image.convert("RGB")).save(png, optimize=True)
            print(png)


if __name__ == "__main__":
    main()
