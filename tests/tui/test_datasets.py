"""The place of datasets: opening one, its rows, what is found in them, how they are read, and what a model sees."""

import json
import threading
from array import array
from typing import Any

import pytest
from textual.screen import Screen
from textual.widgets import Input

from mg_tui.core.errors import FamilyError
from mg_tui.data.checks.findings import CheckReport, Finding, FindingCollector, Histogram, LengthSuggestion
from mg_tui.runs import recents
from mg_tui.tui.datasets.finding_rows import RowSeverities
from mg_tui.tui.datasets.reader import group_ranges
from mg_tui.tui.datasets.row_view import RowDetail, RowView, format_field
from mg_tui.tui.screens.chat import ChatScreen
from mg_tui.tui.screens.choose_model import ChooseModelScreen
from mg_tui.tui.screens.dataset import DatasetScreen
from mg_tui.tui.screens.datasets import DatasetsScreen
from mg_tui.tui.screens.jump import JumpScreen
from mg_tui.tui.screens.picker import PickScreen, list_entries
from mg_tui.tui.screens.read_options import OptionTable, ReadOptionsScreen
from mg_tui.tui.widgets.datasets.file_tree import FileTree
from mg_tui.tui.widgets.datasets.findings import FindingKindTable
from mg_tui.tui.widgets.datasets.histograms import bar_in_eighths, histogram_lines
from mg_tui.tui.widgets.datasets.panes import RowText
from mg_tui.tui.widgets.datasets.row_table import LazyRows, RowTable
from mg_tui.tui.widgets.datasets.tokens import token_summary, token_text
from mg_tui.tui.widgets.error_band import ErrorBand
from mg_tui.tui.widgets.image_box import ImageBox
from mg_tui.tui.widgets.path_table import PathTable
from tests.tui.synthetic_places import fake_engine, make_dataset, make_result, photo
from tests.tui.synthetic_runs import HOSTILE

pytestmark = pytest.mark.asyncio

SEEN = {
    "event": "row",
    "pieces": [["<|im_start|>", False], ["user\n", False], [0, False], [HOSTILE, False], ["A ", True], ["cat", True]],
    "tokens": 182,
    "learned": 2,
    "image_tokens": 176,
    "images": [{"path": "p", "size": [451, 300], "seen_at": [448, 308], "tokens": 176}],
}


@pytest.fixture
def file(tmp_path):
    return make_dataset(tmp_path / "rows.jsonl")


@pytest.fixture
def engine(monkeypatch):
    def install(**script):
        kind = fake_engine(script)
        monkeypatch.setattr("mg_tui.runs.engine_process.EngineProcess", kind)
        return kind.requests

    return install


def _report(**findings):
    """A report with the given rows for each kind of finding."""
    collector = FindingCollector()
    for kind, rows in findings.items():
        name = kind.replace("_", "-")
        collector.add(Finding(row, name, "image", f"what of {row} {HOSTILE}", "a hint") for row in rows)
    return CheckReport(
        "rows.jsonl", 60, 55, 6, 60, collector.findings, dict(collector.counts), collector.rows_by_kind,
        total_tokens=Histogram({100: 50, 300: 4, 5000: 1}), pixels=Histogram({451 * 300: 6}),
        suggestions=(LengthSuggestion("raise the maximum length to 5,056", "--max-seq-length 5056", 1),), seconds=2.0,
    )  # fmt: skip


@pytest.fixture
def checked(monkeypatch):
    """A check that gives a synthetic report when it is let go on."""
    go_on = threading.Event()

    def check(self):
        self._progress(30, 60)
        go_on.wait(8)
        self.max_tokens = 2048
        if self._stopped:
            raise FamilyError("stopped by a test")
        return _report(image_missing=[7], field=[8, 12], image_small=[20, 21, 22], too_long=[9])

    monkeypatch.setattr("mg_tui.tui.datasets.checker.DatasetChecker._check", check)
    return go_on


async def _open(app, pilot, until, file) -> DatasetScreen:
    await pilot.press("2")
    await until(pilot, lambda: isinstance(app.screen, DatasetsScreen))
    app.screen.open_dataset(str(file))
    await until(pilot, lambda: isinstance(app.screen, DatasetScreen) and app.screen.row_detail is not None)
    await until(pilot, lambda: app.screen._head_state.row_count is not None)
    return app.screen


def _detail(screen: DatasetScreen) -> RowDetail:
    assert screen.row_detail is not None
    return screen.row_detail


async def test_a_tree_recents_and_a_typed_path(tmp_path, dashboard, size, text, until, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    file = make_dataset(folder / "rows.jsonl")
    (folder / "notes.txt").write_text("no dataset")
    (folder / "[bold]x.jsonl").write_text("{}\n")
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "▸ data" in text(app))
        tree = app.screen.query_one(FileTree)
        tree.move(next(at for at, node in enumerate(tree.rows) if node.label == "data"))
        await pilot.press("right")
        await until(pilot, lambda: "▾ data" in text(app) and "rows.jsonl" in text(app))
        assert "notes.txt" not in text(app) and "[bold]x.jsonl" in text(app)
        await pilot.press("left")
        await until(pilot, lambda: "rows.jsonl" not in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: "rows.jsonl" in text(app))
        await pilot.press("j", "j", "j", "enter")
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen) and "60 rows" in text(app))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, DatasetsScreen) and "↺ rows.jsonl" in text(app))
        assert [item.reference for item in recents.read(tmp_path / "home", "datasets")] == [str(file)]
        await pilot.press("g", "x")
        await until(pilot, lambda: "↺" not in text(app))
        await pilot.press("o")
        assert isinstance(app.screen, PickScreen)
        await pilot.press(*"data/ro")
        await until(pilot, lambda: "58" in text(app) or "KiB" in text(app) or "MiB" in text(app))
        await pilot.press("tab")
        await until(pilot, lambda: app.screen.query_one("#path", Input).value == "data/rows.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen))


@pytest.mark.parametrize("keys", [("tab", "enter"), ("enter",)])
async def test_keys_that_are_quicker_than_the_list_mean_what_was_typed(
    keys, tmp_path, dashboard, text, until, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aaa").mkdir()  # the first of the list before anything is typed
    make_dataset(tmp_path / "rows.jsonl")
    read, typed = threading.Event(), []

    def slow(text, *others):
        typed.append(text)
        assert not text or read.wait(30)
        return list_entries(text, *others)

    monkeypatch.setattr("mg_tui.tui.screens.picker.list_entries", slow)
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2", "o")
        await until(pilot, lambda: isinstance(app.screen, PickScreen) and app.screen.query_one(PathTable).rows)
        await pilot.press(*"ro", *keys)
        await until(pilot, lambda: "ro" in typed)
        assert app.screen.query_one("#path").value == "ro"
        read.set()
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen) and "60 rows" in text(app))


async def test_a_folder_of_images_is_opened_itself(tmp_path, dashboard, text, until, monkeypatch) -> None:
    import shutil

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics").mkdir()
    lines = []
    for name in ("chelsea", "rocket"):
        shutil.copy(photo(name), tmp_path / "pics")
        lines.append(json.dumps({"file_name": f"{name}.jpg", "text": f"A {name}."}))
    (tmp_path / "pics" / "metadata.jsonl").write_text("\n".join(lines))
    app = dashboard(tmp_path / "home")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "▸ pics" in text(app))
        tree = app.screen.query_one(FileTree)
        tree.move(next(at for at, node in enumerate(tree.rows) if node.label == "pics"))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen) and "2 rows" in text(app))
        await until(pilot, lambda: "image folder" in text(app) and "A chelsea." in text(app))
        assert "answer text" in text(app) and "▀▀▀▀▀▀" in text(app)


async def test_questions_are_left_with_escape(file, tmp_path, dashboard, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _open(app, pilot, until, file)
        kinds: tuple[tuple[str, type[Screen[Any]]], ...] = (
            ("colon", JumpScreen),
            ("m", ReadOptionsScreen),
            ("b", PickScreen),
            ("a", ChooseModelScreen),
        )
        for key, kind in kinds:
            await pilot.press(key)
            assert isinstance(app.screen, kind)
            await pilot.press("escape")
            assert app.screen == screen
        await pilot.press("colon", *"61", "enter")
        assert isinstance(app.screen, JumpScreen)  # there are sixty
        await pilot.press("escape")


async def test_what_is_no_dataset_is_a_band(tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, DatasetsScreen))
        app.screen.open_dataset(str(tmp_path / "nowhere.jsonl"))
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen) and "✗" in text(app))
        assert "nowhere.jsonl" in str(app.screen.query_one(ErrorBand).error) and "not open" in text(app)
        await pilot.press("c", "slash", "colon", "n", "t", "f", "h", "r")  # nothing to do it to
        await pilot.press("m")
        assert isinstance(app.screen, ReadOptionsScreen)  # another format may be what it takes
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, DatasetsScreen))


async def test_rows_with_their_images(file, tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until, file)
        screen_text = text(app)
        for part in ("JSON Lines", "✓ sure", "60 rows", "question text", "images image", "answer response"):
            assert part in screen_text, part
        await until(pilot, lambda: "▀▀▀▀▀▀▀▀" in text(app) and "JPEG" in text(app))
        await pilot.press("colon", *"10", "enter")
        await until(pilot, lambda: _detail(screen).number == 10 and "1/2" in text(app))
        await pilot.press("i")
        await until(pilot, lambda: "2/2" in text(app) and "1/2" not in text(app))
        await pilot.press("j")  # a blank line
        await until(pilot, lambda: _detail(screen).number == 11 and "blank" in text(app))
        await pilot.press("j")
        await until(pilot, lambda: _detail(screen).number == 12 and "✗ row 12, field" in text(app))
        await pilot.press("z")
        assert screen.has_class("-zoomed")
        await pilot.press("j")  # rows are gone through in the zoom, too
        await until(pilot, lambda: _detail(screen).number == 13 and "NUL" in text(app))
        await pilot.press("escape", "G")
        await until(pilot, lambda: _detail(screen).number == 60)
        await pilot.press("escape")
        assert app.screen is not screen


async def test_text_from_rows_is_text(file, tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until, file)
        for number, said in (
            (5, "[bold red]no[/]"),
            (8, "{broken"),
            (9, "1,000,000 characters"),
            (13, "right to left"),
        ):
            screen._go_to_row(number)
            await until(pilot, lambda number=number: _detail(screen).number == number)
            await pilot.press("z")
            await until(pilot, lambda said=said: said in text(app) or said in str(_detail(screen).fields))
            screen_text = text(app)
            assert not any(ord(character) < 32 and character != "\n" for character in screen_text)
            assert not any("\x7f" <= c <= "\x9f" or "\u202a" <= c <= "\u202e" or c == "\u200b" for c in screen_text)
            await pilot.press("z")
        assert len(_detail(screen).turns[0][1]) < 10_000


async def test_only_rows_with_a_text(file, tmp_path, dashboard, size, text, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until, file)
        table = screen.query_one(RowTable)
        await pilot.press("slash", *"(42)", "enter")
        await until(pilot, lambda: list(table.lazy_rows.visible_numbers or ()) == [42] and _detail(screen).number == 42)
        assert "only with “(42)”" in text(app) and "1 row" in text(app)
        await pilot.press("escape")
        await until(
            pilot, lambda: table.lazy_rows.visible_numbers is None and table.current_number == 42
        )  # the cursor stays on its row
        await pilot.press("slash", *"zzz", "enter")
        await until(pilot, lambda: not screen._head_state.searching and "0 rows" in text(app))
        await pilot.press("slash", "escape")
        assert not screen.query("#find")


async def test_a_check_marks_rows_and_is_walked_through(file, tmp_path, dashboard, size, text, until, checked) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until, file)
        await pilot.press("h")
        assert "Press c to check the dataset" in text(app)
        await pilot.press("c")
        await until(pilot, lambda: "checking for tiny" in text(app) and "50%" in text(app))
        checked.set()
        await until(pilot, lambda: screen.report is not None and "checking for tiny" not in text(app))
        assert "Tokens per row" in text(app) and "under 128" in text(app) and "largest 5,000" in text(app)
        await pilot.press("f")
        await until(pilot, lambda: "5 rows cannot be trained on" in text(app) and "bad field" in text(app))
        assert "--max-seq-length 5056" in text(app) or size[0] == 80
        assert [row.kind for row in screen.query_one(FindingKindTable).rows] == [
            "field", "image-missing", "too-long", "image-small"
        ]  # fmt: skip
        await pilot.press("enter")  # only rows with bad fields
        table = screen.query_one(RowTable)
        await until(pilot, lambda: list(table.lazy_rows.visible_numbers or ()) == [8, 12])
        assert "only errors: bad field" in text(app)
        await pilot.press("x")
        await until(pilot, lambda: list(table.lazy_rows.visible_numbers or ()) == [7])
        await pilot.press("escape")
        await until(pilot, lambda: table.lazy_rows.visible_numbers is None)
        visited = []
        table.go_to(1)
        for _ in range(7):
            await pilot.press("n")
            visited.append(table.current_number)
        assert visited == [7, 8, 9, 12, 20, 21, 22]
        await pilot.press("N", "N", "N")
        assert table.current_number == 12
        await until(pilot, lambda: _detail(screen).number == 12 and "what of 12 [bold red]no[/]" in _row_text(screen))


def _row_text(screen) -> str:
    return "\n".join(line.plain for line in screen.query_one(RowText).lines(200))


async def test_a_check_is_stopped_by_the_same_key(file, tmp_path, dashboard, text, until, checked) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        screen = await _open(app, pilot, until, file)
        await pilot.press("c")
        await until(pilot, lambda: "checking for tiny" in text(app))
        await pilot.press("c")
        await until(pilot, lambda: "stopping" in text(app))
        checked.set()
        await until(pilot, lambda: "stopped by a test" in text(app) and screen.report is None)


async def test_the_row_as_a_model_sees_it(file, tmp_path, dashboard, size, text, until, engine) -> None:
    def row(child, fields):
        return [{**SEEN, "row": fields["row"]}]

    requests = engine(open=[{"event": "ready"}], row=row)
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await _open(app, pilot, until, file)
        await pilot.press("t")
        await until(pilot, lambda: "182 tokens" in text(app) and "▣×176" in text(app))
        assert "2 supervised (1%)" in text(app) and "for tiny" in text(app)
        assert requests[0] == ("open", {"base_model": "tiny"})
        message = requests[1][1]["messages"][0]
        assert message["role"] == "user" and [list(part) for part in message["parts"]] == [["image"], ["text"]]
        await pilot.press("j")
        await until(pilot, lambda: [op for op, _ in requests] == ["open", "row", "row"])
        await pilot.press("b")
        assert isinstance(app.screen, PickScreen)
        await pilot.press(*"me/mine", "enter")
        await until(pilot, lambda: ("open", {"base_model": "me/mine"}) in requests and "for me/mine" in text(app))


async def test_a_model_without_a_family_is_said(file, tmp_path, dashboard, text, until, engine) -> None:
    error = FamilyError("no model family is installed for it", hint="see `model-garden plugins`")
    engine(open=error, row=error)
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await _open(app, pilot, until, file)
        await pilot.press("t")
        await until(pilot, lambda: "no model family is installed for it" in text(app))


async def test_fields_are_mapped_by_picking(tmp_path, dashboard, size, text, until) -> None:
    file = tmp_path / "odd.jsonl"
    rows = [{"ask": f"q{n}", "pic": str(photo("rocket")), "say": f"a{n}", "text": "t", "other": "o"} for n in range(9)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until, file)
        assert _detail(screen).problems
        await pilot.press("m")
        assert isinstance(app.screen, ReadOptionsScreen)
        table = app.screen.query_one(OptionTable)
        for name, value in (
            ("dataset_layout", "fields"),
            ("text_field", "ask"),
            ("image_field", "pic"),
            ("response_field", "say"),
        ):
            table.move(next(at for at, row in enumerate(table.rows) if row.name == name))
            for _ in range(20):
                assert table.current is not None
                if table.current.value == value:
                    break
                await pilot.press("right")
            assert table.current is not None and table.current.value == value
        await pilot.press("left", "right", "enter")
        await until(pilot, lambda: not isinstance(app.screen, ReadOptionsScreen))
        await until(pilot, lambda: screen.row_detail is not None and screen.row_detail.question == "q0")
        await until(pilot, lambda: "question ask" in text(app) and "set by you" in text(app))
        assert screen.dataset is not None
        options = screen.dataset.run_options()
        assert options["text_field"] == "ask" and options["image_field"] == "pic" and options["dataset"] == str(file)


async def test_the_list_of_a_json_object_is_chosen(tmp_path, dashboard, size, text, until) -> None:
    file = tmp_path / "both.json"
    rows = [{"question": f"q{n}", "image": str(photo("rocket")), "answer": "a"} for n in range(3)]
    file.write_text(json.dumps({"train": rows, "held_out": [{**rows[0], "question": "other"}]}))
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: isinstance(app.screen, DatasetsScreen))
        app.screen.open_dataset(str(file))
        await until(pilot, lambda: isinstance(app.screen, DatasetScreen) and "several lists" in text(app))
        screen = app.screen
        for value, question in (("held_out", "other"), ("train", "q0")):  # from the error, and from what is open
            await pilot.press("m")
            table = app.screen.query_one(OptionTable)
            table.move(next(at for at, row in enumerate(table.rows) if row.name == "json_field"))
            for _ in range(4):
                if table.current is not None and table.current.value == value:
                    break
                await pilot.press("right")
            assert table.current is not None and table.current.value == value
            await pilot.press("enter")
            expected = question
            await until(pilot, lambda: screen.row_detail and screen.row_detail.question == expected)  # noqa: B023
        assert screen.dataset.run_options()["json_field"] == "train"


async def test_a_column_is_ignored_and_an_encoding_chosen(tmp_path, dashboard, size, text, until) -> None:
    file = tmp_path / "hints.csv"
    file.write_bytes(f"question,image,answer,hint\nÉ?,{photo('rocket')},a,h\n".encode("latin-1"))
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        screen = await _open(app, pilot, until, file)
        for name, value in (("dataset_encoding", "latin-1"), ("ignore_column", "hint")):
            await pilot.press("m")
            assert isinstance(app.screen, ReadOptionsScreen)
            table = app.screen.query_one(OptionTable)
            table.move(next(at for at, row in enumerate(table.rows) if row.name == name))
            for _ in range(20):
                if table.current is not None and table.current.value == value:
                    break
                await pilot.press("right")
            assert table.current is not None and table.current.value == value
            await pilot.press("enter")
            await until(pilot, lambda: not isinstance(app.screen, ReadOptionsScreen))
            await until(
                pilot, lambda n=name, v=value: screen.dataset is not None and screen.dataset.options.get(n) == v
            )
        await until(pilot, lambda: screen.row_detail is not None and screen.row_detail.question == "É?")
        assert not _detail(screen).problems
        assert screen.dataset is not None
        assert screen.dataset.spec.ignore_column == ("hint",)
        assert screen.dataset.run_options()["ignore_column"] == "hint"


async def test_a_row_is_asked_of_a_model(file, tmp_path, dashboard, size, text, until, engine) -> None:
    engine(load=[{"event": "ready", "device": "cpu", "dtype": "float32", "quantization": "none"}])
    make_result(tmp_path, "receipts")
    app = dashboard(tmp_path)
    async with app.run_test(size=size) as pilot:
        screen = await _open(app, pilot, until, file)
        await pilot.press("a")
        await until(pilot, lambda: isinstance(app.screen, ChooseModelScreen) and "receipts" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        await until(pilot, lambda: app.screen.query_one("#ask").value == _detail(screen).question)
        assert app.screen.query_one(ImageBox).count == 1
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is screen)


async def test_a_row_is_taken_into_a_chat(file, tmp_path, dashboard, text, until, engine) -> None:
    engine(load=[{"event": "ready", "device": "cpu", "dtype": "float32", "quantization": "none"}])
    app = dashboard(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: "tiny" in text(app))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))
        for number, accepted in (("8", False), ("10", True)):
            await pilot.press("ctrl+r")
            app.screen.query_one("#path").value = str(file)
            await pilot.pause(0.1)
            await pilot.press("enter", *number, "enter")
            if accepted:
                await until(pilot, lambda: app.screen.query_one(ImageBox).count == 2)
                assert app.screen.query_one("#ask").value == "What is it?"
            else:
                await until(pilot, lambda: any("has no question" in item.text for item in app.message_log))


async def test_a_new_run_is_begun_with_what_is_seen(file, tmp_path, dashboard, until, monkeypatch) -> None:
    opened = []
    app = dashboard(tmp_path)
    monkeypatch.setattr(type(app), "open_dataset_form", lambda self, values: opened.append(values), raising=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await _open(app, pilot, until, file)
        await pilot.press("R")
        await until(pilot, lambda: opened)
    assert opened[0]["dataset"] == str(file)
    from mg_tui.core.spec import TrainingSpec

    assert TrainingSpec.parse({"base_model": "tiny", **opened[0]}).text_field == "text"


async def test_any_size(file, tmp_path, dashboard, until) -> None:
    app = dashboard(tmp_path)
    async with app.run_test(size=(60, 20)) as pilot:
        await _open(app, pilot, until, file)
        for pane in "rf":
            await pilot.press(pane)
            for width, height in ((250, 80), (20, 6), (80, 24)):
                await pilot.resize_terminal(width, height)
                await pilot.pause()


# --- parts


async def test_a_million_rows_are_a_sequence_without_them() -> None:
    rows = LazyRows()
    rows.total = 1_000_000
    assert len(rows) == 1_000_000 and rows[999_999].loading and rows.cache.missing
    rows.store([RowView(1_000_000, "last")])
    assert rows[999_999].question == "last"
    rows.visible_numbers = array("Q", [3, 70, 900_000])
    assert len(rows) == 3 and rows[1].number == 70
    assert [rows.index_of(number) for number in (1, 3, 4, 70, 71, 2_000_000)] == [0, 0, 1, 1, 2, 2]
    rows.store([RowView(number) for number in range(1, 5_000)])
    assert len(rows.cache.values()) <= 2_048
    with pytest.raises(IndexError):
        rows[3]


async def test_rows_near_one_another_are_read_in_one_go() -> None:
    assert group_ranges([1, 2, 3, 50, 500, 501, 9_000]) == [(1, 50), (500, 501), (9_000, 9_000)]
    assert group_ranges([]) == []


async def test_the_worst_finding_marks_a_row() -> None:
    marks = RowSeverities(_report(image_small=[3, 9], image_missing=[9], few_rows=[0]))
    assert [marks.severity_of(number) for number in (1, 3, 9, 0)] == ["", "warning", "error", "note"]
    assert list(marks.rows) == [3, 9]


async def test_histograms_fit_and_never_hide_what_is_not_nothing() -> None:
    lines = histogram_lines(
        Histogram({1: 1, 700: 1_000_000}), (10, 100, 1000), lambda edge, last: f"{edge}", 40, limit=500
    )
    assert [line.plain.split() for line in lines] == [["10", "▏", "1"], ["100", "0"], ["1000", "█" * 13, "1,000,000"]]
    assert all(line.cell_length <= 40 for line in lines)
    assert bar_in_eighths(0, 4) == "    " and bar_in_eighths(1, 4) == "████" and bar_in_eighths(1e-9, 4) == "▏   "


async def test_learned_tokens_are_told_apart_without_colour() -> None:
    content = token_text(SEEN)
    learned = "".join(content.plain[span.start : span.end] for span in content.spans if "underline" in str(span.style))
    assert learned == "A cat" and "▣×176" in content.plain
    assert "\x1b" not in content.plain and "[bold red]no[/]" in content.plain
    assert [line.plain.split()[0] for line in token_summary(SEEN, 80)] == ["182", "▣"]


async def test_a_value_of_any_kind_becomes_a_short_text() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(50):
        deep = {"a": deep}
    for value in (
        None,
        1.5,
        b"\0" * 5_000_000,
        {"bytes": b"x" * 10, "path": None},
        ["y" * 10_000] * 1_000,
        deep,
        "\x1b[2J",
    ):
        formatted = format_field(value)
        assert len(formatted) < 10_000 and "\x1b" not in formatted
    assert format_field({"bytes": b"x" * 10}) == '{"bytes": "(10 bytes)"}'
