"""Names, models, paths and answers that would mark up or escape: shown as text on every screen of runs."""

import pytest

from mg_tui.core.spec import TrainingSpec
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.tui.screens.confirm import ConfirmScreen
from mg_tui.tui.widgets.runs.run_table import RunTable
from tests.tui.synthetic_runs import HOSTILE

pytestmark = pytest.mark.asyncio


def _run(home, name: str) -> RunFolder:
    spec = TrainingSpec.parse({"base_model": HOSTILE, "dataset": f"{HOSTILE}{name}", "name": f"{name}{HOSTILE}"})
    folder = RunFolder.create(home, spec)
    folder.log_file.write_text(f"{HOSTILE}\n\x1b[2J\x1b]52;c;cHduZWQ=\x07\n")
    with JournalWriter(folder.journal_file) as journal:
        journal.write("started", pid=1, host=HOSTILE, attempt=1, resumed_from=None)
        journal.write("phase", name=HOSTILE, detail=HOSTILE)
        journal.write("plan", steps=2, examples=HOSTILE, estimate_bytes=HOSTILE)
        for step in (1, 2):
            journal.write("step", step=step, loss=1.0 / step, learning_rate=HOSTILE, seconds=HOSTILE)
            journal.write("sample", step=step, row=HOSTILE, image=None, prompt=HOSTILE, answer=HOSTILE, expected=None)
        journal.write("finished", steps=2, seconds=1, result=HOSTILE, metrics={HOSTILE: HOSTILE})
    return folder


def _assert_harmless(shown: str) -> None:
    bad = [c for c in shown if (ord(c) < 32 and c != "\n") or "\x7f" <= c <= "\x9f" or "\u202a" <= c <= "\u202e"]
    assert not bad, shown
    assert "[bold red]" in shown


async def test_a_confirmation_shows_names_as_they_are(home, dashboard, text, until) -> None:
    app = dashboard(home)
    async with app.run_test(size=(120, 40)) as pilot:
        app.push_screen(ConfirmScreen("Remove [red]a[/red]?", "[b]b[/b] goes to the trash.", "Yes, [i]c[/i]"))
        await until(pilot, lambda: "trash" in text(app))
        shown = text(app)
        assert "Remove [red]a[/red]?" in shown
        assert "[b]b[/b] goes to the trash." in shown
        assert "Yes, [i]c[/i]" in shown


async def test_text_is_text_everywhere(tmp_path, dashboard, size, text, until) -> None:
    folders = [_run(tmp_path, "one"), _run(tmp_path, "two")]
    app = dashboard(tmp_path)
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.screen.query(RunTable) and len(app.screen.query_one(RunTable).rows) == 2)
        screens = []
        for keys in (
            ["space", "space"],  # the list, marked
            ["o", "o", "o", "o"],
            ["slash", *"red", "enter"],
            ["escape"],
            ["w"],  # where the result is
            ["escape", "x"],  # remove?
            ["n", "c"],  # compared, then every option
            ["a", "end"],
            ["escape", "escape", "enter"],  # one run: its log, notes, answers, options
            ["n"],
            ["a", "comma"],
            ["o"],
            ["l", "slash", *"2J"],
        ):
            await pilot.press(*keys)
            await pilot.pause(0.15)
            assert "[bold red]" in text(app) or "[2J" in text(app), (keys, text(app))
            screens.append(text(app))
        await pilot.press("escape", "escape")
        app.open_replay(folders[0])
        await pilot.press("end")
        await until(pilot, lambda: "replay ended" in text(app) and "[bold red]" in text(app))
        screens.append(text(app))
        await pilot.press("escape")
        app.notify(HOSTILE, title=HOSTILE, severity="error")
        await until(pilot, lambda: "[@click=app.detach]" in text(app))
        screens.append(text(app))
        await pilot.press("exclamation_mark")
        await pilot.pause(0.1)
        screens.append(text(app))
        assert app.is_running
        for screen_text in screens:
            _assert_harmless(screen_text)
