"""Screens as text, line by line, at both sizes: empty, loading, full and in trouble.

What is compared is kept in `snapshots/`; MODEL_GARDEN_SNAPSHOTS=write writes it anew, to be looked at. The first and
the last line, which belong to every screen, are left out, and what is shown does not depend on which options exist.
"""

import os
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from mg_tui.core.errors import DataError
from mg_tui.core.settings import SETTINGS_BY_ID
from mg_tui.data.row_problems import BadRows, RowProblem
from mg_tui.families.contract import Checkpoint, Experimental, Parts, Supported, Unsupported
from mg_tui.families.family import ModelFamily
from mg_tui.families.plugin_loader import PluginStatus
from mg_tui.families.registry import Registry
from mg_tui.hardware.memory.candidates import CandidateDevice
from mg_tui.hardware.memory.estimator import EstimatePart, MemoryEstimate
from mg_tui.hardware.memory.training_setup import TrainingSetup
from mg_tui.hardware.memory.workload import Workload
from mg_tui.tui.choice import Choice
from mg_tui.tui.new.estimator import RunEstimator
from mg_tui.tui.new.run_estimate import LocalDeviceFit, RunEstimate, TrainedPart, WorkloadSummary
from mg_tui.tui.new.starter import PreflightFailed, PreflightStatus, RunStarter
from mg_tui.tui.screens.choose import ChooseScreen
from mg_tui.tui.screens.preflight import PreflightScreen
from mg_tui.tui.widgets.new.estimate_pane import EstimatePane
from mg_tui.tui.widgets.plugins.table import PluginTable

pytestmark = pytest.mark.asyncio
SNAPSHOTS = Path(__file__).parent / "snapshots"
GIB = 1 << 30


@pytest.fixture
def same(size, text):
    def compare(app, name: str) -> None:
        file = SNAPSHOTS / f"{name}-{size[0]}x{size[1]}.txt"
        screen_text = "\n".join(line.rstrip() for line in text(app).splitlines()[1:-1]) + "\n"
        if os.environ.get("MODEL_GARDEN_SNAPSHOTS") == "write":
            SNAPSHOTS.mkdir(exist_ok=True)
            file.write_text(screen_text, encoding="utf-8")
        assert screen_text == file.read_text(encoding="utf-8"), (
            f"{file.name} differs; MODEL_GARDEN_SNAPSHOTS=write accepts it"
        )

    return compare


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.setattr(RunEstimator, "request", lambda self, request: None)


def _estimate(**more: Any) -> RunEstimate:
    parts = tuple(
        EstimatePart(name, size, "")
        for name, size in (("language model", 4 * GIB), ("activations", GIB), ("logits", 9))
    )
    memory = MemoryEstimate(
        parts,
        5 * GIB + 9,
        "the backward pass",
        cast(TrainingSetup, None),
        cast(Workload, None),
        3_750_000_000,
        30_000_000,
    )
    values: dict[str, Any] = {
        "memory": memory,
        "device_fits": (
            LocalDeviceFit(CandidateDevice("NVIDIA RTX 4090 (GPU 0)", 23 * GIB, "free now", True), True),
            LocalDeviceFit(
                CandidateDevice("NVIDIA T4 (GPU 1)", 4 * GIB, "free now", True), False, "--token-budget 512"
            ),
        ),
        "trained_parts": (
            TrainedPart("language", "lora", 30_000_000, 3_000_000_000),
            TrainedPart("vision", "none", 0, 7),
        ),
        "workload": WorkloadSummary(950, 3, 50, 8, 119, 357, 4_096, 1_200),
    }
    return RunEstimate(**{**values, **more})


async def _form(app, pilot, until):
    await pilot.press("3")
    await until(pilot, lambda: getattr(app.screen, "draft", None) is not None)
    app.screen.fill({"base_model": "Qwen/Qwen2.5-VL-3B-Instruct", "dataset": "/data/receipts/train.jsonl", "seed": 7})
    await pilot.press("d")
    return app.screen


async def test_the_form_while_it_is_being_prepared(tmp_path, dashboard, size, same, monkeypatch) -> None:
    held = threading.Event()
    monkeypatch.setattr("mg_tui.tui.screens.new_form.NewRunForm._create_draft", lambda self: held.wait(20))
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await pilot.pause()
        same(app, "new-loading")
        held.set()


async def test_the_form_that_cannot_be_shown(tmp_path, dashboard, size, same, until, monkeypatch) -> None:
    def broken(*_arguments):
        raise RuntimeError("the spec cannot be imported")

    monkeypatch.setattr("mg_tui.tui.new.draft.RunDraft.__init__", broken)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: "Cannot show the form" in str(app.screen.query_one("#empty").render()))
        same(app, "new-error")


async def test_the_form_before_anything_is_known(tmp_path, dashboard, size, same, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _form(app, pilot, until)
        screen.draft.clear()
        screen.draft_changed()
        screen.query_one(EstimatePane).estimate = RunEstimate(problems=("Choose a base model to see its memory.",))
        await pilot.pause()
        same(app, "new-empty")


async def test_the_form_filled_in(tmp_path, dashboard, size, same, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _form(app, pilot, until)
        pane = screen.query_one(EstimatePane)
        pane.estimate, pane.stale = _estimate(), False
        screen.table.go_to_field("seed")
        await pilot.pause()
        same(app, "new-full")
        pane.estimate = _estimate(workload=None, rows_read=(120, 950), device_fits=(), why_no_gpu="no NVIDIA driver")
        await pilot.press("enter", *"x")
        await pilot.pause()
        same(app, "new-typing")


async def test_what_the_check_says(tmp_path, dashboard, size, same, until, monkeypatch) -> None:
    monkeypatch.setattr(RunStarter, "start", lambda self: None)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _form(app, pilot, until)
        app.push_screen(PreflightScreen(screen.draft.spec, app.settings, cwd=tmp_path))
        await pilot.pause()
        app.screen.on_preflight_status(PreflightStatus("rows and images", 120, 950))
        await pilot.pause()
        same(app, "check-running")
        rows = [
            RowProblem(3, "image", "no such file: gone.png", "put it beside the dataset"),
            RowProblem(7, None, "not JSON"),
        ]
        app.screen.on_preflight_failed(PreflightFailed(BadRows(rows, where="/data/receipts/train.jsonl", examples=948)))
        await pilot.pause()
        same(app, "check-rows")
        error = DataError("the dataset is not there", where="/data/x.jsonl", why="no such file", hint="give another")
        app.screen.on_preflight_failed(PreflightFailed(error))
        await pilot.pause()
        same(app, "check-error")


async def test_choosing(tmp_path, dashboard, size, same, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.tui.screens.new_form.NewRunForm._create_draft", lambda self: None)
    app = dashboard(tmp_path)
    choices = [Choice("0", "GPU 0", "free"), Choice("1", "GPU 1", "used by python (process 7, 9.1 GiB)", marked=True)]
    async with app.run_test(size=size) as pilot:
        await pilot.press("3")
        app.push_screen(
            ChooseScreen("Devices to wait for", choices, several=True, help="Nothing marked means any one.")
        )
        await pilot.pause(0.2)
        same(app, "choose")


async def test_plugins(tmp_path, dashboard, size, same, until, monkeypatch) -> None:
    family = ModelFamily(
        key="acme",
        title="Acme-VL",
        model_types=("acme_vl",),
        parts=Parts((), (), ()),
        checkpoints=(Checkpoint("acme/vl-2b", "2B", 2_200_000_000, "Apache-2.0"),),
        capabilities={
            "lora_language": Supported(),
            "nf4": Experimental("untried"),
            "full": Unsupported("it is too large"),
        },
    )
    ok = PluginStatus("acme", "acme-garden", "1.2.0", "acme_garden", "/lib/acme_garden.py", "ok", families=("acme",))
    broken = PluginStatus("old", "old-garden", "0.1", "old_garden", None, "broken", "ImportError: no module named x")
    registry = Registry((family,), (ok, broken))
    monkeypatch.setattr("mg_tui.families.registry.reload_registry", lambda: registry)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: app.screen.query_one(PluginTable).rows)
        same(app, "plugins-full")
        await pilot.press("j")
        await pilot.pause()
        same(app, "plugins-broken")


async def test_settings(tmp_path, dashboard, size, same, monkeypatch) -> None:
    settings = [SETTINGS_BY_ID[id] for id in ("ui.theme", "ui.updates_per_second", "ui.images")]
    monkeypatch.setattr("mg_tui.tui.screens.settings.SETTINGS", settings)
    monkeypatch.setattr("mg_tui.tui.screens.settings.SCOPE_TITLES", {"settings": "Settings"})
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("f2", "j", "j", "j", "enter", "j")
        await pilot.pause()
        same(app, "settings")
