"""Steps as tensors: the same whoever makes them and wherever they begin; an unreadable row is said, not lost."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL
from PIL import Image

from mg_tui.core.errors import DataError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.batching.batches import EvaluationBatches, PaddedLayout, StepBatch, StepDataset
from mg_tui.engine.batching.step_stream import StepStream, choose_worker_count
from mg_tui.engine.compute.loss import SupervisedHead, supervised_positions, token_loss_sum
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.families.collate import IGNORE_INDEX
from mg_tui.families.contract import LoadRequest, Preprocessing

LIMITS = Preprocessing(min_pixels=784, max_pixels=20_000)
TINY = str(QWEN2_5_VL.checkpoints[-1].path)


@pytest.fixture(scope="module")
def collator() -> Any:
    return QWEN2_5_VL.make_collator(QWEN2_5_VL, QWEN2_5_VL.load_processor(QWEN2_5_VL, TINY, LIMITS), LIMITS)


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    """Seven rows on three images, answers of different lengths."""
    for number in range(3):
        Image.effect_noise((56 + 28 * number, 84), 60).convert("RGB").save(tmp_path / f"{number}.png")
    result = []
    for row in range(1, 8):
        path = str(tmp_path / f"{row % 3}.png")
        question = (ImagePart(ImageRef(path, path)), TextPart(f"question {row}?"))
        answer = (TextPart("yes " * row),)
        result.append(Example(row, (Message("user", question), Message("assistant", answer))))
    return result


def make_stream(
    examples: list[Example], collator: Any, *, start: int = 0, workers: int = 0, shared: bool = True
) -> StepStream:
    dataset = StepDataset(examples, StepPlan(len(examples), 3, seed=1), PaddedLayout(collator, 2))
    return StepStream(dataset, start=start, total=7, workers=workers, pin_memory=False, shared_memory=shared)


def read_all(steps: StepStream) -> list[StepBatch]:
    """Epoch after epoch until nothing comes."""
    result: list[StepBatch] = []
    while some := list(steps):
        result += some
    steps.close()
    return result


def test_steps_are_the_same_from_processes_pipes_and_the_middle(examples: list[Example], collator: Any) -> None:
    expected = read_all(make_stream(examples, collator))
    assert [batch.number for batch in expected] == list(range(7))
    for other in (
        read_all(make_stream(examples, collator, workers=1)),
        read_all(make_stream(examples, collator, workers=2, shared=False)),
        [*expected[:4], *read_all(make_stream(examples, collator, start=4))],
    ):
        assert [batch.rows for batch in other] == [batch.rows for batch in expected]
        for item, two in zip(expected, other, strict=True):
            for part, same in zip(item.micro_batches, two.micro_batches, strict=True):
                assert part.inputs.keys() == same.inputs.keys()
                assert all(torch.equal(part.inputs[name], same.inputs[name]) for name in part.inputs)
                assert torch.equal(part.positions, same.positions) and torch.equal(part.targets, same.targets)


def test_nobody_reads_ahead_where_training_keeps_the_cores_busy() -> None:
    assert choose_worker_count(None, cuda=False)[0] == 0
    assert choose_worker_count(None, cuda=True)[0] == 2
    assert choose_worker_count(3, cuda=False) == choose_worker_count(3, cuda=True) == (3, "requested")


def test_an_epoch_ends_where_the_plan_says(examples: list[Example], collator: Any) -> None:
    steps = make_stream(examples, collator)
    assert [len(list(steps)) for _ in range(4)] == [3, 3, 1, 0]
    middle = make_stream(examples, collator, start=4)
    assert [len(list(middle)) for _ in range(3)] == [2, 1, 0]


def test_nothing_is_drawn_from_the_random_state_that_training_uses(examples: list[Example], collator: Any) -> None:
    before = torch.random.get_rng_state()
    read_all(make_stream(examples, collator, workers=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_image_that_has_gone_is_told_by_row_and_the_rest_remains(examples: list[Example], collator: Any) -> None:
    Path(examples[0].images[0].path).unlink()
    result = read_all(make_stream(examples, collator, workers=1))
    gone = {example.row for example in examples if example.images[0] == examples[0].images[0]}
    assert {failure.row for batch in result for failure in batch.failures} == gone
    assert {row for batch in result for row in batch.rows} == {example.row for example in examples} - gone
    with pytest.raises(DataError, match=r"row \d"):
        list(EvaluationBatches(examples, PaddedLayout(collator, 2))())


def test_a_row_that_cannot_be_laid_out_is_told_by_row(examples: list[Example], collator: Any) -> None:
    class Picky(PaddedLayout):
        def __call__(self, examples: Any, images: Any) -> Any:
            if any(example.row == 4 for example in examples):
                raise DataError("row 4: the template refuses it", why="a test")
            return super().__call__(examples, images)

    dataset = StepDataset(examples, StepPlan(7, 7, seed=1), Picky(collator, 2))
    batch = dataset[0]
    assert [(failure.row, failure.why) for failure in batch.failures] == [(4, "a test")]
    assert sorted(batch.rows) == [1, 2, 3, 5, 6, 7]


def test_labels_are_the_answer_with_its_end_and_nothing_else(examples: list[Example], collator: Any) -> None:
    (batch,) = [StepDataset(examples, StepPlan(7, 7, shuffle=False), PaddedLayout(collator, 7))[0]]
    (part,) = batch.micro_batches
    tokenizer, width = collator.processor.tokenizer, part.inputs["input_ids"].shape[1]
    for index, example in enumerate(examples):
        own = (part.positions // width) == index
        assert tokenizer.decode(part.targets[own]) == f"{example.response}<|im_end|>"
        ids = part.inputs["input_ids"].flatten()
        assert torch.equal(ids[part.positions[own] + 1], part.targets[own]), "each position predicts the next token"


def test_supervised_positions_predict_what_follows_them() -> None:
    labels = torch.tensor([[IGNORE_INDEX, 5, 6, IGNORE_INDEX], [IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, 7]])
    positions, targets = supervised_positions(labels)
    assert positions.tolist() == [0, 1, 6]
    assert targets.tolist() == [5, 6, 7]


def test_loss_and_gradients_are_those_of_one_example_at_a_time(examples: list[Example], collator: Any) -> None:
    model = QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))
    step = StepDataset(examples, StepPlan(7, 7, seed=1), PaddedLayout(collator, 3))[0]
    head = SupervisedHead(model)
    observed: list[torch.Size] = []
    watch = model.lm_head.register_forward_hook(lambda _module, _args, out: observed.append(out.shape))
    loss = sum(
        token_loss_sum(head(model, part.inputs, part.positions), part.targets) / step.supervised
        for part in step.micro_batches
    )
    loss.backward()
    assert [shape[0] for shape in observed] == [part.targets.numel() for part in step.micro_batches], (
        "no logits for the rest"
    )
    packed = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    head.close()
    watch.remove()

    model.zero_grad()
    alone = 0.0
    for example in examples:
        batch = collator([example], [[Image.open(ref.path).convert("RGB") for ref in example.images]])
        labels = batch.pop("labels")
        logits = model(**batch).logits[0, :-1]
        item = torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=IGNORE_INDEX, reduction="sum")
        (item / step.supervised).backward()
        alone += item.item() / step.supervised
    assert loss.item() == pytest.approx(alone, rel=1e-5)
    norm = sum(parameter.grad.norm() ** 2 for parameter in model.parameters()) ** 0.5
    difference = sum((packed[n] - p.grad).norm() ** 2 for n, p in model.named_parameters()) ** 0.5
    assert (difference / norm).item() < 1e-5


def test_a_model_that_reshapes_before_its_head_gets_the_same_logits() -> None:
    class Strange(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lm_head = torch.nn.Embedding(11, 4), torch.nn.Linear(4, 11)

        def get_output_embeddings(self) -> torch.nn.Module:
            return self.lm_head

        def forward(self, input_ids: Any, use_cache: bool) -> Any:
            flat = self.lm_head(self.embed(input_ids).flatten(0, 1))
            return type("Out", (), {"logits": flat.view(*input_ids.shape, -1)})

    model, ids = Strange(), torch.arange(10).view(2, 5)
    positions = torch.tensor([1, 7])
    logits = SupervisedHead(model)(model, {"input_ids": ids}, positions)
    assert torch.equal(logits, model.lm_head(model.embed(ids)).flatten(0, 1)[positions])


def test_rows_of_similar_length_are_padded_together(examples: list[Example], collator: Any) -> None:
    """The step stays the same; a long row no longer makes short ones as long as itself."""
    images = {ref.path: Image.open(ref.path).convert("RGB") for example in examples for ref in example.images}
    alone = PaddedLayout(collator, 1)(examples, images)
    lengths = {row: part.tokens for part in alone for row in part.rows}
    ordered = sorted(examples, key=lambda example: lengths[example.row])
    mixed = [ordered[index] for index in (0, 6, 1, 5, 2, 4)]  # a short one beside a long one each time
    plain, grouped = PaddedLayout(collator, 2)(mixed, images), PaddedLayout(collator, 2, lengths)(mixed, images)
    assert [lengths[row] for part in grouped for row in part.rows] == sorted(
        (lengths[example.row] for example in mixed), reverse=True
    )
    assert sorted(row for part in plain for row in part.rows) == sorted(row for part in grouped for row in part.rows)
    assert sum(part.tokens for part in plain) == sum(part.tokens for part in grouped)
    assert sum(part.inputs["input_ids"].numel() for part in grouped) < sum(
        part.inputs["input_ids"].numel() for part in plain
    )
