"""Many rows answered at once: every answer is the one that the row gets alone, and what can be shared is done once."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mg_tui.core.errors import DataError, EnvironmentProblem
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.answers.answer import Answer, Sampling
from mg_tui.engine.generation import images as image_features
from mg_tui.engine.generation.batch import AnsweringModel, Listeners, RowAnswer, generate_rows
from mg_tui.engine.generation.budget import Budget
from mg_tui.engine.generation.forward import Forward
from mg_tui.engine.generation.rows import Row

NEW = 36
LONG = Sampling(max_new_tokens=NEW)
BUDGETS = {
    "all at once": Budget(rows=64, tokens=100_000, prompt=100_000),
    "a few, in short passes": Budget(rows=3, tokens=1_000, prompt=64, enough=32),
    "one at a time": Budget(rows=1, tokens=1, prompt=1),
    "few tokens": Budget(rows=16, tokens=250, prompt=40),
}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, list[int]]]:
    """Token ids of the answers that were handed over, by the index of their row."""
    found: dict[int, list[int]] = {}
    answer = Row.answer

    def spy(self: Row, *given: Any) -> Answer:
        found[self.prompt.index] = list(self.tokens)
        return answer(self, *given)

    monkeypatch.setattr(Row, "answer", spy)
    yield found


def texts(answers: list[RowAnswer]) -> list[str]:
    return [one.answer.text for one in sorted(answers, key=lambda one: one.index)]


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("which", ["plain_model", "adapted"])
def test_answers_are_those_of_one_at_a_time(
    which: str,
    budget: Budget,
    encoder: Any,
    rows: list[Example],
    alone: Callable[..., Any],
    written: dict[int, list[int]],
    request: pytest.FixtureRequest,
) -> None:
    model = request.getfixturevalue(which)
    expected = alone(model, rows)
    found = list(generate_rows(AnsweringModel(model, encoder), rows, LONG, budget))
    assert [written[index] for index in range(len(rows))] == [ids for ids, _text in expected]
    assert texts(found) == [text for _ids, text in expected]
    assert sorted(one.index for one in found) == list(range(len(rows)))
    assert all(one.example is rows[one.index] for one in found)
    if which == "adapted":  # the test shows something: answers end at many lengths, and some at the limit
        lengths = {len(ids) for ids, _text in expected}
        assert len(lengths) > 4 and NEW in lengths and min(lengths) < NEW / 2


def test_an_answer_says_what_it_took(
    plain_model: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.data.images import open_image
    from mg_tui.engine.answers.answer import answer

    found = {one.index: one.answer for one in generate_rows(AnsweringModel(plain_model, encoder), rows, LONG)}
    for index in (0, 1, 6):
        example = rows[index]
        single = answer(plain_model, encoder, example.prompt, [open_image(ref.path) for ref in example.images], LONG)
        for name in ("text", "tokens", "prompt_tokens", "ended", "images", "seed"):
            assert getattr(found[index], name) == getattr(single, name), name
        assert found[index].image_tokens == (single.image_tokens or 0)
        assert found[index].seconds >= found[index].first_token_seconds > 0


def test_what_rows_share_is_done_once(
    plain_model: Any, encoder: Any, row: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is encoded once, the shared tokens computed once, their keys and values kept once."""
    questions = ["what shape is it?", "how many shapes?", "what colour is it?", "is it red?", "where is it?"]
    asked = [row(5 * image + number, [image], text) for number, text in enumerate(questions) for image in (0, 1)]
    asked.append(row(20, [0, 1], "compare", first="Both:"))  # after another beginning: computed, but not encoded again
    encoded, computed, kept = [], [], []
    encode, prompts = image_features.encode, Forward.prompts
    monkeypatch.setattr(image_features, "encode", lambda *given: encoded.append(len(given[2])) or encode(*given))

    def spy(self: Forward, ids: Any, positions: Any, places: Any, features: Any, reading: Any) -> Any:
        computed.append(len(ids))
        logits = prompts(self, ids, positions, places, features, reading)
        cache = reading._cache
        kept.append({(pair[0].shape[0], pair[0].shape[2]) for pair in cache._prefix.values()})
        return logits

    monkeypatch.setattr(Forward, "prompts", spy)
    found = list(generate_rows(AnsweringModel(plain_model, encoder), asked, LONG, BUDGETS["all at once"]))
    assert sum(encoded) == 2
    lengths = {one.index: one.answer.prompt_tokens for one in found}
    per_image = [sum(lengths[index] for index in range(image, 10, 2)) for image in (0, 1)]
    assert sum(computed) < sum(per_image) / 2 + lengths[10]
    # Prefixes of two images and of the row of its own: three, whose longest is shorter than any prompt it belongs to
    # but the last row's, which is all prefix.
    assert kept == [{(3, lengths[10])}]


def test_rows_that_have_ended_leave_the_batch(
    adapted: Any, encoder: Any, rows: list[Example], written: dict[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    step = Forward.step
    monkeypatch.setattr(Forward, "step", lambda self, ids, *given: together.append(len(ids)) or step(self, ids, *given))
    order = [one.index for one in generate_rows(AnsweringModel(adapted, encoder), rows, LONG, BUDGETS["all at once"])]
    lengths = [len(written[index]) for index in range(len(rows))]
    assert sum(together) == sum(lengths) - len(rows)  # the first token comes of the prompt
    assert together == sorted(together, reverse=True)
    assert [lengths[index] for index in order] == sorted(lengths), "the shortest answer is handed over first"


def test_room_that_is_made_is_taken(
    adapted: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    step = Forward.step
    monkeypatch.setattr(Forward, "step", lambda self, ids, *given: together.append(len(ids)) or step(self, ids, *given))
    budget = Budget(rows=4, tokens=100_000, prompt=1_000)
    assert len(list(generate_rows(AnsweringModel(adapted, encoder), rows * 2, LONG, budget))) == 2 * len(rows)
    assert max(together) <= 4
    assert sum(together) / len(together) > 3, "rows that wait begin when others have ended, not when all have"


@pytest.mark.parametrize("again", [0, 1], ids=["in one stream", "in pieces"])
def test_drawn_answers_do_not_depend_on_neighbours(
    again: int, plain_model: Any, encoder: Any, rows: list[Example]
) -> None:
    model = AnsweringModel(plain_model, encoder)
    sampling = Sampling(max_new_tokens=12, temperature=3.0, top_p=0.95, seed=5)
    whole = list(generate_rows(model, rows, sampling, BUDGETS["all at once"]))
    expected = texts(whole)
    assert {one.answer.seed for one in whole} == {5}
    if again:
        found = [one.answer.text for example in rows for one in generate_rows(model, [example], sampling)]
        assert found == expected
    else:
        backwards = list(generate_rows(model, rows[::-1], sampling, BUDGETS["a few, in short passes"]))
        assert texts(backwards) == expected[::-1]
    other = Sampling(max_new_tokens=12, temperature=3.0, top_p=0.95, seed=6)
    assert texts(list(generate_rows(model, rows, other))) != expected
    # Rows that are equal but for their number draw their own answers; a seed that is not given is drawn and told.
    same = [Example(number, rows[0].messages) for number in range(8)]
    unseeded = list(generate_rows(model, same, Sampling(max_new_tokens=12, temperature=3.0)))
    assert len(set(texts(unseeded))) > 1 and len({one.answer.seed for one in unseeded}) == 1
    repeated = Sampling(max_new_tokens=12, temperature=3.0, seed=unseeded[0].answer.seed)
    assert texts(list(generate_rows(model, same, repeated))) == texts(unseeded)


def test_rows_may_be_answered_each_in_its_own_way(
    plain_model: Any, encoder: Any, rows: list[Example], alone: Callable[..., Any], written: dict[int, list[int]]
) -> None:
    samplings = [
        Sampling(max_new_tokens=1 + index % 3) if index % 2 else Sampling(max_new_tokens=4, temperature=2.0, seed=1)
        for index in range(len(rows))
    ]
    list(generate_rows(AnsweringModel(plain_model, encoder), rows, samplings))
    expected = alone(plain_model, rows)
    for index in range(1, len(rows), 2):
        assert written[index] == expected[index][0][: 1 + index % 3]
    with pytest.raises(ValueError, match="2 samplings for"):
        list(generate_rows(AnsweringModel(plain_model, encoder), rows, samplings[:2]))


@pytest.mark.parametrize("where", ["prompts", "step"])
def test_out_of_memory_halves_what_is_done_at_once(
    where: str,
    adapted: Any,
    encoder: Any,
    rows: list[Example],
    alone: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With memory for three rows, or a hundred tokens, the answers are the same, and no piece of text comes twice."""
    expected = [text for _ids, text in alone(adapted, rows)]
    plain, failed, pieces = getattr(Forward, where), [], dict[int, list[str]]()
    limit = 3 if where == "step" else 100

    def short(self: Forward, ids: torch.Tensor, *given: Any) -> Any:
        if len(ids) > limit and len(given[1] if where == "prompts" else ids) > 1:
            failed.append(len(ids))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return plain(self, ids, *given)

    monkeypatch.setattr(Forward, where, short)
    listeners = Listeners(text=lambda index, piece: pieces.setdefault(index, []).append(piece))
    model = AnsweringModel(adapted, encoder)
    found = list(generate_rows(model, rows, LONG, Budget(64, 100_000, 4_000), listeners=listeners))
    assert failed and texts(found) == expected
    assert ["".join(pieces.get(index, [])) for index in range(len(rows))] == expected


def test_a_row_that_does_not_fit_alone_is_named(
    plain_model: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore of it")

    monkeypatch.setattr(Forward, "prompts", full)
    with pytest.raises(EnvironmentProblem, match="row 5 does not fit into memory") as raised:
        list(generate_rows(AnsweringModel(plain_model, encoder), rows[4:5]))
    assert raised.value.why == "CUDA out of memory."


def test_other_errors_are_not_taken_for_memory(
    plain_model: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_given: Any) -> Any:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(Forward, "step", broken)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        list(generate_rows(AnsweringModel(plain_model, encoder), rows))


def missing(number: int, folder: Path, *, damaged: bool = False) -> Example:
    path = folder / f"{number}.png"
    if damaged:
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x70\x00\x00\x00\x70\x08\x02\x00\x00\x00\xf3\xec\x1f\xd8"
        )
    shown = (ImagePart(ImageRef(str(path), path.name)), TextPart("what is it?"))
    return Example(number, (Message("user", shown), Message("assistant", (TextPart("x"),))))


def test_rows_that_cannot_be_read_are_named_and_others_answered(
    plain_model: Any, encoder: Any, rows: list[Example], tmp_path: Path
) -> None:
    """One image is not there; another has a header and no pixels, which is seen when it is to be encoded."""
    model = AnsweringModel(plain_model, encoder)
    asked = [*rows[:3], missing(70, tmp_path), *rows[3:5], missing(71, tmp_path, damaged=True)]
    for bad in (asked[3], asked[6]):
        with pytest.raises(DataError, match=f"row {bad.row}"):
            list(generate_rows(model, [bad, rows[0]]))
    problems: dict[int, Exception] = {}
    listeners = Listeners(problem=lambda index, error: problems.update({index: error}))
    found = list(generate_rows(model, asked, LONG, listeners=listeners))
    assert problems.keys() == {3, 6} and "row 70" in str(problems[3]) and "row 71" in str(problems[6])
    good = [asked[index] for index in (0, 1, 2, 4, 5)]
    assert texts(found) == texts(list(generate_rows(model, good, LONG)))


def test_an_end_that_is_asked_for(adapted: Any, encoder: Any, rows: list[Example]) -> None:
    came: list[RowAnswer] = []
    listeners = Listeners(cancelled=lambda: len(came) >= 3)
    found = list(generate_rows(AnsweringModel(adapted, encoder), rows, LONG, None, came.append, listeners=listeners))
    assert found == came and 3 <= len(came) < len(rows)


def storages() -> int:
    gc.collect()
    found = (one for one in gc.get_objects() if isinstance(one, torch.Tensor))
    return len({one.untyped_storage().data_ptr() for one in found})


def state(model: Any) -> dict[str, Any]:
    return {
        "attention": model.config.get_text_config()._attn_implementation,
        "changed": [name for name, module in model.named_modules() if "forward" in vars(module)],
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
    }


@pytest.mark.parametrize("how", ["to the end", "closed", "an error"])
def test_nothing_stays(
    how: str, adapted: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards no tensor is left that was not there before, and the model is as it was, between answers too."""
    model = AnsweringModel(adapted, encoder)
    list(generate_rows(model, rows[:2], LONG))  # what libraries make once
    before, was = storages(), state(adapted)
    answers = generate_rows(model, rows, LONG, BUDGETS["a few, in short passes"])
    next(answers)
    assert state(adapted)["attention"] == was["attention"] and state(adapted)["changed"] == was["changed"]
    assert storages() > before, "the test would see what stays"
    if how == "to the end":
        list(answers)
    elif how == "closed":
        answers.close()  # type: ignore[attr-defined]
    else:
        monkeypatch.setattr(Forward, "step", lambda *_given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(answers)
    del answers
    assert storages() == before and state(adapted) == was


def test_the_model_may_be_used_between_answers(
    plain_model: Any, encoder: Any, rows: list[Example], alone: Callable[..., Any]
) -> None:
    expected = [text for _ids, text in alone(plain_model, rows)]
    inputs = encoder.prompts([rows[1].prompt], [[]])
    found = []
    for one in generate_rows(AnsweringModel(plain_model, encoder), rows, LONG, BUDGETS["a few, in short passes"]):
        found.append(one)
        with torch.inference_mode():
            plain_model.generate(**inputs, max_new_tokens=2)
    assert texts(found) == expected
