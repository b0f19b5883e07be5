"""Show an evaluation report as a phone and a desk see it.

    uv run python scripts/report_screenshots.py report.html [FOLDER]    # FOLDER/report-390.png and report-1280.png

Needs Chromium (Debian: chromium; any in CHROMIUM), which runs headless. The first 12,000 pixels of the page are in the
image. Chromium has no window narrower than 500 pixels, so the report is in a frame of the width.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops

WIDTHS: Final = (390, 1_280)
_HEIGHT: Final = 12_000  # of the window; what is below the page is cut off
_LEAST_WINDOW: Final = 500
_PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Chromium's program, or None."""
    return next((path for name in (os.environ.get("CHROMIUM", ""), *_PROGRAMS) if (path := shutil.which(name))), None)


def take_screenshot(browser: str, page: Path, width: int, target: Path, *, dark: bool = False) -> None:
    """Write a PNG of a page at a width in pixels, as high as the page is but for what is below 12,000 pixels.

    Raises:
        subprocess.SubprocessError: the browser failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        frame, shot = Path(folder) / "frame.html", Path(folder) / "shot.png"
        source = escape(page.resolve().as_uri())
        style = f"width:{width}px;height:{_HEIGHT}px;border:0;display:block"
        frame.write_text(f'<!doctype html><body style="margin:0"><iframe src="{source}" style="{style}"></iframe>')
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--mute-audio"]
        command += [f"--user-data-dir={folder}/profile", f"--window-size={max(width, _LEAST_WINDOW)},{_HEIGHT}"]
        command += [*(["--force-dark-mode"] if dark else []), f"--screenshot={shot}", frame.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            _without_empty_end(image.convert("RGB").crop((0, 0, width, image.height))).save(target)


def _without_empty_end(image: Image.Image) -> Image.Image:
    """The image without the rows at its end that are of one color."""
    last = image.getpixel((0, image.height - 1))
    assert last is not None
    found = ImageChops.difference(image, Image.new("RGB", image.size, last)).getbbox()
    return image if found is None else image.crop((0, 0, image.width, found[3]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--dark", action="store_true", help="as a browser that prefers dark pages")
    arguments = parser.parse_args()
    browser = find_browser()
    if browser is None:
        sys.exit("there is no Chromium; install it (Debian: apt install chromium) or name it in CHROMIUM")
    for width in WIDTHS:
        target = arguments.folder / f"{arguments.report.stem}-{width}.png"
        take_screenshot(browser, arguments.report, width, target, dark=arguments.dark)
        print(target)


if __name__ == "__main__":
    main()
