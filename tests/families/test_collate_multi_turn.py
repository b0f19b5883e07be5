"""Conversations of several turns: what is learned is the answers, all of them and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.example import Example
from mg_tui.families.collate import IGNORE_INDEX, ExampleEncoder

TURNS = ("What is it?", "A red square.", "How many?", "One.", "Sure?", "Yes, <|im_end|> one.")


def supervised_texts(encoder: ExampleEncoder, example: Example, images: int) -> list[str]:
    """The runs of trained tokens, each as text."""
    batch = encoder([example], [[Image.new("RGB", (56, 56), "red")] * images])
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    runs: list[list[int]] = []
    before = False
    for token, label in zip(ids, labels, strict=True):
        if label != IGNORE_INDEX:
            assert label == token
            if not before:
                runs.append([])
            runs[-1].append(token)
        before = label != IGNORE_INDEX
    return [encoder.processor.tokenizer.decode(run) for run in runs]


def with_supervised(example: Example, *learned: bool) -> Example:
    answers = iter(learned)
    messages = tuple(
        replace(message, supervised=next(answers)) if message.role == "assistant" else message
        for message in example.messages
    )
    return replace(example, messages=messages)


@pytest.mark.parametrize("images", [0, 1, 2])
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_every_answer_is_learned_with_the_token_that_ends_it(
    encoder: ExampleEncoder, talk: Callable[..., Example], images: int, system: str | None
) -> None:
    example = talk(*TURNS, images=images, system=system)
    answers = [f"{turn}<|im_end|>" for turn in TURNS[1::2]]
    assert supervised_texts(encoder, example, images) == answers


def test_answers_that_are_not_to_be_learned_are_not(encoder: ExampleEncoder, talk: Callable[..., Example]) -> None:
    example = talk(*TURNS, images=1)
    assert supervised_texts(encoder, with_supervised(example, False, True, False), 1) == ["One.<|im_end|>"]
    assert supervised_texts(encoder, with_supervised(example, False, False, True), 1) == [f"{TURNS[-1]}<|im_end|>"]
    assert supervised_texts(encoder, with_supervised(example, True, False, True), 1) == [
        "A red square.<|im_end|>",
        f"{TURNS[-1]}<|im_end|>",
    ]


def test_tokens_are_the_same_whatever_is_learned(encoder: ExampleEncoder, talk: Callable[..., Example]) -> None:
    example = talk(*TURNS, images=1)

    def ids(one: Example) -> Any:
        return encoder.tokenize_with_supervision(one)[0]

    assert ids(example) == ids(with_supervised(example, False, True, False))
