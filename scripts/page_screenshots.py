"""Look at the pages of `model-garden api` as a phone and a desk see them, with a run that trains meanwhile.

    uv run --with playwright python scripts/page_screenshots.py FOLDER    # FOLDER/page-*-390.png and -1280.png

Starts a server in a temporary home, signs in by the form, and takes an image of: the form, a garden without runs, the
list, a run while the tiny model trains, one that failed, one that crashed, and names and answers that try to break out.
Fails if the browser reports anything, if something comes from elsewhere, if a page is wider than the screen, or if the
page of the training run does not change by itself. Needs Chromium (Debian: chromium; any in CHROMIUM).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from mg_tui.core.spec import TrainingSpec
from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from scripts.report_screenshots import WIDTHS, find_browser
from tests.tui.synthetic_runs import HOSTILE, synthetic_home

_HEIGHTS: Final = {390: 844, 1_280: 800}
_WAIT_SECONDS: Final = 180
_HTML: Final = '<script>document.title="owned"</script><img src=x onerror=alert(1)>'
_LONG: Final = "invoices-of-the-second-quarter-with-every-supplier-and-a-very-long-name-" * 2


@contextmanager
def _server(home: Path, work: Path) -> Iterator[str]:
    command = ["model-garden", "--home", str(home), "api", "--port", "0"]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=work, stderr=subprocess.PIPE, text=True, env=environ)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if line.startswith("API"):
                yield line.split()[1].removesuffix("/api/v1")
                return
        sys.exit("the server did not start")
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _strange_run(home: Path, work: Path) -> RunFolder:
    """A run whose names and answers are long, or would be HTML and escapes elsewhere."""
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": f"data/{_LONG}.jsonl", "name": _LONG[:80]})
    folder = RunFolder.create(home, spec, run_id="20260101-000000-aaaa", cwd=work)
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host=_HTML, attempt=1, resumed_from=None, versions={})
        journal.write("plan", steps=3, examples=4)
        for step, loss in ((1, 2.0), (2, "nan"), (3, 1.5)):
            journal.write("step", step=step, loss=loss, learning_rate=1e-4, seconds=0.5, tokens=10, images=1)
        for answer in (_HTML, HOSTILE, "word" * 200, "one\ntwo\n\tthree"):
            journal.write("sample", step=3, row=1, prompt=_HTML, answer=answer, expected=HOSTILE)
        journal.write("warning", what=_HTML, why=HOSTILE)
        journal.write("failed", what=f"{_HTML} {_LONG}", why=HOSTILE, step=3)
    return folder


class _Browser:
    """A browser of one width; collects what is wrong."""

    def __init__(self, browser: Any, url: str, width: int, folder: Path):
        self.page = browser.new_context(viewport={"width": width, "height": _HEIGHTS[width]}).new_page()
        self.problems: list[str] = []
        self._url, self._width, self._folder = url, width, folder
        self.page.on("console", lambda message: self._note(message.text))
        self.page.on("pageerror", lambda error: self._note(str(error)))
        self.page.on("dialog", self._on_dialog)
        self.page.on("request", self._on_request)

    def _on_dialog(self, dialog: Any) -> None:
        self._note(dialog.message)
        dialog.dismiss()

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(self._url):
            self._note(request.url)

    def _note(self, text: str) -> None:
        self.problems.append(f"{self._width} pixels: {text}")

    def show(self, name: str, path: str | None = None) -> None:
        """Take an image of a page, or of the one that is open."""
        if path is not None:
            self.page.goto(self._url + path)
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        if wide > self._width:
            self._note(f"{name} is {wide} pixels wide")
        target = self._folder / f"page-{name}-{self._width}.png"
        self.page.screenshot(path=target, full_page=True)
        print(target)

    def sign_in(self, token: str) -> None:
        """Sign in by the form, as a person does."""
        self.page.goto(f"{self._url}/")
        assert self.page.url.endswith("/login"), self.page.url
        self.show("login")
        self.page.fill("#token", token)
        self.page.click("main button")
        self.page.wait_for_url(f"{self._url}/")

    def wait_for_change(self, path: str) -> None:
        """Open a page and wait until its headline changes without a reload."""
        self.page.goto(self._url + path)
        before = self.page.inner_text(".headline")
        self.page.wait_for_function(
            "text => document.querySelector('.headline').innerText !== text",
            arg=before,
            timeout=_WAIT_SECONDS * 1000,
        )
        if "live" not in self.page.inner_text("#state"):
            self._note("the page does not say that it is live")


def _start_run(url: str) -> str:
    body = {"name": "live", "base_model": "tiny", "dataset": "data/rows.jsonl", "max_steps": 400, "device": "cpu"}
    answer = httpx.post(f"{url}/api/v1/training/jobs", json={**body, "eval_steps": 20, "eval_split": 0.2}, timeout=120)
    answer.raise_for_status()
    path = str(answer.headers["Location"])
    deadline = time.monotonic() + _WAIT_SECONDS
    while not (httpx.get(url + path).json()["step"] or 0) > 25 and time.monotonic() < deadline:
        time.sleep(1)
    return path


def _look(playwright: Any, browser_path: str, base: Path, folder: Path) -> list[str]:
    home, work = base / "home", base / "work"
    create_vision_dataset(work / "data" / "rows.jsonl", 24, force=True)
    chromium = playwright.chromium.launch(executable_path=browser_path)
    with _server(home, work) as url:
        token = subprocess.run(
            ["model-garden", "--home", str(home), "tokens", "create", "phone", "--scope", "read"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        browsers = [_Browser(chromium, url, width, folder) for width in WIDTHS]
        for browser in browsers:
            browser.sign_in(token)
            browser.show("empty")
        with synthetic_home(home):
            strange = _strange_run(home, work)
            listed = httpx.get(f"{url}/api/v1/training/jobs").json()["data"]
            states = {run["state"]: run["id"] for run in reversed(listed)}
            path = _start_run(url)
            for browser in browsers:
                browser.wait_for_change(f"/runs/{path.rpartition('/')[2]}")
                browser.show("live")
                browser.show("runs", "/")
                for name, run in (
                    ("failed", states["failed"]),
                    ("crashed", states["crashed"]),
                    ("strange", strange.id),
                ):
                    browser.show(name, f"/runs/{run}")
            httpx.post(f"{url}{path}/stop", json={"now": True}).raise_for_status()
            httpx.get(f"{url}{path}/events", timeout=120)
    return [problem for browser in browsers for problem in browser.problems]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    browser = find_browser()
    if browser is None:
        sys.exit("there is no Chromium; install it (Debian: apt install chromium) or name it in CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sys.exit("run it with: uv run --with playwright python scripts/page_screenshots.py FOLDER")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base, sync_playwright() as playwright:
        problems = _look(playwright, browser, Path(base), arguments.folder)
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
