"""Held to other people's implementations, on texts made at random with a fixed seed."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from mg_tui.metrics.anls_star import anls_star
from mg_tui.metrics.contract import Scores

Run = Callable[..., Scores]
WORDS = "a the cat dog sits on red mat. running, don't 3 1,000 U.S. big-eyed what?".split()


def sentences(seed: int, count: int) -> list[tuple[str, str]]:
    """Pairs of an answer and a reference, some of them alike."""
    chance = random.Random(seed)

    def sentence() -> str:
        return " ".join(chance.choice(WORDS) for _ in range(chance.randint(1, 12)))

    pairs = []
    for _ in range(count):
        reference = sentence()
        words = [word for word in reference.split() if chance.random() < 0.8] or ["dog"]
        pairs.append((" ".join(words) if chance.random() < 0.7 else sentence(), reference))
    return pairs


def test_anls_star_is_the_packages_score_for_score() -> None:
    from anls_star import anls_score

    chance = random.Random(5)
    leaves: list[Any] = ["ab", "abc", "abd", "x", "", None, 1, 1.5, True, False, "Hello World", "hello wrld"]

    def value(depth: int) -> Any:
        kind = chance.random() if depth else 0
        if kind < 0.45:
            return chance.choice(leaves)
        if kind < 0.75:
            return [value(depth - 1) for _ in range(chance.randint(0, 4))]
        return {key: value(depth - 1) for key in chance.sample("abcd", chance.randint(0, 4))}

    def changed(one: Any) -> Any:
        if chance.random() < 0.15:
            return value(1)
        if isinstance(one, list):
            return [changed(item) for item in chance.sample(one, len(one))]
        if isinstance(one, dict):
            return {key: changed(item) for key, item in one.items() if chance.random() < 0.9}
        return f"{one} " if isinstance(one, str) and chance.random() < 0.2 else one

    different = 0
    for _ in range(2000):
        references = tuple(value(3) for _ in range(chance.randint(1, 3)))
        answer = value(3) if chance.random() < 0.2 else changed(chance.choice(references))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = anls_score(references, answer)
        assert anls_star(answer, references) == expected, (references, answer)
        different += 0 < expected < 1
    assert different > 300


def test_bleu_and_chrf_are_sacrebleus(scores_of: Run) -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    for seed in range(40):
        pairs = sentences(seed, 1 + seed % 9)
        answers, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        bleu, chrf = scores_of("bleu", *pairs), scores_of("chrf", *pairs)
        assert bleu.aggregate == pytest.approx(BLEU(effective_order=True).corpus_score(answers, [references]).score)
        assert chrf.aggregate == pytest.approx(CHRF().corpus_score(answers, [references]).score)
        single = [CHRF().sentence_score(answer, [reference]).score for answer, reference in pairs]
        assert chrf.values == pytest.approx(single)


def test_several_references_of_bleu_and_chrf(scores_of: Run) -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    one, other = sentences(1, 20), sentences(2, 20)
    rows = [(answer, (first, second)) for (answer, first), (_, second) in zip(one, other, strict=True)]
    streams = [[row[1][0] for row in rows], [row[1][1] for row in rows]]
    answers = [row[0] for row in rows]
    assert scores_of("bleu", *rows).aggregate == pytest.approx(BLEU().corpus_score(answers, streams).score)
    assert scores_of("chrf", *rows).aggregate == pytest.approx(CHRF().corpus_score(answers, streams).score)


def test_torchmetrics_agrees(scores_of: Run) -> None:
    from torchmetrics.functional.text import char_error_rate, squad, word_error_rate
    from torchmetrics.functional.text.rouge import rouge_score

    pairs = sentences(11, 60)
    answers, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    given = [{"prediction_text": answer, "id": str(index)} for index, answer in enumerate(answers)]
    right = [
        {"answers": {"answer_start": [0], "text": [reference]}, "id": str(index)}
        for index, reference in enumerate(references)
    ]
    f1 = float(squad(given, right)["f1"]) / 100  # type: ignore[arg-type]
    assert scores_of("token_f1", *pairs).aggregate == pytest.approx(f1, abs=1e-6)
    assert scores_of("cer", *pairs).aggregate == pytest.approx(float(char_error_rate(answers, references)), abs=1e-6)
    assert scores_of("wer", *pairs).aggregate == pytest.approx(float(word_error_rate(answers, references)), abs=1e-6)
    rouge = float(rouge_score(answers, references, rouge_keys="rougeL")["rougeL_fmeasure"])
    assert scores_of("rouge_l", *pairs).aggregate == pytest.approx(rouge, abs=1e-6)


def test_macro_f1_is_torchmetrics(scores_of: Run) -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_f1_score

    chance = random.Random(8)
    names = ["cat", "dog", "bird", "fish"]
    rows = [(chance.choice(names), chance.choice(names)) for _ in range(80)]
    given, right = (torch.tensor([sorted(names).index(row[side]) for row in rows]) for side in (0, 1))
    expected = float(multiclass_f1_score(given, right, num_classes=4, average="macro"))
    assert scores_of("macro_f1", *rows).aggregate == pytest.approx(expected)
