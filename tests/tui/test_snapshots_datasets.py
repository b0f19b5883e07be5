"""How the places of datasets and models look, as plain text: empty, loading, full, with an error; at two sizes.

`MODEL_GARDEN_SNAPSHOTS=write pytest tests/tui/test_snapshots_datasets.py` writes `snapshots/*.txt` anew; read the
difference before you keep it.
"""

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.data.checks.findings import CheckReport, Finding, FindingCollector, Histogram
from mg_tui.tui.datasets.open_dataset import OpenDataset
from mg_tui.tui.models.catalog import ModelRow
from mg_tui.tui.models.conversation import ChatQuestion
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.datasets import DatasetsScreen
from mg_tui.tui.screens.evaluate import EvaluateScreen
from mg_tui.tui.screens.models import ModelsScreen
from mg_tui.tui.widgets.image_box import ImageBox
from tests.tui.synthetic_places import fake_engine, make_dataset, make_result, photo

pytestmark = pytest.mark.asyncio

SNAPSHOTS = Path(__file__).with_name("snapshots")
READY_EVENT = {"event": "ready", "model": "m", "device": "cpu", "dtype": "float32", "quantization": "none"}
ANSWER_EVENT = {
    "event": "answer", "answer": "A tabby cat, looking at you.", "tokens": 9, "tokens_per_second": 12.5,
    "first_token_seconds": 0.25, "ended": "end", "image_tokens": 176,
    "images": [{"path": "p", "size": [451, 300], "seen_at": [448, 308]}],
}  # fmt: skip
OUT_OF_MEMORY = EnvironmentProblem(
    "receipts does not fit into the GPU's free memory",
    hint="see who uses it with `nvidia-smi`; load less with --quantization nf4, or use --device cpu",
)


@pytest.fixture
def folder(monkeypatch):
    """A working folder whose path is always as long."""
    path = Path(tempfile.mkdtemp(prefix="mg-", dir="/tmp"))
    monkeypatch.chdir(path)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def look(folder, size, text):
    """Compare the screen with the one that is kept."""

    def compare(app, name: str) -> None:
        screen_text = text(app).replace(str(folder), "/tmp/mg-________")
        screen_text = re.sub(r"\b\d+s\b", "#s", screen_text)
        screen_text = "\n".join(line.rstrip() for line in screen_text.splitlines()) + "\n"
        file = SNAPSHOTS / f"{name}-{size[0]}x{size[1]}.txt"
        if os.environ.get("MODEL_GARDEN_SNAPSHOTS") == "write":
            SNAPSHOTS.mkdir(exist_ok=True)
            file.write_text(screen_text, encoding="utf-8")
        assert screen_text == file.read_text(encoding="utf-8")

    return compare


@pytest.fixture
def engine(monkeypatch):
    def install(**script):
        monkeypatch.setattr("mg_tui.runs.engine_process.EngineProcess", fake_engine(script))

    return install


async def _wait_drawn(app, pilot, until) -> None:
    """Until no image is being read any more."""
    await until(pilot, lambda: all("reading …" not in str(box.render()) for box in app.screen.query(ImageBox)))
    await pilot.pause(0.2)


async def test_models(folder, size, dashboard, until, look, monkeypatch) -> None:
    go_on = threading.Event()
    finders: list[Callable[[], Any]] = [tuple]

    def find(home):
        go_on.wait(8)
        return finders[-1]()

    monkeypatch.setattr("mg_tui.tui.screens.models.find_models", find)
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: isinstance(app.screen, ModelsScreen))
        await pilot.pause(0.1)
        look(app, "models-loading")
        go_on.set()
        await until(pilot, lambda: app.screen.rows == ())
        look(app, "models-empty")
        result_folder = make_result(folder / "home", "receipts", eval_loss=0.4123, exact_match=0.87, ago=7_000.0)
        make_result(folder / "home", "street-signs", kind="merged", ago=300_000.0)
        from mg_tui.tui.models import catalog

        monkeypatch.setattr(
            catalog,
            "_find_base_models",
            lambda names: [ModelRow("tiny", "base", "tiny", "Qwen2.5-VL", bytes=4_650_000)],
        )
        finders.append(lambda: catalog.find_models(folder / "home"))
        app.screen.refresh_models()
        await until(pilot, lambda: len(app.screen.rows) == 3)
        await pilot.pause(0.1)
        look(app, "models-full")
        (result_folder / "model_garden.json").write_text("{")
        finders.append(lambda: 1 / 0)
        app.screen.refresh_models()
        await until(pilot, lambda: app.screen.query("ErrorBand.-visible"))
        look(app, "models-error")


async def test_chat(folder, size, dashboard, until, look, engine) -> None:
    hold = threading.Event()

    def load(child, fields):
        hold.wait(8)
        return OUT_OF_MEMORY if fields["model"] == "large" else [READY_EVENT]

    engine(load=load, generate=[ANSWER_EVENT])
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        row = ModelRow("receipts", "adapter", "receipts", base="tiny")
        app.push_screen(ChatScreen(row, ChatQuestion("", (photo("chelsea"),))))
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await _wait_drawn(app, pilot, until)
        look(app, "chat-loading")
        hold.set()
        await pilot.press(*"What animal is this?", "enter")
        await until(pilot, lambda: app.screen.exchanges and app.screen.exchanges[0].finished)
        await _wait_drawn(app, pilot, until)
        look(app, "chat-full")
        app.pop_screen()
        app.push_screen(ChatScreen(ModelRow("large", "adapter", "receipts", base="tiny")))
        await until(pilot, lambda: app.screen.query("ErrorBand.-visible"))
        look(app, "chat-error")


async def test_before_and_after(folder, size, dashboard, until, look, engine) -> None:
    rows = [
        {"row": 12 * n, "images": [str(photo("rocket"))], "prompt": "What is lifting off?", "expected": "A rocket.",
         "answer": "A rocket." if n % 3 else "A lamp.", "base_answer": "A rocket." if n % 2 else "Clouds at night."}
        for n in range(1, 9)
    ]  # fmt: skip
    progress = {"event": "progress", "which": "rows", "done": 8, "total": 8, "rows": rows}
    engine(
        load=[READY_EVENT], exam=[progress, {"event": "exam", "rows": rows, "total": 8, "ended": "end", "seconds": 1.0}]
    )
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        app.push_screen(EvaluateScreen(ModelRow("receipts", "adapter", "receipts", base="tiny")))
        await until(pilot, lambda: isinstance(app.screen, EvaluateScreen) and len(app.screen.rows) == 8)
        await _wait_drawn(app, pilot, until)
        look(app, "evaluate-full")


async def test_opening_datasets(folder, size, dashboard, until, look) -> None:
    (folder / "work").mkdir()
    os.chdir(folder / "work")
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, DatasetsScreen) and app.screen.selected)
        look(app, "datasets-empty")
        make_dataset(folder / "work" / "train.jsonl", 40, faulty=False)
        (folder / "work" / "held-out.parquet").write_bytes(b"PAR1" * 1000)
        app.screen._read()
        await until(pilot, lambda: len(app.screen.query_one("FileTree").rows) == 5)
        look(app, "datasets-full")


async def test_a_dataset(folder, size, dashboard, until, look, monkeypatch, engine) -> None:
    pieces = [
        ["<|im_start|>", False],
        ["user\n", False],
        [0, False],
        ["What animal?", False],
        ["A ", True],
        ["cat", True],
    ]
    record = {
        "event": "row", "row": 3, "pieces": pieces, "tokens": 182, "learned": 2, "image_tokens": 176,
        "images": [{"path": "p", "size": [451, 300], "seen_at": [448, 308], "tokens": 176}],
    }  # fmt: skip
    engine(open=[{"event": "ready"}], row=[record])
    hold = threading.Event()
    opened = OpenDataset.__init__

    def slow(self, *given, **named):
        hold.wait(8)
        opened(self, *given, **named)

    monkeypatch.setattr(OpenDataset, "__init__", slow)
    collector = FindingCollector()
    collector.add(
        [
            Finding(7, "image-missing", "image", '"nowhere.png" was not found'),
            Finding(9, "too-long", None, "has 9,000 tokens"),
        ]
    )
    report = CheckReport(
        "rows.jsonl", 59, 55, 6, 58, collector.findings, dict(collector.counts), collector.rows_by_kind,
        total_tokens=Histogram({100: 50, 300: 4, 9000: 1}), pixels=Histogram({451 * 300: 6}), seconds=2.0,
    )  # fmt: skip
    monkeypatch.setattr("mg_tui.tui.datasets.checker.DatasetChecker._check", lambda self: report)
    file = make_dataset(folder / "rows.jsonl")
    app = dashboard(folder / "home")
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, DatasetsScreen))
        app.screen.open_dataset(str(file))
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen))
        await until(pilot, lambda: app.screen.query_one("JobLine").active)  # shown after a second
        await pilot.pause(0.1)
        look(app, "dataset-loading")
        hold.set()
        await until(pilot, lambda: app.screen.row_detail is not None and app.screen._head_state.row_count is not None)
        screen = app.screen
        screen._go_to_row(3)
        await until(pilot, lambda: screen.row_detail.number == 3)
        await _wait_drawn(app, pilot, until)
        look(app, "dataset-full")
        await pilot.press("t")
        await until(pilot, lambda: screen.query_one("TokenText").record is not None)
        look(app, "dataset-tokens")
        await pilot.press("c")
        await until(pilot, lambda: screen.report is not None)
        app.clear_notifications()
        await pilot.press("f")
        await pilot.pause(0.1)
        look(app, "dataset-findings")
        await pilot.press("h")
        await pilot.pause(0.1)
        look(app, "dataset-sizes")
        app.pop_screen()
        app.screen.open_dataset(str(folder / "gone" / "nowhere.jsonl"))
        await until(pilot, lambda: app.screen.query("ErrorBand.-visible"))
        look(app, "dataset-error")
