"""Counting many rows: together, in several processes, and from the cache of an earlier check, it is the same count."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.config import Settings
from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.core.spec import TrainingSpec
from mg_tui.data import dataset as loading
from mg_tui.data import loaded_dataset, token_count_cache
from mg_tui.data.dataset import load_dataset
from mg_tui.data.example_table import ExampleTable
from mg_tui.data.from_spec import load_dataset_from_spec
from mg_tui.data.loaded_dataset import Dataset
from mg_tui.engine.batching import token_counting
from mg_tui.engine.batching.rows import measure_rows
from mg_tui.engine.batching.token_counting import EncoderTokenCounter
from mg_tui.engine.batching.token_counts import choose_token_measure
from mg_tui.engine.inference.inspect_tokens import OpenRequest, open_encoder
from mg_tui.engine.run import step_planning
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.registry import load_registry
from mg_tui.preflight.dataset_check import check_dataset
from mg_tui.preflight.token_counter import counter_identity


@pytest.fixture(scope="module")
def encoder() -> ExampleEncoder:
    return open_encoder(OpenRequest(base_model="tiny"))


def conversation(number: int) -> Example:
    image = (ImagePart(ImageRef("/a.png", "a.png")),) if number % 3 else ()
    text = ("What? <|im_end|> é\U0001f600", "a", "<|image_pad|>", " " * 9)[number % 4] + str(number % 50)
    turns = [Message("user", (*image, TextPart(text))), Message("assistant", (TextPart(f"A wall {number}.\n"),))]
    if number % 5 == 0:
        turns = [
            Message("system", (TextPart("Brief."),)),
            turns[0],
            Message("assistant", turns[1].parts, False),
            *turns,
        ]
    return Example(number, tuple(turns))


@pytest.mark.parametrize("on_prompt", [False, True])
def test_counted_together_or_one_by_one(on_prompt: bool) -> None:
    encoder = open_encoder(OpenRequest(base_model="tiny", train_on_prompt=on_prompt))
    examples = [conversation(number) for number in range(300)]
    expected = []
    for example in examples:
        ids, supervised = encoder.tokenize_with_supervision(example)
        expected.append((len(ids), sum(supervised)))
    assert encoder.count_tokens(examples) == expected


def test_a_row_that_cannot_be_counted_does_not_disturb_others(encoder: ExampleEncoder) -> None:
    bad = Example(7, (Message("user", (TextPart("\ufdd0"),)), Message("assistant", (TextPart("b"),))))
    first, error, last = encoder.count_tokens([conversation(1), bad, conversation(2)])
    assert [first, last] == encoder.count_tokens([conversation(1), conversation(2)])
    assert isinstance(error, DataError)
    assert "row 7" in error.what


@pytest.mark.parametrize("dies", [False, True])
def test_several_processes_count_the_same(encoder: ExampleEncoder, dies: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_counting, "_MIN_EXAMPLES_PER_PROCESS", 50)
    bad = Example(7, (Message("user", (TextPart("\ufdd0"),)), Message("assistant", (TextPart("b"),))))
    examples = [*(conversation(number) for number in range(400)), bad]
    expected = EncoderTokenCounter(encoder, "", processes=1).count(examples)
    here, real = os.getpid(), EncoderTokenCounter._count_span
    spans: list[range] = []

    def count_span(counter: EncoderTokenCounter, rows: Any, span: range) -> Any:
        if os.getpid() == here:
            spans.append(span)
        elif dies and span.start == 0:
            os._exit(1)
        return real(counter, rows, span)

    monkeypatch.setattr(EncoderTokenCounter, "_count_span", count_span)
    assert EncoderTokenCounter(encoder, "", processes=3).count(examples) == expected
    assert "noncharacter" in str(expected[-1])
    assert spans == ([range(133)] if dies else [])


@pytest.fixture
def dataset_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loaded_dataset, "MIN_TABLE_ROWS", 20)
    monkeypatch.setattr(loading, "MIN_TABLE_ROWS", 20)
    for number in range(5):
        Image.new("RGB", (64 + 40 * number, 64)).save(tmp_path / f"{number}.png")
    rows = []
    for number in range(200):
        answer = "a " * (1 + number % 90) + str(number)
        rows.append({"text": f"q{number % 9}", "image": f"{number // 3 % 5}.png", "response": answer})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "rows.jsonl"


def forbid_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(_counter: EncoderTokenCounter, examples: Any) -> Any:
        assert not len(examples)
        return []

    monkeypatch.setattr(EncoderTokenCounter, "count", count)


def test_a_run_counts_nothing_that_a_check_has_counted(
    dataset_file: Path, encoder: ExampleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = dataset_file.parent, dataset_file.parent / "cache"
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(dataset_file), "max_seq_length": 120})
    identity = counter_identity(spec, load_registry().resolve("tiny"))
    loaded = load_dataset(dataset_file, cwd=folder)
    expected = measure_rows(loaded, 120, choose_token_measure(encoder)[0])
    assert 0 < len(expected.problems) < 200

    report = check_dataset(spec, Settings(folder / "home", cache), cwd=folder)
    assert report.bad_rows() == [problem.row for problem in expected.problems]
    forbid_counting(monkeypatch)
    measure, _why = choose_token_measure(encoder, cache=cache, identity=identity)
    checked = load_dataset(dataset_file, cwd=folder, cache=cache, check_images="header")
    assert isinstance(checked.examples, ExampleTable)
    for dataset in (checked, loaded):
        measured = measure_rows(dataset, 120, measure)
        assert tuple(measured.examples) == tuple(expected.examples)
        assert list(measured.tokens) == list(expected.tokens)
        assert [str(problem) for problem in measured.problems] == [str(problem) for problem in expected.problems]


def test_a_run_counts_once_and_the_plan_is_the_same(
    dataset_file: Path, encoder: ExampleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = dataset_file.parent, dataset_file.parent / "cache"
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": str(dataset_file), "gradient_accumulation_steps": 4})
    measure, _why = choose_token_measure(encoder, cache=cache, identity="a")
    plans = []
    for number in range(3):
        dataset = load_dataset(dataset_file, cwd=folder, cache=cache if number else None)
        measured = measure_rows(dataset, 2048, measure)
        plan = step_planning.plan_steps(spec, measured.examples, spec.examples_per_step)
        steps = [plan.step(step) for step in range(2 * plan.steps_per_epoch)]
        rows = [[measured.examples[index].row for index in step] for step in steps]
        plans.append((rows, [[measured.tokens[index] for index in step] for step in steps], plan.groups))
        forbid_counting(monkeypatch)  # from the second time on
    assert plans[0] == plans[1] == plans[2]
    assert plans[0][2] is not None
    other, _why = choose_token_measure(encoder, cache=cache, identity="b")
    with pytest.raises(AssertionError):
        measure_rows(dataset, 2048, other)


def test_an_error_of_the_template_names_the_first_row(encoder: ExampleEncoder, tmp_path: Path) -> None:
    rows = [conversation(3), conversation(9)]
    bad = [Example(n, (Message("user", (TextPart("\ufdd0"),)), Message("assistant", (TextPart("b"),)))) for n in (5, 6)]
    with pytest.raises(DataError, match="row 5"):
        choose_token_measure(encoder)[0](Dataset(tmp_path, [rows[0], *bad, rows[1]], ()))


def test_what_was_counted_before_a_stop_is_not_counted_again(
    dataset_file: Path, encoder: ExampleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = dataset_file.parent / "cache"
    dataset = load_dataset(dataset_file, cwd=dataset_file.parent)
    expected = choose_token_measure(encoder)[0](dataset)
    monkeypatch.setattr(token_count_cache, "_BLOCK_EXAMPLES", 50)
    counted: list[int] = []
    real = EncoderTokenCounter.count

    def count(counter: EncoderTokenCounter, examples: Any) -> Any:
        if len(counted) == 2:
            counted.append(0)
            raise KeyboardInterrupt
        counted.append(len(examples))
        return real(counter, examples)

    monkeypatch.setattr(EncoderTokenCounter, "count", count)
    measure, _why = choose_token_measure(encoder, cache=cache, identity="a")
    with pytest.raises(KeyboardInterrupt):
        measure(dataset)
    tokens = measure(dataset)
    assert counted == [50, 50, 0, 50, 50]
    assert list(tokens.totals) == list(expected.totals)


def test_several_datasets_have_the_rows_and_counts_of_each(
    dataset_file: Path, encoder: ExampleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = dataset_file.parent, dataset_file.parent / "cache"
    lines = dataset_file.read_text().splitlines(keepends=True)
    (folder / "other.jsonl").write_text("".join(lines[:50]) + '{"text": "no answer"}\n' + "".join(lines[50:150]))
    texts = [f"{folder}/rows.jsonl", f"{folder}/other.jsonl:2.5"]
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": texts, "on_bad_row": "skip"})

    def load(where: Path | None) -> Dataset:
        return load_dataset_from_spec(spec, cwd=folder, cache=where, check_images="header")

    plain = load(None)
    measure, _why = choose_token_measure(encoder, cache=cache, identity="counter")
    expected = measure(plain)
    shutil.rmtree(cache, ignore_errors=True)
    for name in ("rows", "other"):  # each alone
        measure(load_dataset(folder / f"{name}.jsonl", cwd=folder, cache=cache, check_images="header"))
    forbid_counting(monkeypatch)
    monkeypatch.setattr("mg_tui.data.row_loader.RowLoader.read_draft", None)
    mixed = load(cache)
    assert measure(mixed) == expected
    assert mixed.content is not None and plain.content is None
    assert list(mixed.copies) == list(plain.copies) and {2, 3} <= set(mixed.copies)
    assert mixed.bad_rows == plain.bad_rows == (251,)
    assert list(mixed.examples) == list(plain.examples)
