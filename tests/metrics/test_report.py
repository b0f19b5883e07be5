"""The report: one file that loads nothing, whatever datasets and models have written into it."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import EnvironmentProblem, UsageError
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.report import Limits, write_report
from mg_tui.metrics.report.thumbnails import Thumbnails, thumbnail
from mg_tui.metrics.results import AnsweredRow, Results, ResultsWriter, read_results

REGISTRY = load_metrics()
HOSTILE = (
    "</style><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' {{ 7919 * 7907 }} \x1b[31m \u202e evil"
)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def cards(self, kind: str) -> int:
        return sum(kind in (attributes.get("class") or "").split() for attributes in self.of("article"))


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    Image.new("RGB", (1600, 1200), "red").save(path)
    return str(path)


def results(folder: Path, answers: list[str], image: str, **fields: Any) -> Results:
    numbers = range(1, len(answers) + 1)
    with ResultsWriter(folder, {"model": folder.name, "dataset": "d.jsonl"}) as writer:
        for number, answer in zip(numbers, answers, strict=True):
            row = AnsweredRow(number, f"Question {number}?", answer, ("yes",), (image,), {"kind": "ab"[number % 2]})
            writer.add(replace(row, **fields))
        writer.finish(REGISTRY.named(["accuracy", "cer"]), rows=numbers, reason="Because of the data.")
    return read_results(folder)


def page(path: Path, *args: Any, **kwargs: Any) -> tuple[Page, str]:
    write_report(path, *args, registry=REGISTRY, **kwargs)
    text = path.read_text(encoding="utf-8")
    return Page(text), text


def test_one_evaluation(tmp_path: Path, image: str) -> None:
    found, text = page(
        tmp_path / "out" / "report.html", results(tmp_path / "tuned", ["yes"] * 30 + ["no", ""] * 5, image)
    )
    assert "tuned – evaluation" in text
    for said in ("Accuracy: 0.750", "accuracy@1", "cer@1", "less is better", "Because of the data.", "d.jsonl", "kind"):
        assert said in found.text
    assert "5 of 40 answers are empty; they count as wrong." in found.text
    assert found.cards("card") == 40
    assert re.findall(r"row (\d+)", found.text)[:2] == ["31", "32"]  # the worst first
    assert "Under 30 independent rows no difference" in found.text  # one image in all
    assert found.of("input") == []


def test_a_comparison(tmp_path: Path, image: str) -> None:
    before = results(tmp_path / "base", ["no"] * 20 + ["yes"] * 20, image)
    after = results(tmp_path / "tuned", ["yes"] * 38 + ["no"] * 2, image)
    found, _text = page(tmp_path / "r.html", after, before=before, limits=Limits(rows=5))
    assert "base → tuned" in found.text
    assert "fixed (5 of 20)" in " ".join(found.text.split())
    assert "broken (2)" in found.text
    assert "too few rows" in found.text
    assert (found.cards("worst"), found.cards("fixed"), found.cards("broken")) == (5, 5, 2)
    assert [one["id"] for one in found.of("input")] == ["show-worst", "show-fixed", "show-broken"]
    other = results(tmp_path / "other", ["yes"] * 39, image)
    with pytest.raises(UsageError, match="different rows"):
        write_report(tmp_path / "r.html", other, before=before, registry=REGISTRY)


def test_facts_are_listed_once_and_name_no_folder_and_nothing_that_is_not_there(tmp_path: Path, image: str) -> None:
    one = results(tmp_path / "one", ["yes"] * 3, image)
    base = replace(one, spec={"model": "tiny", "base_model": None, "dataset": "/secret/d.jsonl", "rows": 3})
    tuned = replace(one, spec={"model": "model", "base_model": "tiny", "dataset": "/secret/d.jsonl", "rows": 3})
    found, text = page(tmp_path / "r.html", tuned, before=base, title="kjav-demo")
    assert "kjav-demo – evaluation" in text and "tiny → model" in found.text
    assert "d.jsonl" in found.text and "/secret" not in text
    assert "null" not in found.text and text.count("<dt>rows</dt>") == 1


def test_the_page_loads_nothing(tmp_path: Path, image: str) -> None:
    found, text = page(tmp_path / "r.html", results(tmp_path / "m", ["yes", "no"], image))
    (policy,) = [one["content"] for one in found.of("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    style = text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "script-src" not in policy and "unsafe" not in policy
    assert found.of("script") == found.of("link") == found.of("iframe") == []
    assert "http:" not in text and "https:" not in text
    assert all("style" not in attributes for _tag, attributes in found.tags)  # the policy would drop it


def test_whatever_is_written_is_text(tmp_path: Path, image: str) -> None:
    hostile = results(
        tmp_path / "m",
        [HOSTILE, "yes"],
        image,
        question=HOSTILE,
        columns={HOSTILE: HOSTILE, "kind": HOSTILE},
        error=HOSTILE,
    )
    clean, _ = page(tmp_path / "clean.html", results(tmp_path / "n", ["x", "yes"], image, error="x"))
    found, text = page(tmp_path / "r.html", replace(hostile, spec={"model": HOSTILE, HOSTILE: HOSTILE}), title=HOSTILE)
    allowed = {tag for tag, _attributes in clean.tags}
    assert {tag for tag, _attributes in found.tags} <= allowed
    assert not any(name.startswith("on") for _tag, attributes in found.tags for name in attributes)
    assert all((one["src"] or "").startswith("data:image/jpeg;base64,") for one in found.of("img"))
    assert "\x1b" not in text and "\u202e" not in text
    assert "{{ 7919 * 7907 }}" in found.text and "62615533" not in text  # a template in an answer is no template
    assert "<script>alert(1)</script>" in found.text


def test_images_are_small_and_within_a_budget(tmp_path: Path, image: str) -> None:
    small = thumbnail(image)
    with Image.open(io.BytesIO(small)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (320, 240))
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (20, 10), (0, 0, 0, 0)).save(clear)
    with Image.open(io.BytesIO(thumbnail(str(clear)))) as opened:
        assert opened.getpixel((5, 5)) == (255, 255, 255)
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(turned, exif=exif)
    with Image.open(io.BytesIO(thumbnail(str(turned)))) as opened:
        assert opened.size == (20, 40)
    pages = Thumbnails(len(small))
    assert (pages.of(image)[0] or "").startswith("data:image/jpeg;base64,")
    assert pages.of(image)[0] is not None  # made once, counted once
    source, name = pages.of(str(clear))
    assert source is None and "as many images as it may" in name


def test_an_image_that_cannot_be_shown_is_said(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    vector = tmp_path / "v.eps"
    vector.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    for path in (str(bad), str(vector), str(tmp_path / "gone.png"), str(tmp_path), "", "\0"):
        source, name = Thumbnails(10**6).of(path)
        assert source is None and "cannot be shown" in name
    found, _text = page(tmp_path / "r.html", results(tmp_path / "m", ["yes"], str(tmp_path / "gone.png")))
    assert found.of("img") == []
    assert "gone.png (cannot be shown" in found.text
    assert str(tmp_path) not in found.text  # whose machine it was is nobody's business


def test_every_metric_can_stand_in_a_report(tmp_path: Path, image: str) -> None:
    with ResultsWriter(tmp_path / "m", {"model": "m"}) as writer:
        for number in range(1, 61):
            answer = '{"a": 1, "b": [1, 2]}' if number % 2 else ""
            writer.add(AnsweredRow(number, "?", answer, ('{"a": 1, "b": [1, 3]}',) * 4, (f"{number}.png",)))
        usable = [metric for metric in REGISTRY.metrics if metric.reference in ("text", "json", "label")]
        writer.finish(usable, rows=range(1, 61))
    done = read_results(tmp_path / "m")
    found, _text = page(tmp_path / "r.html", done, before=done)
    for metric in usable:
        assert metric.label in found.text
    assert "JSON fields, worst first" in found.text and "b[]" in found.text
    assert "Confusion matrix" in found.text


def test_a_report_that_cannot_be_written(tmp_path: Path, image: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="report cannot be written"):
        write_report(tmp_path / "file" / "r.html", results(tmp_path / "m", ["yes"], image), registry=REGISTRY)
