"""Answers to many rows equal those to each row alone, and what rows share is computed and stored once."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mg_tui.core.errors import DataError, EnvironmentProblem
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.batching import vision_inputs
from mg_tui.engine.generation import image_features
from mg_tui.engine.generation.budget import GenerationBudget
from mg_tui.engine.generation.generate import generate_rows
from mg_tui.engine.generation.interface import GenerationCallbacks, GenerationModel, RowAnswer
from mg_tui.engine.generation.model_runner import ModelRunner
from mg_tui.engine.generation.row_state import RowState
from mg_tui.engine.inference.generation import GeneratedAnswer, Sampling, generate_answer

NEW = 36
LONG = Sampling(max_new_tokens=NEW)
LARGE = GenerationBudget(rows=64, kv_tokens=100_000, prefill_tokens=100_000)
SMALL = GenerationBudget(rows=3, kv_tokens=1_000, prefill_tokens=64, sufficient_tokens=32)
BUDGETS = {
    "all rows together": LARGE,
    "few rows, short passes": SMALL,
    "one row at a time": GenerationBudget(rows=1, kv_tokens=1, prefill_tokens=1),
    "few tokens": GenerationBudget(rows=16, kv_tokens=250, prefill_tokens=40),
}


@pytest.fixture
def tokens_of(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Token ids of the answers, by row index."""
    tokens: dict[int, list[int]] = {}
    to_answer = RowState.to_answer

    def record(self: RowState, *args: Any) -> GeneratedAnswer:
        tokens[self.prompt.index] = list(self.tokens)
        return to_answer(self, *args)

    monkeypatch.setattr(RowState, "to_answer", record)
    return tokens


@pytest.fixture
def step_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each decode step."""
    sizes: list[int] = []
    decode = ModelRunner.decode_logits

    def record(self: ModelRunner, ids: torch.Tensor, *args: Any) -> torch.Tensor:
        sizes.append(len(ids))
        return decode(self, ids, *args)

    monkeypatch.setattr(ModelRunner, "decode_logits", record)
    return sizes


def texts(answers: list[RowAnswer]) -> list[str]:
    return [item.answer.text for item in sorted(answers, key=lambda item: item.index)]


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("name", ["plain_model", "adapted"])
def test_greedy_answers_equal_those_of_each_row_alone(
    name: str,
    budget: GenerationBudget,
    encoder: Any,
    rows: list[Example],
    alone: Callable[..., Any],
    tokens_of: dict[int, list[int]],
    request: pytest.FixtureRequest,
) -> None:
    model = request.getfixturevalue(name)
    expected = alone(model, rows)
    answers = list(generate_rows(GenerationModel(model, encoder), rows, LONG, budget))
    assert [tokens_of[index] for index in range(len(rows))] == [ids for ids, _text in expected]
    assert texts(answers) == [text for _ids, text in expected]
    assert all(item.example is rows[item.index] for item in answers)
    if name == "adapted":  # its answers have many lengths, and some reach the limit
        lengths = {len(ids) for ids, _text in expected}
        assert len(lengths) > 4 and NEW in lengths and min(lengths) < NEW / 2


def test_counts_sizes_and_times(plain_model: Any, encoder: Any, rows: list[Example]) -> None:
    from mg_tui.data.images import open_image

    answers = {item.index: item.answer for item in generate_rows(GenerationModel(plain_model, encoder), rows, LONG)}
    for index in (0, 1, 6):
        images = [open_image(ref.path) for ref in rows[index].images]
        single = generate_answer(plain_model, encoder, rows[index].prompt, images, LONG)
        for name in ("text", "tokens", "prompt_tokens", "finish_reason", "image_sizes", "seed"):
            assert getattr(answers[index], name) == getattr(single, name), name
        assert answers[index].image_tokens == (single.image_tokens or 0)
        assert answers[index].seconds >= answers[index].first_token_seconds > 0


def test_shared_work_is_done_once(
    plain_model: Any, encoder: Any, row: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is encoded once, the shared tokens are computed once, their keys and values stored once."""
    questions = ["what shape is it?", "how many shapes?", "what color is it?", "is it red?", "where is it?"]
    examples = [row(5 * image + number, [image], text) for number, text in enumerate(questions) for image in (0, 1)]
    examples.append(row(20, [0, 1], "compare", first="Both:"))  # another prefix: computed again, but not encoded again
    encoded: list[int] = []
    computed: list[int] = []
    stored: list[set[tuple[int, int]]] = []
    encode, prefill = vision_inputs.encode_images, ModelRunner.prefill_logits

    def record_encode(*args: Any) -> Any:
        encoded.append(len(args[2]))
        return encode(*args)

    def record_prefill(self: ModelRunner, ids: Any, positions: Any, places: Any, features: Any, layers: Any) -> Any:
        computed.append(len(ids))
        logits = prefill(self, ids, positions, places, features, layers)
        stored.append({(pair[0].shape[0], pair[0].shape[2]) for pair in layers._cache._prefix.values()})
        return logits

    monkeypatch.setattr(image_features, "encode_images", record_encode)
    monkeypatch.setattr(ModelRunner, "prefill_logits", record_prefill)
    answers = list(generate_rows(GenerationModel(plain_model, encoder), examples, LONG, LARGE))
    lengths = {item.index: item.answer.prompt_tokens for item in answers}
    assert sum(encoded) == 2
    assert sum(computed) < sum(lengths[index] for index in range(10)) / 2 + lengths[10]
    assert stored == [{(3, lengths[10])}], "a prefix for each image, and the last row's, which is the longest"


def test_finished_rows_leave_the_batch(
    adapted: Any, encoder: Any, rows: list[Example], tokens_of: dict[int, list[int]], step_sizes: list[int]
) -> None:
    order = [item.index for item in generate_rows(GenerationModel(adapted, encoder), rows, LONG, LARGE)]
    lengths = [len(tokens_of[index]) for index in range(len(rows))]
    assert sum(step_sizes) == sum(lengths) - len(rows)  # the prefill gives the first token
    assert step_sizes == sorted(step_sizes, reverse=True)
    assert [lengths[index] for index in order] == sorted(lengths)


def test_waiting_rows_take_the_place_of_finished_ones(
    adapted: Any, encoder: Any, rows: list[Example], step_sizes: list[int]
) -> None:
    budget = GenerationBudget(rows=4, kv_tokens=100_000, prefill_tokens=1_000)
    assert len(list(generate_rows(GenerationModel(adapted, encoder), rows * 2, LONG, budget))) == 2 * len(rows)
    assert max(step_sizes) <= 4
    assert sum(step_sizes) / len(step_sizes) > 3, "not only when all of them are finished"


@pytest.mark.parametrize("one_by_one", [False, True])
def test_sampled_answers_do_not_depend_on_other_rows(
    one_by_one: bool, plain_model: Any, encoder: Any, rows: list[Example]
) -> None:
    model = GenerationModel(plain_model, encoder)
    sampling = Sampling(max_new_tokens=12, temperature=3.0, top_p=0.95, seed=5)
    answers = list(generate_rows(model, rows, sampling, LARGE))
    assert {item.answer.seed for item in answers} == {5}
    if one_by_one:
        again = [item.answer.text for example in rows for item in generate_rows(model, [example], sampling)]
    else:
        again = texts(list(generate_rows(model, rows[::-1], sampling, SMALL)))[::-1]
    assert again == texts(answers)
    other_seed = Sampling(max_new_tokens=12, temperature=3.0, top_p=0.95, seed=6)
    assert texts(list(generate_rows(model, rows, other_seed))) != texts(answers)


def test_a_drawn_seed_is_reported_and_reproduces(plain_model: Any, encoder: Any, rows: list[Example]) -> None:
    model = GenerationModel(plain_model, encoder)
    same_prompt = [Example(number, rows[0].messages) for number in range(8)]
    answers = list(generate_rows(model, same_prompt, Sampling(max_new_tokens=12, temperature=3.0)))
    assert len(set(texts(answers))) > 1, "rows draw their own numbers"
    (seed,) = {item.answer.seed for item in answers}
    repeated = Sampling(max_new_tokens=12, temperature=3.0, seed=seed)
    assert texts(list(generate_rows(model, same_prompt, repeated))) == texts(answers)


def test_sampling_per_row(
    plain_model: Any, encoder: Any, rows: list[Example], alone: Callable[..., Any], tokens_of: dict[int, list[int]]
) -> None:
    samplings = [
        Sampling(max_new_tokens=1 + index % 3) if index % 2 else Sampling(max_new_tokens=4, temperature=2.0, seed=1)
        for index in range(len(rows))
    ]
    list(generate_rows(GenerationModel(plain_model, encoder), rows, samplings))
    expected = alone(plain_model, rows)
    for index in range(1, len(rows), 2):
        assert tokens_of[index] == expected[index][0][: 1 + index % 3]
    with pytest.raises(ValueError, match="2 samplings for"):
        list(generate_rows(GenerationModel(plain_model, encoder), rows, samplings[:2]))


@pytest.mark.parametrize("method", ["prefill_logits", "decode_logits"])
def test_out_of_memory_halves_the_budget(
    method: str,
    adapted: Any,
    encoder: Any,
    rows: list[Example],
    alone: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With memory for 3 rows, or for 100 tokens, the answers are the same and no text is streamed twice."""
    expected = [text for _ids, text in alone(adapted, rows)]
    original = getattr(ModelRunner, method)
    failures: list[int] = []
    pieces: dict[int, list[str]] = {}

    def limited(self: ModelRunner, ids: torch.Tensor, positions: torch.Tensor, *args: Any) -> Any:
        rows_in_pass = len(args[0]) if method == "prefill_logits" else len(ids)
        if rows_in_pass > 1 and len(ids) > (100 if method == "prefill_logits" else 3):
            failures.append(len(ids))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return original(self, ids, positions, *args)

    monkeypatch.setattr(ModelRunner, method, limited)
    callbacks = GenerationCallbacks(on_text=lambda index, piece: pieces.setdefault(index, []).append(piece))
    budget = GenerationBudget(rows=64, kv_tokens=100_000, prefill_tokens=4_000)
    answers = list(generate_rows(GenerationModel(adapted, encoder), rows, LONG, budget, callbacks=callbacks))
    assert failures and texts(answers) == expected
    assert ["".join(pieces.get(index, [])) for index in range(len(rows))] == expected


def test_a_row_that_does_not_fit_alone_is_named(
    plain_model: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore of it")

    monkeypatch.setattr(ModelRunner, "prefill_logits", fail)
    with pytest.raises(EnvironmentProblem, match="row 5 does not fit into memory") as raised:
        list(generate_rows(GenerationModel(plain_model, encoder), rows[4:5]))
    assert raised.value.why == "CUDA out of memory."


def test_other_errors_are_raised(
    plain_model: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> Any:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(ModelRunner, "decode_logits", fail)
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        list(generate_rows(GenerationModel(plain_model, encoder), rows))


def unreadable_row(number: int, folder: Path, *, truncated: bool) -> Example:
    path = folder / f"image-{number}.png"
    if truncated:
        Image.effect_noise((112, 112), 60).convert("RGB").save(path)
        path.write_bytes(path.read_bytes()[:4000])
    parts = (ImagePart(ImageRef(str(path), path.name)), TextPart("what is it?"))
    return Example(number, (Message("user", parts), Message("assistant", (TextPart("x"),))))


def test_unreadable_rows_are_reported_and_the_others_answered(
    plain_model: Any, encoder: Any, rows: list[Example], tmp_path: Path
) -> None:
    """A missing image is noticed when prompts are encoded, a truncated one when images are."""
    model = GenerationModel(plain_model, encoder)
    missing = unreadable_row(70, tmp_path, truncated=False)
    truncated = unreadable_row(71, tmp_path, truncated=True)
    for bad in (missing, truncated):
        with pytest.raises(DataError, match=f"row {bad.row}: image"):
            list(generate_rows(model, [bad, rows[0]]))
    examples = [*rows[:3], missing, *rows[3:5], truncated]
    problems: dict[int, str] = {}
    callbacks = GenerationCallbacks(on_problem=lambda index, error: problems.update({index: error.what}))
    answers = list(generate_rows(model, examples, LONG, callbacks=callbacks))
    assert problems.keys() == {3, 6} and "row 70: " in problems[3] and "row 71: " in problems[6]
    readable = [examples[index] for index in (0, 1, 2, 4, 5)]
    assert texts(answers) == texts(list(generate_rows(model, readable, LONG)))


def test_cancelling(adapted: Any, encoder: Any, rows: list[Example]) -> None:
    received: list[RowAnswer] = []
    callbacks = GenerationCallbacks(cancelled=lambda: len(received) >= 3)
    model = GenerationModel(adapted, encoder)
    for answer in generate_rows(model, rows, LONG, callbacks=callbacks):
        received.append(answer)
    assert 3 <= len(received) < len(rows)


def count_tensors() -> int:
    gc.collect()
    # By exact type: fake tensors, which other tests' compilations leave, have no storage.
    tensors = (item for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter))
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors})


def model_state(model: Any) -> dict[str, Any]:
    return {
        "attention": model.config.get_text_config()._attn_implementation,
        "replaced": [name for name, module in model.named_modules() if "forward" in vars(module)],
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
    }


@pytest.mark.parametrize("ending", ["exhausted", "closed", "raised"])
def test_nothing_is_left(
    ending: str, adapted: Any, encoder: Any, rows: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor of a generation survives it, and the model is restored, also between answers."""
    model = GenerationModel(adapted, encoder)
    list(generate_rows(model, rows[:2], LONG))  # libraries allocate some tensors once
    tensors, state = count_tensors(), model_state(adapted)
    answers = generate_rows(model, rows, LONG, SMALL)
    next(answers)
    between = model_state(adapted)
    assert (between["attention"], between["replaced"]) == (state["attention"], state["replaced"])
    assert count_tensors() > tensors
    if ending == "exhausted":
        list(answers)
    elif ending == "closed":
        answers.close()  # type: ignore[attr-defined]
    else:
        monkeypatch.setattr(ModelRunner, "decode_logits", lambda *_args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(answers)
    del answers
    assert count_tensors() == tensors and model_state(adapted) == state


def test_the_model_can_be_used_between_answers(
    plain_model: Any, encoder: Any, rows: list[Example], alone: Callable[..., Any]
) -> None:
    inputs = encoder.encode_prompts([rows[1].prompt], [[]])
    answers = []
    for item in generate_rows(GenerationModel(plain_model, encoder), rows, LONG, SMALL):
        answers.append(item)
        plain_model.generate(**inputs, max_new_tokens=2)
    assert texts(answers) == [text for _ids, text in alone(plain_model, rows)]


def test_cached_features_are_used_and_written(
    plain_model: Any, encoder: Any, rows: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_qwen2_5_vl import QWEN2_5_VL

    from mg_tui.data.feature_store import FeatureStore
    from mg_tui.engine.batching.feature_cache import FeatureCache, vision_digest

    cache = FeatureCache(FeatureStore(tmp_path, 10_000_000), encoder.processor.image_processor.to_dict())
    cache.enable_for(vision_digest(plain_model, QWEN2_5_VL))
    first = texts(list(generate_rows(GenerationModel(plain_model, encoder, cache), rows, LONG)))
    assert cache.store.stats().entries == 4

    def fail(*_args: Any) -> Any:
        raise AssertionError("an image was encoded again")

    monkeypatch.setattr(image_features, "encode_images", fail)
    assert texts(list(generate_rows(GenerationModel(plain_model, encoder, cache), rows, LONG))) == first


def test_a_model_prepared_for_training(
    make_adapted: Callable[..., Any], encoder: Any, rows: list[Example], alone: Callable[..., Any]
) -> None:
    """With tree attention, fused layers and checkpointing, as during an evaluation within a run."""
    from mg_tui.engine.compute.optimizations import apply_optimizations

    model = make_adapted(strength=0.5)
    expected = [text for _ids, text in alone(model, rows)]
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    apply_optimizations(model, trees=True)
    state = model_state(model)
    assert texts(list(generate_rows(GenerationModel(model, encoder), rows, LONG, SMALL))) == expected
    assert model_state(model) == state and state["attention"] == "sdpa_tree"


def test_positions_are_those_of_the_model(plain_model: Any, encoder: Any, rows: list[Example]) -> None:
    """Ids and M-RoPE positions computed from image sizes equal those of the processor and of `get_rope_index`."""
    from mg_tui.data.images import open_image
    from mg_tui.engine.generation.prompts import PromptEncoder, read_image_size
    from mg_tui.families.split_encoding import SplitEncoder

    encode = PromptEncoder(SplitEncoder(encoder), read_image_size)
    for index, example in enumerate(rows):
        prompt = encode(index, example)
        inputs = encoder.encode_prompts([example.prompt], [[open_image(ref.path) for ref in example.images]])
        assert list(prompt.ids) == inputs["input_ids"][0].tolist()
        if not example.images:
            assert prompt.positions == (tuple(range(len(prompt.ids))),) * 3
            continue
        positions, deltas = plain_model.model.get_rope_index(
            inputs["input_ids"], inputs["mm_token_type_ids"], inputs["image_grid_thw"]
        )
        assert [list(axis) for axis in prompt.positions] == positions[:, 0].tolist()
        assert prompt.next_position == len(prompt.ids) + int(deltas[0])
