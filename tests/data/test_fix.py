"""A repaired dataset: good rows as they were, what can be repaired repaired, and the rest aside with its reasons."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import UsageError
from mg_tui.core.example import Example
from mg_tui.data.checks import findings
from mg_tui.data.checks.runner import CheckLimits, run_checks
from mg_tui.data.fix import FixResult, fix_dataset
from mg_tui.data.row_loader import ReadOptions
from mg_tui.data.sources.opener import open_source

LIMITS = CheckLimits(2048, 784, 10**6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("A.png", "b.png", "two.png", "TWO.png"):
        Image.new("RGB", (150, 150), (name[0] == "A" and "red") or "blue").save(tmp_path / "images" / name)
    return tmp_path


def row(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {"text": f"Question {number}?", "image": "images/A.png", "response": f"Answer {number}.", **changes}


def run_fix(
    folder: Path, *rows: Any, out: str = "fixed.jsonl", limits: CheckLimits = LIMITS
) -> tuple[FixResult, list[Any], list[Any]]:
    path = folder / "data.jsonl"
    path.write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    reading = ReadOptions(cwd=folder, cache=folder / "cache")
    source = open_source(str(path), cwd=folder, cache=folder / "cache")
    done = fix_dataset(source, reading, limits, folder / out, force=True)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    written = [json.loads(line) for line in (folder / out).read_text().splitlines()]
    aside = [json.loads(line) for line in done.rejects.read_text().splitlines()] if done.rejects else []
    assert (done.rows_written, done.rows_rejected) == (len(written), len(aside))
    again = run_checks(open_source(str(folder / out), cwd=folder, cache=None), reading, limits) if written else None
    assert again is None or not again.blocks_run
    assert not list(folder.glob(".*"))
    return done, written, aside


def test_good_rows_stay_byte_for_byte(folder: Path) -> None:
    odd = b'{"text":"a",   "image": null, "response": "\\u00e9", "id": 1e2}'
    done, written, aside = run_fix(folder, odd, row(2))
    assert (folder / "fixed.jsonl").read_bytes() == (folder / "data.jsonl").read_bytes()
    assert (done.rows_repaired, done.rejects, aside) == (0, None, [])
    assert len(written) == 2


@pytest.mark.parametrize(
    ("created", "field", "repaired"),
    [
        (row(response=42), "response", "42"),
        (row(response=1.5), "response", "1.5"),
        (row(text="a\ud83db"), "text", "ab"),
        (row(text="a\ufdd1b"), "text", "ab"),
        (row(image=" images/A.png\n"), "image", "images/A.png"),
        (row(image="images\\A.png"), "image", "images/A.png"),
        (row(image="images/a.PNG"), "image", "images/A.png"),
        (row(image=["images/a.png", "images/b.png"]), "image", ["images/A.png", "images/b.png"]),
    ],
)
def test_what_can_be_repaired_is(folder: Path, created: dict[str, Any], field: str, repaired: Any) -> None:
    done, written, _aside = run_fix(folder, row(1), {**created, "kept": "as it is"}, row(3))
    assert done.rows_repaired == 1
    assert written[1] == {**created, "kept": "as it is", field: repaired}


def test_turns_are_repaired_too(folder: Path) -> None:
    turns = [{"role": "user", "content": "how many <image>?"}, {"role": "assistant", "content": 3}]
    done, written, _aside = run_fix(folder, {"messages": turns, "images": ["images/a.png"]})
    assert done.rows_repaired == 1
    assert written[0]["messages"][1]["content"] == "3"
    assert written[0]["images"] == ["images/A.png"]


class CharacterCounter:
    identity = "long"

    def count(self, examples: Sequence[Example]) -> list[Any]:
        return [(len(example.response), 1) for example in examples]


def test_the_rest_is_aside_with_its_reasons(folder: Path) -> None:
    bad = [
        b"\xff\xfe",
        row(2, image="none.png"),
        row(3, image="images/Two.png"),  # two files could be meant
        row(4, response=" "),
        row(5, response=True),
        row(6, response="x" * 5000),
        row(7, image="../../../../etc/passwd"),
    ]
    limits = CheckLimits(2048, 784, 10**6, token_counter=CharacterCounter())
    done, written, aside = run_fix(folder, row(1), *bad, row(1), limits=limits)
    assert [item["text"] for item in written] == ["Question 1?"]
    assert done.duplicates_dropped == 1
    assert [item["row"] for item in aside] == [2, 3, 4, 5, 6, 7, 8, 9]
    reasons = {item["row"]: item["problems"][0]["what"] for item in aside}
    assert "is not UTF-8" in reasons[2]
    assert "does not exist" in reasons[3] and "does not exist" in reasons[4]
    assert reasons[5] == "is empty"
    assert "is true" in reasons[6]
    assert reasons[7] == "has 5,000 tokens; the limit is 2,048"
    assert "is not" in reasons[8] or "does not exist" in reasons[8]
    assert reasons[9] == "duplicates row 1"
    lines = (folder / "data.jsonl").read_bytes().split(b"\n")
    for item in aside:
        assert item["raw"].encode("utf-8", "surrogateescape") == lines[item["row"] - 1]


def test_reasons_are_told_of_every_row_however_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MAX_FINDINGS_PER_KIND", 3)
    rows = [row(number, image=f"none {number}.png") for number in range(20)]
    _done, _written, aside = run_fix(folder, row(99), *rows, *[row(99)] * 9)
    assert [item["problems"][0]["what"][:12] for item in aside[:20]] == [f'"none {n}.png"'[:12] for n in range(20)]
    assert [item["problems"][0]["what"] for item in aside[20:]] == ["duplicates row 1"] * 3 + ["duplicate row"] * 6


def test_paths_lead_to_the_same_images_from_another_folder(folder: Path) -> None:
    _done, written, _aside = run_fix(folder, row(1), row(2, image=["images/b.png", None][:1]), out="other/fixed.jsonl")
    assert written[0]["image"] == str(folder / "images" / "A.png")
    assert written[1]["image"] == [str(folder / "images" / "b.png")]


def test_what_is_in_the_way_stays(folder: Path) -> None:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(row(1)) + "\n")
    source = open_source(str(path), cwd=folder, cache=None)
    (folder / "there.jsonl").write_text("mine")
    (folder / "link.jsonl").symlink_to(path)
    for out, force, expected in (
        ("there.jsonl", False, "already exists"),
        ("data.jsonl", True, "never modified"),
        ("link.jsonl", True, "never modified"),
        ("images", True, "is a folder"),
    ):
        with pytest.raises(UsageError, match=expected):
            fix_dataset(source, ReadOptions(cwd=folder), LIMITS, folder / out, force=force)
    assert (folder / "there.jsonl").read_text() == "mine"
    assert path.read_text() == json.dumps(row(1)) + "\n"


def test_nothing_half_written_is_left_when_it_is_broken_off(folder: Path) -> None:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(row(1)) + "\n")

    class Broken:
        identity = "x"

        def count(self, examples: Sequence[Example]) -> list[Any]:
            raise KeyboardInterrupt

    source = open_source(str(path), cwd=folder, cache=None)
    with pytest.raises(KeyboardInterrupt):
        fix_dataset(
            source, ReadOptions(cwd=folder), CheckLimits(9, 784, 10**6, token_counter=Broken()), folder / "fixed.jsonl"
        )
    assert sorted(item.name for item in folder.iterdir()) == ["data.jsonl", "images"]
