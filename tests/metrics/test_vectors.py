"""Scores that are known: worked by hand, or by the reference implementations that the comments name."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mg_tui.core.errors import DataError
from mg_tui.metrics import Prediction, normalize
from mg_tui.metrics.captions import cider_d
from mg_tui.metrics.contract import Scores
from mg_tui.metrics.registry import BUILT_IN
from mg_tui.metrics.scoring import score

Value = Callable[[str, str, Any], float]
Run = Callable[..., Scores]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        # mmf's EvalAIAnswerProcessor, as lmms-eval has it
        ("The two dogs.", "2 dogs"),
        ("dont", "don't"),
        ("1,000", "1000"),
        ("$5.00", "$5.00"),
        ("a/b", "b"),
        ("yes, it is!", "yes it is"),
        ("U.S.A.", "usa"),
        ("3.5", "3.5"),
        ("Coca-Cola", "coca cola"),
        ("none", "0"),
        ("it's", "it 's"),
        ("10 o'clock", "10 o'clock"),
        ("red;blue", "red blue"),
        ("NO PARKING", "no parking"),
        ("5.", "5"),  # the look-behind that is none: the dot after a digit goes
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("a\nb\tc", "b c"),
        (". " * 40, ". " * 7 + "."),  # only 32 are removed: re.UNICODE stands where the count belongs
    ],
)
def test_the_normalizer_of_textvqa(text: str, normal: str) -> None:
    assert normalize.evalai(text) == normal


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The two dogs.", "2 dogs"),
        ("1,000", "1000"),
        ("it's", "it s"),  # the apostrophe is a mark here
        ("a:b", "b"),
        ("Coca-Cola", "coca-cola"),  # - { } ! are none
        ("stop!", "stop!"),
        ("red, blue", "red blue"),
    ],
)
def test_the_normalizer_of_vqa_v2(text: str, normal: str) -> None:
    assert normalize.vqa(text) == normal


def test_exact_match_thrice(value_of: Value) -> None:
    table = {
        "Yes": (0, 1, 1),
        "yes": (1, 1, 1),
        "  yes\n": (0, 1, 1),
        "yes.": (0, 0, 1),
        "no": (0, 0, 0),
        "": (0, 0, 0),
    }
    for answer, expected in table.items():
        names = ("exact_match", "exact_match_folded", "exact_match_vqa")
        assert tuple(value_of(name, answer, "yes") for name in names) == expected, answer
    assert value_of("exact_match", "b", ("a", "b")) == 1
    assert value_of("exact_match_folded", "STRASSE", "straße") == 1


@pytest.mark.parametrize(("agreeing", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_vqa_accuracy_of_ten_references(value_of: Value, agreeing: int, expected: float) -> None:
    references = ("yes",) * agreeing + tuple(f"other {number}" for number in range(10 - agreeing))
    for name in ("vqa_accuracy", "vqa_accuracy_evalai"):
        assert value_of(name, "Yes", references) == pytest.approx(expected)


def test_vqa_accuracy_of_few_references_is_refused(value_of: Value) -> None:
    for references in (("yes",), ("yes",) * 3):  # 0.0 and 0.667 by its rule, for a right answer
        with pytest.raises(DataError, match=rf"needs 4 references a row, and row 1 has {len(references)}") as caught:
            value_of("vqa_accuracy", "yes", references)
        assert "exact_match_vqa" in (caught.value.hint or "")
    assert value_of("vqa_accuracy", "yes", ("yes",) * 4) == 1


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("hello wrld", "Hello World", 0.9091),
        ("abcd", "abxx", 0),  # NL = 0.5: 0 in the paper and the package anls, 0.5 in Qwen's and lmms-eval's scripts
        ("abcd", "abcx", 0.75),
        ("abc", "xyz", 0),
        ("ab", "abcd", 0),
        ("A  B", "a b", 1),
        ("", "", 1),
        ("", "a", 0),
        ("a", "", 0),
    ],
)
def test_anls(value_of: Value, answer: str, reference: str, expected: float) -> None:
    assert value_of("anls", answer, reference) == pytest.approx(expected, abs=5e-5)


def test_anls_takes_the_nearest_reference(value_of: Value) -> None:
    assert value_of("anls", "abcx", ("nothing like it", "abcd")) == 0.75


def test_anls_star_of_its_readme(value_of: Value) -> None:
    # The first value is an alternative of two in the README, which JSON cannot write: the row has two references.
    rest = ["this", "is", "a", "test"]
    answer = json.dumps({"a": "hello!", "b": ["a", "test", "this", "be"]})
    references = ({"a": "hello", "b": rest}, {"a": "world", "b": rest})
    assert value_of("anls_star", answer, references) == pytest.approx(0.7667, abs=5e-5)


def test_anls_star_of_an_invoice(value_of: Value) -> None:
    lines = [{"name": f"part {letter}", "price": f"{number}.00"} for number, letter in enumerate("abc", start=1)]
    right = {"number": "2024-17", "date": "2024-01-02", "lines": lines}
    given = {**right, "date": "2024-01-03", "lines": lines[::-1]}
    assert value_of("anls_star", json.dumps(given), json.dumps(right)) == pytest.approx(7.9 / 8)
    assert value_of("anls_star", f"```json\n{json.dumps(given)}\n```", right) == pytest.approx(7.9 / 8)
    assert value_of("anls_star", "not JSON", right) == 0


RELAXED = [
    # pix2struct's metrics.py and Qwen-VL's evaluate_vqa.py
    ("0", "0", 1, 1),
    ("0.0", "0", 0, 1),
    ("5%", "0.05", 1, 1),
    ("5%", "5", 0, 1),
    ("1,000", "1000", 0, 1),
    ("$10", "10", 0, 1),
    ("9.5", "10", 1, 1),
    ("9.49", "10", 0, 0),
    ("10.5", "10", 1, 1),
    ("-95", "-100", 1, 1),
    ("Red", "red", 1, 1),
    ("red ", "red", 0, 1),
    # ours alone
    ("12 kg", "12", 0, 1),
    ("12 kg", "12 g", 0, 0),
    ("5", "5%", 0, 1),
    ("5%", "5 kg", 0, 0),
    ("€1.200", "1.2", 0, 1),
    ("−3", "-3", 0, 1),
    ("3,5", "3.5", 0, 1),
    ("1,23,4", "1234", 0, 0),
    ("about 10", "10", 0, 0),
    ("0.1", "0", 0, 0),
    ("nan", "nan", 1, 1),
    ("inf", "inf", 1, 1),
    ("1e400", "1e400", 1, 1),
]


@pytest.mark.parametrize(("answer", "reference", "faithful", "practical"), RELAXED)
def test_relaxed_accuracy(value_of: Value, answer: str, reference: str, faithful: int, practical: int) -> None:
    assert value_of("relaxed_accuracy", answer, reference) == faithful
    assert value_of("relaxed_accuracy_plus", answer, reference) == practical


def test_cider_d_of_pycocoevalcap() -> None:
    references = [
        ["a cat sits on a mat", "the cat is on the mat"],
        ["a dog runs in the park", "a brown dog running outside"],
        ["two people eat pizza at a table", "a couple having pizza"],
    ]
    split = [[one.split() for one in row] for row in references]
    answers = ["a cat on a mat", "a dog runs in the park", "a man rides a horse"]
    assert cider_d([one.split() for one in answers], split) == pytest.approx([3.251992, 5.303073, 0], abs=1e-6)
    assert cider_d([row[0] for row in split], split) == pytest.approx([5.879511, 5.303073, 5.260008], abs=1e-6)
    # With one image every weight is 0, whatever is said: why the metric is refused under 50.
    assert cider_d([split[0][0]], split[:1]) == [0.0]


def test_cider_d_needs_fifty_images() -> None:
    (metric,) = (metric for metric in BUILT_IN if metric.name == "cider_d")
    few = [Prediction(row, "a cat", ("a cat",), images=(f"{row % 49}.png",)) for row in range(1, 201)]
    with pytest.raises(DataError, match="needs 50 images, and the evaluation has 49"):
        score(few, metric)
    many = [Prediction(row, f"a cat {row}", (f"a cat {row}",), images=(f"{row}.png",)) for row in range(1, 51)]
    result = score(many, metric)
    assert result.aggregate > 1
    assert "tokenizer" in result.metric.compute(many).details


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The cat.", "a cat", 1),
        ("a black cat", "the cat", 2 / 3),
        ("", "", 1),
        ("the", "a", 1),  # no word on either side
        ("the", "cat", 0),
        ("dog", "cat", 0),
        ("cat cat", "cat", 2 / 3),
    ],
)
def test_token_f1(value_of: Value, answer: str, reference: str, expected: float) -> None:
    assert value_of("token_f1", answer, reference) == pytest.approx(expected)


def test_rouge_l(value_of: Value) -> None:
    # Google's rouge-score: scorer_test.py, testRougeL; and its README.
    assert value_of("rouge_l", "testing one two", "testing") == pytest.approx(0.5)
    assert value_of("rouge_l", "testing one two", ("testing", "testing one two")) == 1
    assert value_of(
        "rouge_l", "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog"
    ) == (pytest.approx(2 * 5 / 17))
    assert value_of("rouge_l", "猫が座る", "猫が座る") == 1  # rouge-score drops what is not ASCII, and gives 0
    assert value_of("rouge_l", "!?", "!?") == 1
    assert value_of("rouge_l", "!?", "...") == 0


def test_bleu_of_sacrebleus_readme(scores_of: Run) -> None:
    # sacrebleu's README: two systems of references, BLEU 48.53, chrF2 59.73.
    references = [
        ("The dog bit the man.", "The dog had bit the man."),
        ("It was not unexpected.", "No one was surprised."),
        ("The man bit him first.", "The man had bitten the dog."),
    ]
    answers = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    pairs = list(zip(answers, references, strict=True))
    assert scores_of("bleu", *pairs).aggregate == pytest.approx(48.53, abs=0.005)
    assert scores_of("chrf", *pairs).aggregate == pytest.approx(59.73, abs=0.005)
    assert "version:" in scores_of("bleu", *pairs).details["signature"]


def test_error_rates(scores_of: Run) -> None:
    rows = [("abcd", "abcx"), ("", "xy"), ("ab", ("zz", "ab"))]
    cer = scores_of("cer", *rows)
    assert cer.values == (0.25, 1, 0)
    assert cer.aggregate == pytest.approx(3 / 8)  # edits over characters, no mean of rates
    assert scores_of("wer", ("a b c d", "a b c"), ("", "x")).aggregate == pytest.approx(2 / 4)
    assert scores_of("cer", ("abc", "")).values == (3,)  # nothing to divide by: jiwer counts the insertions


def test_an_empty_answer_is_counted(scores_of: Run) -> None:
    for metric in BUILT_IN:
        if metric.reference != "text" or metric.minimum_references > 1 or metric.minimum_images:
            continue
        scores = scores_of(metric.name, ("right", "right"), ("", "right"), (" \n", "right"))
        assert len(scores.values) == 3
        if metric.higher_is_better:
            assert scores.values[1:] == (0, 0), metric.name
            assert scores.aggregate < metric.bounds[1] or metric.name == "json_valid"
        else:
            assert scores.values[1:] == (1, 1), metric.name
