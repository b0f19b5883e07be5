"""The pages: what they show, and that nothing of a run, a dataset or a model becomes HTML."""

import asyncio
import base64
import contextlib
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from mg_tui.api.pages.changes import CHANGED_FRAME, PageChanges, mark_of, mark_of_all
from mg_tui.api.pages.charts import make_chart
from mg_tui.api.pages.content import run_page
from mg_tui.core.errors import UsageError
from mg_tui.runs.annotations import rename, set_note
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalWriter
from mg_tui.runs.lock import RunLock
from mg_tui.runs.store import summarize_run

NAN = float("nan")
HOSTILE = (
    "</style></script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}${alert(1)}",
    "\u202egnp.exe\u0000\x1b[2J",
    "<!--<iframe srcdoc='<script>alert(1)</script>'>",
)
ELEMENTS = set(
    "html head meta title style body nav a strong span form button input main h1 h2 h4 p section table thead tbody tr"
    " th td svg rect dl dt dd div figure figcaption path polyline article em pre code ul li script label".split()
)


class Page(HTMLParser):
    """Elements, attributes and texts of a page; fails for what no page of ours has."""

    def __init__(self, text: str):
        super().__init__()
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.links: list[str] = []
        self.count: dict[str, int] = {}
        self._in: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS, tag
        self.count[tag] = self.count.get(tag, 0) + 1
        self._in.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("style", "src", "srcdoc"), (tag, name)
            if name in ("href", "action"):
                assert value is not None and value.startswith("/") and not value.startswith("//"), value
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._in.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        place = self._in[-1] if self._in else ""
        if place != "style":
            (self.scripts if place == "script" else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def shown(client: Any, path: str, status: int = 200) -> Page:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), answer.text
    page = Page(answer.text)
    assert len(page.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in answer.headers["content-security-policy"]
    return page


def add(folder: RunFolder, *events: tuple[str, dict[str, Any]]) -> None:
    with RunLock(folder.lock_file), JournalWriter(folder.journal_file) as journal:
        for kind, values in events:
            journal.write(kind, **values)


def test_a_garden_without_runs(client) -> None:
    page = shown(client, "/")
    assert "No runs yet." in page.text and "model-garden train-vision" in page.text and "table" not in page.count


def test_the_list_has_state_progress_and_pages(client, make_run) -> None:
    for number in range(53):
        make_run(f"run {number}", steps=number % 3 + 1)
    make_run("half", steps=2, end="stopped")
    page = shown(client, "/")
    assert page.text.count("finished") == 49 + 1 and "53 finished, 1 stopped" in page.text
    assert "half" in page.text and "run 52" in page.text and "run 3" not in page.text.split("run 4 ")[-1]
    (older,) = [link for link in page.links if "after=" in link]
    rest = shown(client, older)
    assert [name for name in ("run 0", "run 1", "run 2", "run 3") if f"{name} " in rest.text] == [
        "run 0",
        "run 1",
        "run 2",
        "run 3",
    ]
    assert "/?filter=" in rest.links
    found = shown(client, "/?filter=half")
    assert "1 of 54 match “half”" in found.text and "run 1 " not in found.text


def test_a_run_has_curves_samples_checkpoints_and_warnings(client, make_run) -> None:
    folder = make_run("receipts", steps=4, end=None)
    add(
        folder,
        ("eval", {"step": 4, "loss": 0.5, "seconds": 1, "examples": 2}),
        ("sample", {"step": 4, "row": 3, "prompt": "What is it?", "answer": "A <b>cat</b>", "expected": "a cat"}),
        ("sample", {"step": 4, "row": 4, "prompt": "And this?", "answer": "", "expected": None}),
        ("checkpoint", {"step": 4, "path": "checkpoints/4", "bytes": 3 << 30, "seconds": 1, "eval_loss": 0.5}),
        ("warning", {"what": "slow", "where": "row 2", "why": "large image"}),
        ("finished", {"steps": 4}),
    )
    page = shown(client, f"/runs/{folder.id}")
    for text in ("receipts", "finished", "4 / 4", "loss 0.25", "● held-out rows", "learning rate", "tokens per second"):
        assert text in page.text, text
    for text in ("What is it?", "A <b>cat</b>", "a cat", "after step 4 · row 3", "And this?", "empty", "3.0 GiB"):
        assert text in page.text, text
    assert "row 2: slow: large image" in page.text and "2 of 2, newest first" in page.text
    assert page.count["polyline"] >= 3 and page.count["article"] == 2
    assert page.text.index("And this?") < page.text.index("What is it?")


def test_a_run_that_failed_says_why_without_paths_of_the_machine(client, make_run) -> None:
    folder = make_run("bad", end=None)
    error = {"what": "The image cannot be read.", "where": "/etc/private/a.png", "why": "truncated", "hint": "mend it"}
    add(folder, ("failed", {**error, "step": 2}))
    page = shown(client, f"/runs/{folder.id}")
    assert "failed at step 2: The image cannot be read." in page.text and "truncated" in page.text
    assert "mend it" in page.text and "model-garden runs" in page.text
    assert "/etc/private" not in page.text and "(a path)" in page.text


def test_a_run_that_is_not_there(client) -> None:
    page = shown(client, "/runs/20261130-999999-zzzz", 404)
    assert "There is no run 20261130-999999-zzzz." in page.text
    assert client.get("/runs/20261130-999999-zzzz/live").status_code == 404


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_runs_datasets_and_models_stay_texts(client, make_run, text) -> None:
    folder = make_run(text[:80], end=None, dataset=f"data/{text}".replace("\x00", ""))
    with contextlib.suppress(UsageError):  # no name that a person can give; the one of its spec stays
        rename(folder, text[:80])
    set_note(folder, text)
    add(
        folder,
        ("phase", {"name": text, "detail": text}),
        ("sample", {"step": 1, "row": 1, "prompt": text, "answer": text, "expected": text}),
        ("warning", {"what": text, "where": text, "why": text, "hint": text}),
        ("failed", {"what": text, "where": text, "why": text, "hint": text, "rows": [text], "images": [text]}),
    )
    folder.log_file.write_text(text + "\n")
    query = {"filter": text.replace("\x00", "")}
    pages = [shown(client, "/"), shown(client, f"/runs/{folder.id}"), Page(client.get("/", params=query).text)]
    expected = re.sub("[\x00-\x1f\u202e]", "\N{REPLACEMENT CHARACTER}", text)
    assert expected[:60] in pages[0].text
    assert pages[1].text.count(expected) >= 7, pages[1].text
    for page in pages:
        assert page.count.get("script") == 1 and "img" not in page.count
        assert not re.search("[\x00-\x08\x1b\u202e]", page.text)


def test_signing_in_by_the_form_and_out(remote, store) -> None:
    page = shown(remote, "/login")
    assert "model-garden tokens create phone --scope read" in page.text and "/login" in page.links
    form = {"Origin": "http://localhost:8000"}
    wrong = remote.post("/login", data={"token": '"><script>'}, headers=form)
    assert wrong.status_code == 401 and "unknown or was revoked" in Page(wrong.text).text
    assert remote.post("/login", content=b"%ff&" * 9, headers={**form, "Content-Type": FORM}).status_code == 400
    answer = remote.post(
        "/login", data={"token": f" {store.create('phone', 'read')}\n"}, headers=form, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    remote.headers["Cookie"] = answer.headers["set-cookie"].partition(";")[0]
    assert "No runs yet." in shown(remote, "/").text
    out = remote.post("/logout", headers={**form, "Content-Type": FORM}, follow_redirects=False)
    assert (out.status_code, out.headers["location"]) == (303, "/login") and "Max-Age=0" in out.headers["set-cookie"]
    assert remote.get("/").status_code == 401
    sent_on = remote.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/login")


FORM = "application/x-www-form-urlencoded"


def test_pages_that_are_open_hear_of_changes(garden, make_run, monkeypatch) -> None:
    monkeypatch.setattr("mg_tui.api.pages.changes._LOOK_SECONDS", 0.02)
    first, other = make_run("one", end=None), make_run("two", end=None)

    def runs() -> list[Any]:
        return garden.list(RunFolder)

    async def watch() -> None:
        changes = PageChanges(runs)
        marks = {run.id: mark_of(run) for run in runs()}
        streams = {
            "list": changes.follow(None, mark_of_all(runs())),
            "first": changes.follow(first.id, marks[first.id]),
            "other": changes.follow(other.id, marks[other.id]),
            "late": changes.follow(first.id, "0" * 16),
        }
        for stream in streams.values():
            assert b"retry:" in await anext(stream)
        waiting = {name: asyncio.ensure_future(anext(stream)) for name, stream in streams.items()}
        assert await asyncio.wait_for(waiting.pop("late"), 60) == CHANGED_FRAME
        assert not any(task.done() for task in waiting.values())
        add(first, ("step", {"step": 4, "loss": 0.2}))
        for name in ("list", "first"):
            assert await asyncio.wait_for(waiting.pop(name), 60) == CHANGED_FRAME
        assert not waiting["other"].done()
        set_note(other, "new")
        assert await asyncio.wait_for(waiting.pop("other"), 60) == CHANGED_FRAME
        for stream in streams.values():
            await stream.aclose()
        assert changes._task is None

    asyncio.run(watch())


def test_a_page_knows_the_mark_of_what_it_shows(client, garden, make_run) -> None:
    folder = make_run(end=None)
    for path, marked in (("/", mark_of_all), (f"/runs/{folder.id}", lambda runs: mark_of(runs[0]))):
        text = client.get(path).text
        (live,) = re.findall(r'data-live="([^"]*)"', text)
        assert live.endswith(f"?mark={marked(garden.list(RunFolder))}")
    add(folder, ("finished", {"steps": 3}))
    assert f"mark={mark_of(garden.list(RunFolder)[0])}" in client.get(f"/runs/{folder.id}").text
    assert "finished" in shown(client, f"/runs/{folder.id}").text  # from the same reader, with what is new


def test_charts_keep_spikes_and_show_gaps() -> None:
    values = [1.0] * 5000
    values[1234], values[2000], values[4321] = 9.0, NAN, -3.0
    chart = make_chart("loss", range(5000), values, marks=[(100, 2.0), (4999, NAN)], marks_title="held-out")
    assert chart is not None
    assert (chart.low, chart.high, chart.last, chart.missing) == ("-3", "9", "1", 1)
    assert len(chart.lines) == 2 and len(chart.marks) == 1
    points = [tuple(map(float, point.split(","))) for line in chart.lines for point in line.split()]
    assert len(points) <= 700 and {y for _, y in points} >= {6.0, 174.0}
    assert all(0 <= x <= 600 and 6 <= y <= 174 for x, y in points)
    assert make_chart("x", [], []) is None and make_chart("x", [1, 2], [NAN, NAN]) is None
    one = make_chart("x", [7], [3.0])
    assert one is not None and len(one.lines[0].split()) == 2
    late = make_chart("x", [1, 2, 3], [NAN, 2.0, float("inf")])
    assert late is not None and late.missing == 2


def test_a_page_reads_nothing_of_a_machine_but_the_run(garden, make_run) -> None:
    """Images of samples are not in the page, whoever made the run."""
    folder = make_run(end=None)
    add(folder, ("sample", {"step": 1, "row": 1, "image": "/etc/shadow", "prompt": "?", "answer": "x"}))
    assert "/etc/shadow" not in repr(run_page(summarize_run(folder), garden.paths))
