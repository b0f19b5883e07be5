"""Results on disk: nothing is answered twice, nothing is lost, and the same answers end as the same bytes."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import DataError, EnvironmentProblem, RunFailed, UsageError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.metrics import BoxFrame
from mg_tui.metrics.registry import load_metrics, make_registry
from mg_tui.metrics.results import AnsweredRow, ResultsWriter, compare_results, read_answers, read_results
from mg_tui.metrics.results.records import parse_row

SPEC = {"model": "tiny", "dataset": "shapes.jsonl", "split": "validation", "limit": None}
METRICS = load_metrics().named(["exact_match_folded", "anls"])


def row(number: int, answer: str = "circle", **fields: Any) -> AnsweredRow:
    values: dict[str, Any] = {
        "question": "Which shape?",
        "references": ("circle",),
        "images": (f"/data/{number // 2}.png",),
        "columns": {"kind": "even" if number % 2 == 0 else "odd", "size": number},
        "timing": {"seconds": random.random()},
    }
    return AnsweredRow(number, answer=answer, **{**values, **fields})


def written(folder: Path, rows: list[AnsweredRow], spec: dict[str, Any] = SPEC) -> Path:
    with ResultsWriter(folder, spec) as writer:
        for one in rows:
            writer.add(one)
        writer.finish(METRICS, rows=[one.row for one in rows], reason="Because.")
    return folder


def final_bytes(folder: Path) -> dict[str, str]:
    names = ("evaluation.json", "rows.jsonl", "rows.parquet", "summary.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [row(number, "circle" if number % 3 else "square") for number in range(1, 41)]
    rows[4] = replace(rows[4], answer="", error="the image cannot be read", boxes=BoxFrame(image=(3, 4)))
    results = read_results(written(tmp_path / "e", rows))
    assert results.rows == tuple(replace(one, timing={}) for one in rows)
    assert results.spec == SPEC
    assert results.metric_names == ["exact_match_folded", "anls"]
    summary = results.summary
    assert (summary["rows"], summary["independent_rows"]) == (40, 21)
    assert (summary["empty_answers"], summary["rows_with_errors"]) == (1, 1)
    assert summary["metrics_reason"] == "Because."
    first = summary["metrics"][0]
    assert (first["name"], first["version"], first["score"]) == ("exact_match_folded", "1", 26 / 40)
    assert first["low"] < 26 / 40 < first["high"]
    assert [group["value"] for group in summary["groups"]["kind"]] in (["even", "odd"], ["odd", "even"])
    assert results.worst_first("anls")[0] == 2  # row 3 is the first wrong one
    assert results.evaluate(METRICS).of("anls").values == results.scores["anls"]


def test_the_table_has_what_the_rows_have(tmp_path: Path) -> None:
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    folder = written(tmp_path, [row(1, columns={"a": 1, "b": "x"}), row(2, "", columns={"a": 2, "b": [1]})])
    table = pq.read_table(folder / "rows.parquet").to_pydict()
    assert table["row"] == [1, 2]
    assert table["answer"] == ["circle", ""]
    assert table["references"] == ['["circle"]'] * 2
    assert table["score.anls"] == [1, 0]
    assert table["column.a"] == [1, 2]
    assert table["column.b"] == ['"x"', "[1]"]
    assert "timing" not in (folder / "rows.jsonl").read_text()


def test_answers_in_another_order_and_with_other_times_end_as_the_same_bytes(tmp_path: Path) -> None:
    rows = [row(number, "circle" if number % 3 else "square") for number in range(1, 31)]
    straight = written(tmp_path / "a", rows)
    other = written(tmp_path / "b", [replace(one, timing={"seconds": 9}) for one in reversed(rows)])
    assert final_bytes(straight) == final_bytes(other)
    before = final_bytes(straight)
    written(straight, rows)
    assert final_bytes(straight) == before


WORKER = """
import sys, time
from pathlib import Path
from mg_tui.metrics.registry import load_metrics
from mg_tui.metrics.results import AnsweredRow, ResultsWriter
folder, count, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with ResultsWriter(folder, {"model": "tiny"}) as writer:
    print("ready", flush=True)
    for number in range(1, count + 1):
        if number not in writer.done:
            time.sleep(pause)
            answer = f"answer {number % 7}" * (1 + number % 50)
            writer.add(AnsweredRow(number, "?", answer, (f"answer {number % 5}",), timing={"at": time.time()}))
    metrics = load_metrics().named(["exact_match", "anls", "chrf"])
    writer.finish(metrics, rows=range(1, count + 1))
"""


def test_killed_at_ten_moments_and_resumed_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    subprocess.run([sys.executable, "-c", WORKER, str(straight), "400", "0"], check=True, capture_output=True)
    chance = random.Random(1)
    counts = []
    for _ in range(10):
        command = [sys.executable, "-c", WORKER, str(killed), "400", "0.002"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            worker.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.06))
            os.kill(worker.pid, signal.SIGKILL)
        counts.append(len(read_answers(killed)))
    assert counts == sorted(counts)
    assert 0 < counts[-1] < 400
    first = (killed / "answers.jsonl").read_bytes()
    subprocess.run([sys.executable, "-c", WORKER, str(killed), "400", "0"], check=True, capture_output=True)
    assert final_bytes(killed) == final_bytes(straight)
    # Nothing was answered twice: what was kept is still there, time and all.
    assert (killed / "answers.jsonl").read_bytes().startswith(first[: first.rindex(b"\n") + 1])


@pytest.mark.parametrize("cut", [1, 2, 30, 150])
def test_a_torn_last_line_is_answered_again(tmp_path: Path, cut: int) -> None:
    rows = [row(number) for number in (1, 2, 3)]
    whole = final_bytes(written(tmp_path, rows))
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert [one.row for one in read_answers(tmp_path)] == [1, 2]
    with ResultsWriter(tmp_path, SPEC) as writer:
        assert writer.done == {1, 2}
        writer.add(rows[2])
        writer.finish(METRICS, rows=[1, 2, 3], reason="Because.")
    assert final_bytes(tmp_path) == whole
    assert [one.row for one in read_answers(tmp_path)] == [1, 2, 3]


def test_damaged_lines_are_answered_again(tmp_path: Path) -> None:
    rows = [row(number) for number in (1, 2, 3)]
    whole = final_bytes(written(tmp_path, rows))
    lines = (tmp_path / "answers.jsonl").read_bytes().splitlines(keepends=True)
    lines[1] = b"\0" * 40 + b"\n"
    (tmp_path / "answers.jsonl").write_bytes(b"".join([*lines, b"[]\n", b'{"row": 3}\n', b"\xff\n"]))
    with ResultsWriter(tmp_path, SPEC) as writer:
        assert writer.done == {1, 3}
        writer.add(rows[1])
        writer.add(replace(rows[0], answer="another answer to a row that has one"))
        writer.finish(METRICS, rows=[1, 2, 3], reason="Because.")
    assert final_bytes(tmp_path) == whole


def test_the_evaluation_of_something_else_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [row(1)])
    with pytest.raises(UsageError, match="the evaluation of something else") as caught:
        ResultsWriter(tmp_path, {**SPEC, "model": "other"})
    assert 'model is "tiny" there and "other" now' in (caught.value.why or "")
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(UsageError, match="the evaluation of something else"):
        ResultsWriter(tmp_path, SPEC)


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, SPEC), pytest.raises(RunFailed, match="another process is writing"):
        ResultsWriter(tmp_path, SPEC)
    ResultsWriter(tmp_path, SPEC).close()


def test_a_forked_child_does_not_keep_the_folder(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path, SPEC)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b".")  # what is done after a fork has been done by now
        time.sleep(60)
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"."
        writer.close()
        ResultsWriter(tmp_path, SPEC).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_rows_without_an_answer_are_not_left_out(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path, SPEC) as writer:
        writer.add(row(2))
        with pytest.raises(RunFailed, match="2 of 3 rows have no answer yet, the first of them row 1"):
            writer.finish(METRICS, rows=[1, 2, 3])
    with pytest.raises(UsageError, match="not finished"):
        read_results(tmp_path)
    with pytest.raises(UsageError, match="no evaluation in this folder"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no evaluation in this folder"):
        read_answers(tmp_path / "nowhere")


def test_a_full_disk_is_said_and_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ResultsWriter(tmp_path, SPEC) as writer:
        writer.add(row(1))
        real = os.write
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:20]))
        with pytest.raises(EnvironmentProblem, match="cannot be written"):
            writer.add(row(2))
        monkeypatch.undo()
        assert writer.done == {1}
        writer.add(row(2))
    assert [one.row for one in read_answers(tmp_path)] == [1, 2]


def test_other_metrics_need_no_other_answers(tmp_path: Path) -> None:
    rows = [row(number) for number in range(1, 5)]
    written(tmp_path, rows)
    with ResultsWriter(tmp_path, SPEC) as writer:
        writer.finish(load_metrics().named(["token_f1"]), rows=[1, 2, 3], group_by=["kind"])
    results = read_results(tmp_path)
    assert results.metric_names == ["token_f1"]
    assert len(results.rows) == 3
    assert list(results.summary["groups"]) == ["kind"]
    with ResultsWriter(tmp_path, SPEC) as writer, pytest.raises(UsageError, match="no row has a column 'colour'") as no:
        writer.finish(METRICS, rows=[1], group_by=["colour"])
    assert "kind, size" in (no.value.why or "")


def test_damaged_results_are_said(tmp_path: Path) -> None:
    written(tmp_path, [row(1), row(2)])
    whole = (tmp_path / "rows.jsonl").read_bytes()
    for damage in (whole[:-30], whole.splitlines(keepends=True)[0], b"", b"{}\n{}\n"):
        (tmp_path / "rows.jsonl").write_bytes(damage)
        with pytest.raises(DataError, match="results of the evaluation are damaged"):
            read_results(tmp_path)


def test_texts_that_no_file_takes(tmp_path: Path) -> None:
    odd = "\ud800 \x00 \u2028 \r\n \x1b[31m é 😀"
    columns = {"nan": float("nan"), "path": Path("/x"), "inf": [float("inf")], "\ud800": 2**80, "big": 10**30}
    folder = written(tmp_path, [row(1, odd, columns=columns, references=(odd, 3)), row(2, columns={"big": 1})])
    results = read_results(folder)
    assert results.rows[0].answer == odd.replace("\ud800", "\ufffd")
    assert results.rows[0].columns == {"nan": "nan", "path": "/x", "inf": ["inf"], "\ufffd": 2**80, "big": 10**30}
    assert results.scores["anls"] == (1, 1)


def test_two_models_are_compared(tmp_path: Path) -> None:
    before = read_results(written(tmp_path / "a", [row(n, "square", images=()) for n in range(1, 41)]))
    after = [row(n, "circle" if n > 10 else "square", images=()) for n in range(1, 41)]
    comparisons = compare_results(before, read_results(written(tmp_path / "b", after)), load_metrics())
    assert [one.name for one in comparisons] == ["exact_match_folded", "anls"]
    assert comparisons[0].verdict == "better"
    assert comparisons[0].fixed == tuple(range(11, 41))
    fewer = read_results(written(tmp_path / "c", after[:-1]))
    with pytest.raises(UsageError, match="different rows"):
        compare_results(before, fewer, load_metrics())
    changed = read_results(written(tmp_path / "d", [replace(one, references=("x",)) for one in after]))
    with pytest.raises(UsageError, match="row 1 has other references"):
        compare_results(before, changed, load_metrics())
    with ResultsWriter(tmp_path / "b", SPEC) as writer:
        writer.finish(load_metrics().named(["cer"]), rows=range(1, 41))
    with pytest.raises(UsageError, match="no metric in common"):
        compare_results(before, read_results(tmp_path / "b"), make_registry([], {}))


def test_the_answer_to_an_example() -> None:
    image = ImagePart(ImageRef("/data/1.png", "1.png"))
    turns = (
        Message("system", (TextPart("Be brief."),)),
        Message("user", (image, TextPart("Which shape?"))),
        Message("assistant", (TextPart("circle"),)),
        Message("user", (TextPart("And its color?"),)),
        Message("assistant", (TextPart("red"),)),
    )
    made = AnsweredRow.of(Example(7, turns), "Red", columns={"kind": "a"})
    assert (made.row, made.question, made.answer, made.references) == (7, "And its color?", "Red", ("red",))
    assert (made.images, made.columns) == (("/data/1.png",), {"kind": "a"})
    assert AnsweredRow.of(Example(7, turns), "Red", ["red", "dark red"]).references == ("red", "dark red")


def test_a_damaged_line_is_no_row() -> None:
    line = json.loads(row(1).line())
    assert parse_row(row(1).line()) is not None
    changes: dict[str, Any] = {"row": "1", "answer": 3, "columns": [], "boxes": {"no": 1}, "references": 3}
    for name, value in changes.items():
        assert parse_row(json.dumps({**line, name: value}).encode()) is None
