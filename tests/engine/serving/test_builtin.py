import asyncio
from typing import Any

import pytest

from mg_tui.core.errors import GardenError
from mg_tui.engine.generation.row_state import RowState
from mg_tui.engine.serving.answering import AnswerEnd, EngineEnded, TaskRefused, TextPiece, TooManyWaiting
from tests.engine.serving.conftest import QUESTIONS, ask, collect


@pytest.fixture
def tokens(monkeypatch: pytest.MonkeyPatch) -> dict[Any, list[int]]:
    """The tokens of every row, by its messages."""
    found: dict[Any, list[int]] = {}
    append = RowState.append

    def record(self: RowState, token: int, end_tokens: frozenset[int]) -> None:
        append(self, token, end_tokens)
        found[id(self.prompt.example.messages)] = list(self.tokens)

    monkeypatch.setattr(RowState, "append", record)
    return found


def test_a_request_alone_is_answered_as_by_generate_vision(engine: Any, make_task: Any, alone: Any, image_files: Any):
    task = make_task("mine", image_files[:1], QUESTIONS[0])
    expected = alone(task)
    [(text, end)] = ask(engine, task)
    assert text == expected.text
    assert end == AnswerEnd(
        "stop" if expected.finish_reason == "end" else "length", expected.prompt_tokens, expected.tokens
    )


def test_eight_batched_requests_are_answered_token_for_token_as_by_generate_vision(
    engine: Any, make_task: Any, alone: Any, image_files: Any, served: Any, tokens: dict[Any, list[int]]
):
    tasks = [
        *(make_task("mine", image_files[:1], question) for question in QUESTIONS[:4]),
        make_task("mine", image_files[:2], "compare them"),
        make_task("mine", [], "hello there"),
        make_task("mine", image_files[1:2], QUESTIONS[3]),
        make_task("mine", image_files[2:], QUESTIONS[4]),
    ]
    expected = [alone(task) for task in tasks]
    answers = ask(engine, *tasks)
    tokenizer = served.models[0].encoder.processor.tokenizer
    for task, (text, end), alone_answer in zip(tasks, answers, expected, strict=True):
        own = tokens[id(task.messages)]
        assert text == alone_answer.text == tokenizer.decode(own, skip_special_tokens=True)
        assert end.completion_tokens == alone_answer.tokens == len(own)
    assert len({text for text, _end in answers}) > 3, "the answers differ, so that a mix-up would show"


def test_requests_to_several_adapters_at_once_are_answered_by_each(
    engine: Any, make_task: Any, alone: Any, image_files: Any
):
    tasks = [
        make_task(model, image_files[:1], question) for question in QUESTIONS[:3] for model in ("tiny", "mine", "other")
    ]
    expected = [alone(task).text for task in tasks]
    assert [text for text, _end in ask(engine, *tasks)] == expected
    assert len(set(expected[:3])) == 3, "each model answers differently"


def test_a_later_question_on_an_image_does_not_encode_it_again(engine: Any, make_task: Any, image_files: Any):
    ask(engine, *(make_task("mine", image_files[:1], question) for question in QUESTIONS))
    assert engine.images_encoded == 1
    ask(engine, make_task("mine", image_files[:1], "and now?"))
    assert engine.images_encoded == 1
    ask(engine, make_task("other", image_files[:1], "and now?"))
    assert engine.images_encoded == 2, "its adapter changes the vision tower"


def test_an_answer_ends_before_its_stop_string(engine: Any, make_task: Any, alone: Any, image_files: Any):
    task = make_task("mine", image_files[:1], QUESTIONS[3])
    whole = alone(task).text
    middle = len(whole) // 2
    stop = whole[middle : middle + 3]
    stopped = make_task("mine", image_files[:1], QUESTIONS[3], stop=["never seen", stop])
    [(text, end), (other, other_end)] = ask(engine, stopped, task)
    assert text == whole[: whole.index(stop)] and end.finish_reason == "stop"
    assert end.completion_tokens < alone(task).tokens
    assert other == whole and other_end.completion_tokens == alone(task).tokens


def test_a_seed_decides_a_sampled_answer_whatever_it_is_batched_with(engine: Any, make_task: Any, image_files: Any):
    def sampled(seed: int) -> Any:
        return make_task("mine", image_files[:1], QUESTIONS[3], temperature=1.0, top_p=0.9, seed=seed)

    [first] = ask(engine, sampled(1))
    again, other, *_ = ask(engine, sampled(1), sampled(2), make_task("other", [], "hello"))
    assert again == first and other != first


def test_a_cancelled_request_frees_its_place_and_the_others_go_on(
    engine: Any, make_task: Any, alone: Any, image_files: Any
):
    long = make_task("mine", image_files[:1], QUESTIONS[3], tokens=2_000)
    short = make_task("mine", image_files[1:2], QUESTIONS[0])
    expected = alone(short).text

    async def go() -> str:
        pending, other = engine.start(long), asyncio.ensure_future(collect(engine, short))
        assert isinstance(await pending.next(), TextPiece)
        pending.cancel()
        text, _end = await other
        for _ in range(200):
            if not engine.answering:
                return text
            await asyncio.sleep(0.01)
        raise AssertionError("the cancelled request is still being answered")

    assert asyncio.run(go()) == expected
    assert all(lane.scheduler.is_idle for lane in engine._lanes)


def test_too_many_waiting_requests_are_refused(served: Any, make_task: Any, image_files: Any):
    from mg_tui.engine.serving.builtin import BuiltinEngine

    engine = BuiltinEngine(served, max_waiting=2)
    try:

        async def go() -> None:
            tasks = [engine.start(make_task("tiny", image_files[:1], f"{number}?")) for number in range(2)]
            with pytest.raises(TooManyWaiting):
                engine.start(make_task("tiny", [], "one more"))
            for pending in tasks:
                while isinstance(await pending.next(), TextPiece):
                    pass
            engine.start(make_task("tiny", [], "now"))

        asyncio.run(go())
    finally:
        engine.close()


def test_a_request_that_is_too_long_or_has_a_control_token_is_refused_alone(
    engine: Any, make_task: Any, alone: Any, image_files: Any
):
    good = make_task("mine", image_files[:1], QUESTIONS[0])
    for bad, message in (
        (make_task("mine", [], "x", tokens=1_000_000), "at most"),
        (make_task("mine", [], "a word " * 40_000), "at most"),
    ):

        async def go(bad: Any = bad, message: str = message) -> str:
            other = asyncio.ensure_future(collect(engine, good))
            with pytest.raises(TaskRefused, match=message) as caught:
                await engine.start(bad).next()
            assert caught.value.code == "context_length_exceeded"
            return (await other)[0]

        assert asyncio.run(go()) == alone(good).text


def test_a_failure_of_the_engine_fails_its_requests_and_later_ones_are_answered(
    engine: Any, make_task: Any, alone: Any, image_files: Any, monkeypatch: pytest.MonkeyPatch
):
    task = make_task("mine", image_files[:1], QUESTIONS[0])
    lane = next(lane for lane in engine._lanes if lane.served.name == "mine")
    with monkeypatch.context() as patch:
        patch.setattr(lane.scheduler, "step", lambda: 1 / 0)
        with pytest.raises(GardenError, match="the engine failed"):
            ask(engine, task)
    assert engine.problem() is None
    assert ask(engine, task)[0][0] == alone(task).text


def test_closing_fails_what_is_under_way(served: Any, make_task: Any, image_files: Any):
    from mg_tui.engine.serving.builtin import BuiltinEngine

    engine = BuiltinEngine(served, max_waiting=9)

    async def go() -> None:
        pending = engine.start(make_task("mine", image_files[:1], QUESTIONS[3], tokens=2_000))
        await pending.next()
        await asyncio.to_thread(engine.close)
        with pytest.raises(EngineEnded):
            while True:
                await pending.next()
        with pytest.raises(EngineEnded):
            engine.start(make_task("tiny", [], "?"))

    asyncio.run(go())


def test_a_model_without_batched_generation_answers_one_request_after_the_other(
    served: Any, make_task: Any, alone: Any, image_files: Any, monkeypatch: pytest.MonkeyPatch
):
    from mg_tui.engine.serving import builtin

    tasks = [make_task(model, image_files[:1], question) for model in ("mine", "other") for question in QUESTIONS[:2]]
    expected = [alone(task).text for task in tasks]
    whole = expected[2]
    stopped = make_task("other", image_files[:1], QUESTIONS[0], stop=[whole[3:5]])
    monkeypatch.setattr(builtin, "unsupported_reason", lambda _model: "a test says so")
    engine = builtin.BuiltinEngine(served, max_waiting=9)
    try:
        answers = ask(engine, *tasks, stopped)
    finally:
        engine.close()
    assert [text for text, _end in answers[:4]] == expected
    assert answers[4][0] == whole[: whole.index(whole[3:5])] and answers[4][1].finish_reason == "stop"
