"""What starting costs: heavy packages stay out of the way to the first frame."""

import subprocess
import sys
from pathlib import Path

FIRST_FRAME_SCRIPT = """
import sys, tempfile
from pathlib import Path
from mg_tui.config import Settings
from mg_tui.tui.app import GardenApp

home = Path(tempfile.mkdtemp())

class Seen(GardenApp):
    def on_ready(self):
        heavy = ("torch", "transformers", "numpy", "PIL", "httpx", "psutil", "pynvml", "pydantic", "textual_plot")
        self.found = [name for name in heavy if name in sys.modules]
        self.exit()

from mg_tui.tui.screens.runs import RunsScreen
RunsScreen.call_after_refresh = lambda self, *a: None  # feeds begin after the first frame
app = Seen(Settings(home=home, cache=home))
app.run(headless=True)
print(app.found)
"""

FULL_SCRIPT = """
import asyncio, sys
from pathlib import Path
from mg_tui.config import Settings
from mg_tui.tui.app import GardenApp

async def main():
    app = GardenApp(Settings(home=Path(sys.argv[1]), cache=Path(sys.argv[1])))
    async with app.run_test() as pilot:
        while not app.screen.rows:
            await pilot.pause(0.05)
        await pilot.press("j", "enter")
        while getattr(app.screen, "detail", None) is None:
            await pilot.pause(0.05)
    print([name for name in ("torch", "transformers", "numpy", "PIL", "httpx", "pydantic") if name in sys.modules])

asyncio.run(main())
"""


def _run(folder: Path, script: str, *args: str) -> str:
    file = folder / "script.py"  # Textual looks for the source of an application
    file.write_text(script)
    done = subprocess.run([sys.executable, str(file), *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_first_frame_imports_nothing_heavy(tmp_path) -> None:
    assert _run(tmp_path, FIRST_FRAME_SCRIPT) == "[]"


def test_lists_and_runs_are_shown_without_it_too(tmp_path, home) -> None:
    assert _run(tmp_path, FULL_SCRIPT, str(home)) == "[]"
