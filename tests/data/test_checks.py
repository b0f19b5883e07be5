"""The check of a dataset: each kind of finding from the row that causes it, and the figures beside them."""

import json
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example
from mg_tui.data import images, row_loader, token_count_cache
from mg_tui.data.checks import findings as findings_module
from mg_tui.data.checks.findings import KINDS, CheckReport, Finding, FindingCollector, Histogram
from mg_tui.data.checks.kinds import kinds_table
from mg_tui.data.checks.lengths import TextTokenCounts
from mg_tui.data.checks.runner import CheckLimits, run_checks
from mg_tui.data.row_loader import ReadOptions
from mg_tui.data.sources.opener import open_source
from mg_tui.data.token_count_cache import CachedTokenCounter


class WordCounter:
    """Counts a token for every word and image; the answer's are learned."""

    identity = "words"

    def __init__(self) -> None:
        self.examples_counted = 0

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        self.examples_counted += len(examples)
        return [self._one(example) for example in examples]

    def _one(self, example: Example) -> TextTokenCounts:
        said = " ".join(message.text for message in example.messages)
        if "forbidden" in said:
            return "the text has a forbidden word"
        learned = 0 if "unlearned" in said else len(example.response.split())
        return len(said.split()) + len(example.images), learned


def fake_image_tokens(width: int, height: int, least: int, most: int) -> int:
    """A token for 28 x 28 pixels, as Qwen2.5-VL."""
    if max(width, height) > 200 * min(width, height):
        raise DataError("the image is too long")
    return max(min(width * height, most), least) // 784


LIMITS = CheckLimits(100, 784, 28 * 28 * 64, token_counter=WordCounter(), count_image_tokens=fake_image_tokens)


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {"text": f"What is in {number}?", "image": "a.png", "response": f"A thing {number}.", **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random.seed(1)
    Image.effect_noise((140, 120), 80).convert("RGB").save(tmp_path / "a.png")
    return tmp_path


def run_check(
    folder: Path, *rows: Any, limits: CheckLimits = LIMITS, evaluation: Sequence[Any] = (), **read_options: Any
) -> CheckReport:
    def written(name: str, items: Sequence[Any]) -> Any:
        path = folder / name
        lines = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in items]
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return open_source(str(path), cwd=folder, cache=folder / "cache")

    reading = ReadOptions(cwd=folder, cache=folder / "cache", allow_private_urls=False, **read_options)
    other = (written("eval.jsonl", evaluation), reading) if evaluation else None
    return run_checks(written("data.jsonl", rows), reading, limits, evaluation=other)


def save_image(path: Path, size: tuple[int, int], mode: str = "RGB", **options: Any) -> None:
    Image.new(mode, size).save(path, **options)


def rows_with(report: CheckReport, kind: str) -> list[int]:
    """Rows of a kind of finding; they are the same however they are asked for."""
    listed = [finding.row for finding in report.findings if finding.kind == kind]
    assert list(report.rows_by_kind.get(kind, ())) == sorted(set(listed))
    assert report.counts.get(kind, 0) == len(listed)
    return listed


def test_a_good_dataset_has_figures_and_nothing_that_stops_a_run(folder: Path) -> None:
    report = run_check(folder, *(row(number) for number in range(12)))
    assert not report.blocks_run
    assert (report.rows, report.good_rows, report.images, report.image_uses) == (12, 12, 1, 12)
    assert report.formats == {"PNG": 1}
    assert report.image_locations == {"dataset folder": 12}
    # 140 x 120 pixels are 21 tokens; four words are asked and three answered.
    assert report.total_tokens is not None and report.total_tokens.counts == {21 + 7: 12}
    assert report.image_tokens is not None and report.image_tokens.counts == {21: 12}
    assert report.supervised_tokens is not None and report.supervised_tokens.counts == {3: 12}
    assert report.pixels.counts == {140 * 120: 1}
    assert not report.findings


@pytest.mark.parametrize(
    ("created", "kind", "said"),
    [
        (b"{oops", "row", "is invalid JSON"),
        (b'{"text": "\xff"}', "row", "is not UTF-8"),
        (row(text=None), "field", "is null"),
        ({"text": "x", "image": "a.png"}, "field", "is missing"),
        (row(image="none.png"), "image-missing", "does not exist"),
        (row(image="http://127.0.0.1/a.png"), "image-missing", "private or reserved address"),
        (row(image="http://169.254.169.254/latest/meta-data"), "image-missing", "private or reserved address"),
        (row(image="text.png"), "image-damaged", "is not a supported image"),
        (row(image="bomb.png"), "image-bomb", "claims 3,600,000,000 pixels"),
        (row(image="thread.png"), "image-shape", "too long"),
        (row(text="a forbidden word"), "template", "forbidden"),
        (row(text="unlearned"), "nothing-learned", "no supervised tokens"),
        (row(text="word " * 90), "too-long", "has 114 tokens, 21 of them for its image; the limit is 100"),
        (row(image="small.png"), "image-small", "30 x 30"),
        (row(image="long.png"), "image-ratio", "aspect ratio 9:1"),
        (row(image="large.png"), "image-large", "400 x 600"),
        (row(image="moving.gif"), "image-animated", "the first is used"),
        (row(image="print.jpg"), "image-mode", "CMYK"),
        (row(image="clear.png"), "image-mode", "transparent"),
        (row(image="deep.png"), "image-mode", "I;16"),
        (row(image="jpeg.png"), "image-ending", "is JPEG"),
        (row(text="It is a red cat on a mat, yes.", response="a red cat on a mat, yes"), "answer-in-question", "a red"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_kind_of_row(folder: Path, bomb: Path, created: Any, kind: str, said: str) -> None:
    (folder / "text.png").write_text("hello")
    save_image(folder / "thread.png", (4000, 12))
    save_image(folder / "small.png", (30, 30))
    save_image(folder / "long.png", (1080, 120))
    save_image(folder / "large.png", (400, 600))
    save_image(folder / "print.jpg", (150, 150), "CMYK")
    save_image(folder / "clear.png", (150, 150), "RGBA")
    save_image(folder / "deep.png", (150, 150), "I;16")
    save_image(folder / "jpeg.png", (150, 150), format="JPEG")
    frames = [Image.new("RGB", (150, 150), colour) for colour in ("red", "green")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    report = run_check(folder, row(1), created, row(3))
    assert rows_with(report, kind) == [2]
    (finding,) = [entry for entry in report.findings if entry.kind == kind]
    assert said in finding.what
    assert report.findings_of_row(2)[0].row == 2
    bad = KINDS[kind].severity == "error"
    assert report.blocks_run is bad
    assert report.good_rows == (2 if bad else 3)
    assert report.bad_rows() == ([2] if bad else [])


def test_pixels_are_looked_at_when_asked(folder: Path) -> None:
    Image.effect_noise((300, 300), 80).convert("RGB").save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:2000])
    assert not run_check(folder, row(image="cut.jpg")).blocks_run
    # What was seen of its header does not stand for its pixels.
    assert rows_with(run_check(folder, row(image="cut.jpg"), probe_depth="decode"), "image-damaged") == [1]


def test_repeats(folder: Path) -> None:
    shutil.copy(folder / "a.png", folder / "b.png")
    save_image(folder / "c.png", (140, 120))
    report = run_check(
        folder, row(1), row(2, image="b.png"), row(1), row(4, image="c.png"), row(1), row(6, image="b.png")
    )
    assert rows_with(report, "row-repeated") == [3, 5]
    assert {entry.what for entry in report.findings if entry.kind == "row-repeated"} == {"duplicates row 1"}
    assert rows_with(report, "image-repeated") == [2]
    assert '"b.png" has the same content as' in next(o.what for o in report.findings if o.kind == "image-repeated")


def test_the_answers_as_a_whole(folder: Path) -> None:
    save_image(folder / "b.png", (150, 150))
    rows = [row(0, text="Same?", image=["a.png", "b.png"][number % 2], response="no") for number in range(120)]
    report = run_check(folder, *rows)
    whole = {entry.kind: entry.what for entry in report.findings if entry.row == 0}
    assert whole["answers-alike"] == '100% of the rows are answered "no"'
    assert whole["questions-alike"] == '100% of the rows ask "Same?"'
    assert whole["answers-short"] == "100% of the answers have 3 characters or fewer"
    assert whole["few-images"] == "120 rows use only 2 images"
    assert run_check(folder, row(1)).counts == {"few-rows": 1}
    long = [row(number) for number in range(30)]
    report = run_check(folder, *long, row(31, response="word " * 1000), limits=CheckLimits(50, 784, 10**6))
    assert rows_with(report, "answer-outlier") == [31]


def test_a_short_answer_that_is_offered_is_no_leak(folder: Path) -> None:
    assert not rows_with(run_check(folder, row(text="Is it red or blue?", response="red")), "answer-in-question")


def test_overlap_with_the_evaluation_dataset(folder: Path) -> None:
    save_image(folder / "b.png", (150, 150))
    save_image(folder / "c.png", (160, 160))
    Image.effect_noise((160, 160), 80).save(folder / "d.png")
    shutil.copy(folder / "d.png", folder / "other name.png")
    rows = [row(1), row(2), row(3, image="b.png"), row(4, image="c.png"), row(5, image="d.png")]
    evaluation = [row(1), row(9, image="./b.png"), row(10, image="other name.png")]
    report = run_check(folder, *rows, evaluation=evaluation)
    said = {entry.row: entry.what for entry in report.findings if entry.kind == "eval-overlap"}
    assert said == {
        1: "the row is also in the evaluation dataset",
        2: 'its image "a.png" is also in the evaluation dataset',
        3: 'its image "b.png" is also in the evaluation dataset',
        5: 'its image "d.png" is also in the evaluation dataset',
    }


def test_the_remedies_say_how_many_rows_each_saves(folder: Path) -> None:
    save_image(folder / "wide.png", (280, 168))  # 60 tokens
    save_image(folder / "big.png", (700, 700))  # 64 at most
    rows = [row(1, image="wide.png"), row(2, image="big.png"), row(3, text="word " * 80), row(4)]
    limits = CheckLimits(50, 784, 28 * 28 * 64, token_counter=WordCounter(), count_image_tokens=fake_image_tokens)
    report = run_check(folder, *rows, limits=limits)
    assert rows_with(report, "too-long") == [1, 2, 3]
    saved = {remedy.flags: remedy.rows_saved for remedy in report.suggestions}
    # At half the pixels both images have 32 tokens and their rows 39; at three quarters 48, and 55.
    assert saved["--max-pixels 25088"] == 2
    assert "--max-pixels 37632" not in saved
    assert saved["--max-seq-length 128"] == 3
    assert saved["--on-bad-row skip"] == 0
    hint = next(entry.hint for entry in report.findings if entry.row == 1 and entry.kind == "too-long")
    assert hint is not None and "--max-pixels 25088" in hint and "--max-seq-length to 67" in hint and "skip" in hint


def test_text_is_counted_once_and_then_only_what_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = WordCounter()

    def again(*rows: Any) -> int:
        counter = CachedTokenCounter(words, folder / "cache", "data.jsonl")
        before = words.examples_counted
        limits = CheckLimits(50, 784, 28 * 28 * 64, token_counter=counter, count_image_tokens=fake_image_tokens)
        report = run_check(folder, *rows, limits=limits)
        assert report.total_tokens is not None and report.total_tokens.total == len(rows)
        counter.save()
        return words.examples_counted - before

    rows = [row(number) for number in range(300)]
    assert again(*rows) == 300
    assert again(*rows) == 0
    assert again(row(1000), *rows[5:]) == 1
    assert again(*rows) == 0  # the check may have been stopped: what it did not ask for is kept
    (counts_file,) = (folder / "cache" / "tokens").iterdir()
    assert counts_file.stat().st_size == 48 + 16 * 301
    monkeypatch.setattr(token_count_cache, "_MAX_STALE_COUNTS", 0)
    assert again(row(2000), *rows[:5]) == 1
    assert counts_file.stat().st_size == 48 + 16 * 6  # of much that nobody asks for nothing stays
    assert again(*rows) == 295
    counts_file.write_bytes(counts_file.read_bytes()[:-1])
    assert again(*rows) == 300


def test_a_change_of_pixels_needs_no_second_count(folder: Path) -> None:
    counter = CachedTokenCounter(WordCounter(), folder / "cache", "x")
    totals = []
    for most in (784 * 64, 784 * 4):
        report = run_check(
            folder,
            row(1),
            limits=CheckLimits(50, 784, most, token_counter=counter, count_image_tokens=fake_image_tokens),
        )
        assert report.total_tokens is not None
        totals.append(report.total_tokens.largest)
    assert totals == [28, 11]


def test_unchanged_images_are_not_opened_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mg_tui.data import image_probe

    opened: list[str] = []
    real = images.probe_image

    def probe(path: str | Path) -> images.ImageInfo:
        opened.append(str(path))
        return real(path)

    monkeypatch.setattr(image_probe, "probe_image", probe)
    for expected in (1, 0):
        opened.clear()
        run_check(folder, row(1), row(2))
        assert len(opened) == expected
    save_image(folder / "a.png", (20, 20))
    assert rows_with(run_check(folder, row(1)), "image-small") == [1]
    assert len(opened) == 1


def test_without_a_model_lengths_are_left_open(folder: Path) -> None:
    report = run_check(folder, row(1, text="word " * 5000), limits=CheckLimits(50, 784, 50176))
    assert report.total_tokens is None
    assert not report.blocks_run
    unknown = run_check(folder, row(1), limits=CheckLimits(50, 784, 50176, token_counter=WordCounter()))
    assert unknown.counts["tokens-unknown"] == 1
    assert unknown.image_tokens is None


def test_a_check_can_be_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_loader, "_BATCH_ROWS", 4)
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(40)))
    calls: list[tuple[int, int]] = []
    source = open_source(str(path), cwd=folder, cache=None)
    report = run_checks(
        source, ReadOptions(cwd=folder), LIMITS, progress=lambda *now: calls.append(now), stop=lambda: len(calls) >= 2
    )
    assert not report.complete
    assert report.rows == 8
    assert all(total == path.stat().st_size for _done, total in calls)
    assert [done for done, _total in calls] == sorted(done for done, _total in calls)


def test_findings_are_kept_in_bounded_memory_and_rows_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings_module, "MAX_FINDINGS_PER_KIND", 10)
    collector = FindingCollector()
    for number in range(1, 1001):
        assert collector.add([Finding(number, "too-long", None, "x")])
    assert not collector.add([Finding(5, "image-small", None, "x")])
    assert collector.counts == {"too-long": 1000, "image-small": 1}
    assert len(collector.findings) == 11
    report = CheckReport("x", 1000, 0, 0, 0, collector.findings, collector.counts, collector.rows_by_kind)
    assert report.bad_rows() == list(range(1, 1001))
    assert [entry.kind for entry in report.findings_of_row(700)] == ["too-long"]
    assert [entry.kind for entry in report.findings_of_row(5)] == ["too-long", "image-small"]
    assert report.findings_of_row(2000) == []
    json.dumps(report.as_dict())


def test_a_histogram() -> None:
    histogram = Histogram()
    for value in (1, 2, 2, 3, 10):
        histogram.add(value)
    assert [histogram.percentile(share) for share in (0.0, 0.2, 0.5, 0.8, 1.0)] == [1, 1, 2, 3, 10]
    assert histogram.bins([2, 5]) == [1, 3, 1]
    assert (histogram.total, histogram.largest, Histogram().largest, Histogram().percentile(0.5)) == (5, 10, 0, 0)


def test_the_docs_have_every_kind_and_every_tip() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "checks.md").read_text(encoding="utf-8")
    assert kinds_table() in text
    tips = text.split("## The guide's tips")[1].split("## ")[0]
    calls = set(re.findall(r"`([a-z]+-[a-z-]+)`", tips))
    assert calls <= KINDS.keys()
    assert calls == {name for name, kind in KINDS.items() if kind.tip}


def test_every_kind_is_described() -> None:
    for name, kind in KINDS.items():
        assert name.replace("-", "").isalpha()
        assert kind.title and kind.why.endswith(".")
    assert {kind.tip for kind in KINDS.values() if kind.tip} == {"Image quality", "Data diversity", "Response quality"}
