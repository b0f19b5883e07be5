"""The place of a new run, driven by keys."""

from pathlib import Path

import pytest
from textual import events

from mg_tui.config import load_settings
from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.options import options_of
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.synthetic.vision_dataset import create_vision_dataset
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.operations import StartedRun
from mg_tui.tui.screens.choose import ChooseScreen, NameScreen
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.screens.memory import MemoryBreakdown, MemoryScreen
from mg_tui.tui.screens.picker import PickScreen
from mg_tui.tui.screens.plain_text import PlainTextScreen
from mg_tui.tui.screens.preflight import PreflightReport, PreflightScreen
from mg_tui.tui.screens.run import RunScreen
from mg_tui.tui.widgets.form.editor import Completions
from mg_tui.tui.widgets.form.field_help import FieldHelpPane
from mg_tui.tui.widgets.new.estimate_pane import EstimatePane
from tests.tui.synthetic_runs import HOSTILE

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own.toml"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return create_vision_dataset(tmp_path / "shapes.jsonl", 20).dataset


async def _open(app, pilot, until):
    await pilot.press("3")
    await until(pilot, lambda: getattr(app.screen, "draft", None) is not None and app.screen.table.rows)
    return app.screen


def _select_field(screen, name: str) -> None:
    screen.expanded_groups.add(screen.draft.options[name].group)
    screen.draw_form()
    screen.table.go_to_field(name)


async def test_every_field_is_there_and_explained(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        assert "needed" in text(app) and "2 needed" in text(app)
        await pilot.press("a")
        names = [row.id for row in screen.table.rows if not row.is_group]
        assert sorted(names) == sorted(TrainingSpec.model_fields)
        for opt in options_of(TrainingSpec):
            screen.table.go_to_field(opt.name)
            await pilot.pause()
            about = screen.query_one(FieldHelpPane).field_help
            assert (about.title, about.help) == (opt.title, opt.help)
        await pilot.press("a")
        assert len(screen.table.rows) < len(names)


@pytest.mark.parametrize(("typed", "name"), [("bf16", "dtype"), ("wandb", "report_to"), ("batch_size", "batch_size")])
async def test_slash_finds_an_option_by_the_words_of_other_tools(
    tmp_path, dashboard, size, text, until, typed, name
) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        await pilot.press("slash", *typed)
        await until(pilot, lambda: screen.table.current is not None and screen.table.current.id == name)
        assert screen.draft.options[name].title in text(app)


@pytest.mark.parametrize("end", ["q", "hang-up"])
async def test_the_form_is_there_again_in_the_next_session(tmp_path, dashboard, size, text, until, end) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"dataset": "./mine.jsonl", "report_to": ("wandb",)})
        _select_field(screen, "learning_rate")
        await pilot.press("enter", *"3e-4", "enter")
        screen.draft.set("lora_r", "many")  # wrong, and kept as it is
        if end == "q":
            await pilot.press("q")
        else:
            app.exit(return_code=129)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        await until(pilot, lambda: any("as you left it" in notice.message for notice in app._notifications))
        values = {"dataset": "./mine.jsonl", "report_to": ("wandb",), "learning_rate": "3e-4", "lora_r": "many"}
        assert screen.draft.typed_values == values
        assert list(screen.draft.problems) == ["lora_r"] and screen.draft.cwd == tmp_path
        await pilot.press("X", "y")
        await until(pilot, lambda: not screen.draft.typed_values)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        assert not screen.draft.typed_values and not app._notifications


@pytest.mark.parametrize("kept", ["", "[]", '{"values": 3}', '{"values": {"gone": 1, "old_option": [2]}, "cwd": 3}'])
async def test_a_kept_form_that_means_nothing_is_an_empty_form(tmp_path, dashboard, text, until, kept) -> None:
    (tmp_path / "draft.json").write_text(kept)
    app = dashboard(tmp_path)
    async with app.run_test() as pilot:
        screen = await _open(app, pilot, until)
        assert not screen.draft.typed_values and not app._notifications


async def test_typing_is_checked_as_it_happens(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        _select_field(screen, "learning_rate")
        await pilot.press("enter", *"x")
        await until(pilot, lambda: "learning_rate: got 'x'; give a number greater than 0" in text(app))
        await pilot.press("escape")
        assert screen.draft.text("learning_rate") == "2e-5" and app.focused is screen.table
        await pilot.press("enter", *"3e-4", "enter")
        assert screen.draft.partial_spec.learning_rate == 3e-4
        await until(pilot, lambda: "1 changed" in text(app))
        await pilot.press("enter", *"0", "tab")  # taken as it is, marked, and on to the next
        assert "learning_rate" in screen.draft.problems and "1 wrong" in text(app)
        assert screen.table.current.id != "learning_rate"
        await until(pilot, lambda: "Fix the values marked" in text(app))
        await pilot.press("k", "x")
        assert screen.draft.problems == {} and not screen.draft.is_changed("learning_rate")


async def test_switches_choices_and_lists(tmp_path, dashboard, size, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        _select_field(screen, "gradient_checkpointing")
        await pilot.press("space")
        assert screen.draft.partial_spec.gradient_checkpointing is False
        _select_field(screen, "quantization")
        await pilot.press("right")
        assert screen.draft.partial_spec.quantization == "nf4"
        await pilot.press("left", "left")
        assert screen.draft.partial_spec.quantization == "none"
        await pilot.press("enter")
        assert isinstance(app.screen, ChooseScreen)
        await pilot.press("g", "enter")
        assert screen.draft.partial_spec.quantization == "auto"
        _select_field(screen, "report_to")
        await pilot.press("enter", "space", "j", "space", "enter")
        assert screen.draft.partial_spec.report_to == ("tensorboard", "wandb")
        await pilot.press("delete")
        assert screen.draft.partial_spec.report_to == ()


async def test_keys_that_come_at_once_go_where_they_are_meant(tmp_path, dashboard, size, until) -> None:
    """Over a slow link a word and the key before it are read together."""
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": "tiny", "dataset": "x.jsonl"})
        _press_keys(app, "slash", *"warm")
        await until(pilot, lambda: screen.filter_text == "warm")
        _press_keys(app, "escape")
        await until(pilot, lambda: not screen.query("#find"))
        _select_field(screen, "name")
        _press_keys(app, "enter", *"rXq7", "enter")
        await until(pilot, lambda: screen.draft.text("name") == "rXq7")
        screen.fill({"seed": 7})
        _press_keys(app, "P", *"r u", "enter")
        await until(pilot, lambda: app.settings.presets == {"r u": {"seed": 7}})
        assert app.screen is screen


def _press_keys(app, *keys: str) -> None:
    for key in keys:
        app.post_message(events.Key({" ": "space"}.get(key, key), key if len(key) == 1 else None))


async def test_groups_fold(tmp_path, dashboard, size, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        at = next(index for index, row in enumerate(screen.table.rows) if row.is_group)
        screen.table.move(at)
        before = len(screen.table.rows)
        for key, more in (("enter", True), ("space", False), ("right", True), ("left", False)):
            await pilot.press(key)
            assert (len(screen.table.rows) > before) is more, key


async def test_paths_are_completed(tmp_path, dashboard, size, until) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "more").mkdir()
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        _select_field(screen, "output_dir")
        await pilot.press("enter", *"mod")
        completions = screen.query_one(Completions)
        await until(pilot, lambda: completions.candidates == ("models/",))
        await pilot.press("tab")
        await until(pilot, lambda: completions.candidates == ("models/mine/", "models/more/"))
        await pilot.press("down", "enter")
        assert screen.draft.partial_spec.output_dir == "models/more/"
        await pilot.press("enter", "backspace", "enter")
        assert screen.draft.partial_spec.output_dir is None


async def test_model_and_dataset_are_picked(tmp_path, dashboard, dataset, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PickScreen) and "tiny" in text(app))
        await pilot.press("down", "enter")
        assert screen.draft.partial_spec.base_model != "tiny"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, PickScreen))
        await pilot.press(*"tiny", "enter")
        assert screen.draft.partial_spec.base_model == "tiny"
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(app.screen, PickScreen) and "shapes.jsonl" in text(app))
        await pilot.press(*"shapes.jsonl", "enter")
        assert screen.draft.spec.dataset == str(dataset)


async def test_the_outlook_follows(tmp_path, dashboard, dataset, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        await until(pilot, lambda: "Choose a base model" in text(app))
        screen.fill({"base_model": "tiny"})
        pane = screen.query_one(EstimatePane)
        await until(pilot, lambda: pane.estimate is not None and pane.estimate.memory is not None)
        assert "Choose a dataset to see them." in text(app) and "language model" in text(app)
        screen.fill({"dataset": str(dataset)})
        await until(pilot, lambda: pane.estimate.workload is not None)
        assert pane.estimate.workload.steps == 9 and "20 examples, 8/step" in text(app)
        peak = pane.estimate.memory.peak
        screen.fill({"lora_r": 256, "epochs": 1})
        await until(pilot, lambda: pane.estimate.workload.steps == 3)
        assert pane.estimate.memory.peak > peak


async def test_several_processes_show_the_memory_of_each_device(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": "tiny"})
        pane = screen.query_one(EstimatePane)
        await until(pilot, lambda: pane.estimate is not None and pane.estimate.memory is not None)
        alone = pane.estimate.memory
        screen.fill({"processes": 4, "parallel": "fsdp"})
        await until(pilot, lambda: pane.estimate.memory.ranks.count == 4)
        await until(pilot, lambda: "Memory each (4, fsdp)" in text(app))
        assert pane.estimate.memory.bytes_of("language model") < alone.bytes_of("language model")
        screen.fill({"nodes": 2, "rendezvous": "host:29500", "parallel": "ddp"})
        await until(pilot, lambda: pane.estimate.memory.ranks.count == 8)
        await until(pilot, lambda: "Memory each (8, ddp)" in text(app))


async def test_what_cannot_be_told_is_said(tmp_path, dashboard, size, text, until) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "image": "gone.png", "response": "b"}\nnonsense\n')
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": "nobody/nothing"})
        pane = screen.query_one(EstimatePane)
        await until(pilot, lambda: pane.estimate is not None and pane.estimate.problems)
        assert pane.estimate.memory is None and "estimating" not in text(app)
        screen.fill({"base_model": "tiny", "dataset": "not-there.jsonl"})
        await until(pilot, lambda: "not-there.jsonl" in " ".join(pane.estimate.problems))
        assert pane.estimate.memory is not None
        screen.fill({"dataset": "bad.jsonl"})
        await until(pilot, lambda: "no row can be trained on" in " ".join(pane.estimate.problems))


async def test_a_sample_is_made_and_the_run_started(tmp_path, dashboard, size, text, until, monkeypatch) -> None:
    started: list[RunFolder] = []
    monkeypatch.setattr("mg_tui.runs.launch.start_worker", lambda folder, gpus=None, **_: started.append(folder))
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        await pilot.press("r")  # nothing is there to start: the cursor goes to what is needed
        assert screen.table.current.id == "base_model" and not isinstance(app.screen, PreflightScreen)
        assert "m creates a sample dataset" in screen.field_help("dataset", False).accepted
        await pilot.press("m")
        await until(pilot, lambda: screen.draft.spec is not None)
        assert screen.draft.spec.base_model == "tiny" and Path(screen.draft.spec.dataset).is_file()
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, RunScreen))
        assert app.screen.folder == started[0] and app.current_mode == "runs"
        spec = started[0].spec_values()
        assert spec["base_model"] == "tiny" and spec["dataset"] == screen.draft.spec.dataset
        await pilot.press("3")
        assert app.screen is screen and screen.draft.spec is not None  # what was filled in is still there


async def test_findings_are_listed_by_row_and_nothing_is_started(tmp_path, dashboard, size, text, until) -> None:
    rows = [{"text": HOSTILE, "image": "gone.png", "response": "b"}, {"text": "a", "response": "b"}]
    import json

    (tmp_path / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "nonsense\n")
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": "tiny", "dataset": "bad.jsonl"})
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, PreflightScreen) and app.screen.error is not None)
        report = "\n".join(line.plain for line in app.screen.query_one(PreflightReport).lines(70))
        assert "row 1" in report and "gone.png" in report and "row 3" in report and "On a bad row" in report
        assert "The run was not started" in text(app)
        await pilot.press("j", "G", "escape")
        assert app.screen is screen
    assert not (tmp_path / "runs").exists()


async def test_queueing_asks_for_devices(tmp_path, dashboard, dataset, size, until, monkeypatch) -> None:
    requests = []

    def begin(folder, by, *, gpus=None, in_queue=False):
        requests.append((gpus, in_queue, by))
        return StartedRun(folder, gpus, queued=True, runs_ahead=2)

    monkeypatch.setattr("mg_tui.runs.operations.start_or_queue", begin)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        await pilot.press("u")
        assert screen.table.current.id == "base_model"
        screen.fill({"base_model": "tiny", "dataset": str(dataset)})
        await pilot.press("u")
        await until(pilot, lambda: isinstance(app.screen, ChooseScreen))
        await pilot.press("space", "enter")
        await until(pilot, lambda: app.current_mode == "runs")
        ((gpus, in_queue, by),) = requests
        assert len(gpus) == 1 and in_queue and "dashboard" in by
        assert any("2 runs before it" in notice.message for notice in app._notifications)


async def test_a_device_that_is_not_here_is_said(tmp_path, dashboard, dataset, until, monkeypatch) -> None:
    def broken(_home):
        raise EnvironmentProblem("the driver does not answer")

    monkeypatch.setattr("mg_tui.tui.new.choices.device_choices", broken)
    app = dashboard(tmp_path)
    async with app.run_test() as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": "tiny", "dataset": str(dataset)})
        await pilot.press("u")
        await until(pilot, lambda: any("does not answer" in note.message for note in app._notifications))


async def test_presets_are_taken_saved_and_removed(tmp_path, dashboard, own_file, size, text, until) -> None:
    own_file.write_text("# mine\n[ui]\ntheme = 'garden' # dark\n")
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        await pilot.press("P")
        assert not isinstance(app.screen, NameScreen)  # nothing differs
        await pilot.press("p", "enter")
        assert screen.draft.partial_spec.quantization == "nf4" and screen.draft.partial_spec.learning_rate == 1e-4
        await pilot.press("P")
        await pilot.press("enter")
        assert isinstance(app.screen, NameScreen) and "visible characters" in text(app)
        await pilot.press(*"my own", "enter")
        await until(pilot, lambda: "my own" in app.settings.presets)
        assert own_file.read_text().startswith("# mine\n[ui]\ntheme = 'garden' # dark\n")
        assert load_settings(cwd=tmp_path).presets == {"my own": {"learning_rate": 1e-4, "quantization": "nf4"}}
        await pilot.press("X", "right", "enter")
        assert screen.draft.changed_fields() == []
        await pilot.press("p", "g", "enter")
        assert screen.draft.preset_values() == app.settings.presets["my own"]
        await pilot.press("D", "enter")
        assert isinstance(app.screen, ConfirmScreen)
        await pilot.press("right", "enter")
        await until(pilot, lambda: app.settings.presets == {})
        assert load_settings(cwd=tmp_path).presets == {}


async def test_a_preset_that_cannot_be_written_is_said(tmp_path, dashboard, own_file, until) -> None:
    own_file.write_text("[ui\n")
    app = dashboard(tmp_path)
    async with app.run_test() as pilot:
        await _open(app, pilot, until)
        await pilot.press("p", "enter", "P", *"a", "enter")
        await until(pilot, lambda: any("invalid TOML" in note.message for note in app._notifications))
        assert app.settings.presets == {} and own_file.read_text() == "[ui\n"


async def test_only_what_differs_and_finding(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": "tiny", "seed": 7})
        await pilot.press("d")
        assert [row.id for row in screen.table.rows] == ["base_model", "seed"]
        await pilot.press("escape")
        assert len(screen.table.rows) > 10
        await pilot.press("slash", *"fraction warm")
        assert [row.id for row in screen.table.rows] == ["warmup_ratio"]
        await pilot.press("enter")
        assert app.focused is screen.table
        await pilot.press("escape")
        assert screen.table.current.id == "warmup_ratio" and not screen.query("#find")
        await pilot.press("slash", "enter")
        assert app.focused is screen.table


async def test_the_command_and_the_memory_in_full(tmp_path, dashboard, dataset, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": "tiny", "dataset": str(dataset), "lora_r": 4})
        await pilot.press("y")
        assert isinstance(app.screen, PlainTextScreen) and app.screen.text == screen.draft.command(lines=True)
        assert "--lora-r 4" in text(app)
        await pilot.press("escape")
        pane = screen.query_one(EstimatePane)
        await until(pilot, lambda: pane.estimate is not None and pane.estimate.workload is not None)
        await pilot.press("e")
        assert isinstance(app.screen, MemoryScreen)
        await until(pilot, lambda: app.screen.query_one(MemoryBreakdown).result is not None)
        breakdown = "\n".join(line.plain for line in app.screen.query_one(MemoryBreakdown).lines(90))
        for part in pane.estimate.memory.parts:
            assert part.name in breakdown
        assert "Where it fits" in breakdown


async def test_it_can_be_opened_filled_in(tmp_path, home, dashboard, size, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.run_rows)
        app.open_new_run_form({"dataset": "/data/x.jsonl", "nonsense": 1})
        await until(pilot, lambda: getattr(app.screen, "draft", None) is not None)
        screen = app.screen
        await until(pilot, lambda: screen.draft.text("dataset") == "/data/x.jsonl")
        screen.fill({"seed": 5})
        app.open_new_run_form({"dataset": "/data/y.jsonl"}, cwd=tmp_path)
        await until(pilot, lambda: screen.draft.text("dataset") == "/data/y.jsonl")
        assert screen.draft.partial_spec.seed == 5 and screen.draft.cwd == tmp_path
        finished = next(row for row in app.run_rows if row.state.good)
        app.open_rerun_form(finished.folder)
        await until(pilot, lambda: screen.draft.spec is not None)
        old = TrainingSpec.parse(finished.folder.spec_values())
        assert screen.draft.spec == old.model_copy(update={"output_dir": None})
        assert screen.draft.partial_spec.seed == 42  # what was filled in before is gone


async def test_hostile_values_are_shown_as_text(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until)
        screen.fill({"base_model": HOSTILE, "dataset": HOSTILE, "name": HOSTILE, "lora_r": HOSTILE})
        await pilot.press("y")
        await pilot.pause(0.3)
        await pilot.press("escape", "r")
        await pilot.pause(0.3)
        assert "\x1b" not in text(app) and "\u202e" not in text(app) and app.is_running


async def test_any_size(tmp_path, dashboard, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(60, 20)) as pilot:
        screen = await _open(app, pilot, until)
        await pilot.press("a")
        for width, height in ((250, 80), (60, 20), (20, 6), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
        _select_field(screen, "seed")
        await pilot.press("enter", *"1")
        await pilot.resize_terminal(120, 40)
        await pilot.press("enter")
        assert screen.draft.text("seed") == "1"
