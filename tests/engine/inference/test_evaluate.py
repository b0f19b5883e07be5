"""A result evaluated on held-out rows, and a row as a model sees it, token by token."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import DataError, UsageError
from mg_tui.core.model_job_spec import MergeSpec
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.synthetic.drawings import draw_image
from mg_tui.runs import launch
from mg_tui.runs.engine_process import EngineProcess
from mg_tui.runs.follow import follow
from mg_tui.runs.model_jobs import ModelJobFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.watch import RunWatch
from tests.recording_channel import RecordingChannel


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten rows, a drawn image each; the last one's image is not there."""
    import random

    folder = tmp_path_factory.mktemp("rows")
    rows = []
    for number in range(10):
        draw_image(random.Random(number), size=(112, 112))[0].save(folder / f"{number}.png")
        rows.append({"question": f"What is it? {number}", "image": f"{number}.png", "response": "A shape."})
    rows[-1]["image"] = "nowhere.png"
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def evaluated(
    make_adapted: Callable[..., Any], save: Callable[..., Path], dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A result whose run held three tenths of the rows out."""
    values = {"base_model": "tiny", "dataset": str(dataset), "text_field": "question", "eval_split": 0.3, "seed": 3}
    spec = TrainingSpec.parse({**values, "on_bad_row": "skip", "max_pixels": 50176})
    return save(make_adapted(strength=0.2), tmp_path_factory.mktemp("result") / "adapter", spec=spec)


@pytest.fixture
def session(evaluated: Path, tmp_path: Path) -> Callable[..., RecordingChannel]:
    from mg_tui.engine.inference.evaluate import EvaluationSession

    def exam(cancel_after: int | None = None, model: Path = evaluated, **options: Any) -> RecordingChannel:
        listener = RecordingChannel(cancel_after)
        session = EvaluationSession(listener)  # type: ignore[arg-type]
        session.load({"model": str(model), "home": str(tmp_path), "device": "cpu"})
        session.evaluate({"max_new_tokens": 4, "batch_size": 2, "cache": str(tmp_path / "cache"), **options})
        return listener

    return exam


def test_the_rows_that_the_run_held_out_are_answered_by_both(
    session: Callable[..., RecordingChannel], dataset: Path
) -> None:
    from mg_tui.data.dataset import FieldMap, load_dataset
    from mg_tui.data.split import split_by_image

    result = session()
    examples = load_dataset(dataset, FieldMap(text="question")).examples
    held = split_by_image(examples, 0.3, 3)[1]
    reply = result.named("exam")[-1]
    assert [row["row"] for row in reply["rows"]] == [example.row for example in held] and reply["ended"] == "end"
    assert (
        "held out" in result.named("notice")[-1]["text"]
        and "unusable rows skipped: 1" in result.named("notice")[-1]["text"]
    )
    came = [row for progress in result.named("progress") for row in progress["rows"]]
    assert came == reply["rows"]
    first = reply["rows"][0]
    assert first["prompt"].startswith("What is it?") and first["expected"] == "A shape."
    assert Path(first["images"][0]).is_file()
    assert any(row["answer"] != row["base_answer"] for row in reply["rows"])


def test_another_dataset_a_limit_and_an_early_end(session: Callable[..., RecordingChannel], dataset: Path) -> None:
    reply = session(dataset=str(dataset), limit=4, base_too=False).named("exam")[-1]
    assert [row["row"] for row in reply["rows"]] == [1, 2, 3, 4]
    assert all(row["base_answer"] is None for row in reply["rows"])
    reply = session(cancel_after=2, dataset=str(dataset)).named("exam")[-1]  # ready, notice, one progress
    assert reply["ended"] == "cancelled" and len(reply["rows"]) == 2 and reply["total"] == 9


@pytest.mark.parametrize("cached", [True, False])
def test_ignored_columns_of_the_dataset_are_not_read(
    session: Callable[..., RecordingChannel], dataset: Path, cached: bool
) -> None:
    row = {"question": "What is it?", "image": "0.png", "response": "A shape.", "hint": "It has corners."}
    file = dataset.with_name("hints.jsonl")
    file.write_text(json.dumps(row) + "\n")
    options: dict[str, Any] = {"dataset": str(file), "text_field": "question", "base_too": False}
    options |= {} if cached else {"cache": None}
    with pytest.raises(DataError):
        session(**options)
    (answered,) = session(**options, ignore_column=["hint"]).named("exam")[-1]["rows"]
    assert answered["expected"] == "A shape."
    assert answered["prompt"] == "What is it?"


def test_what_cannot_be_evaluated_is_said(
    session: Callable[..., RecordingChannel], result: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="held no rows out"):
        session(model=result)
    with pytest.raises(DataError, match="not"):
        session(dataset=str(tmp_path / "nowhere.jsonl"))


@pytest.fixture(scope="module")
def seer() -> Iterator[EngineProcess]:
    with EngineProcess("mg_tui.engine.inference.inspect_tokens") as child:
        (ready,) = child.stream("open", base_model="tiny", max_pixels=50176)
        assert ready["family"] == "qwen2_5_vl"
        yield child


def _inspect(child: EngineProcess, *messages: dict[str, Any]) -> dict[str, Any]:
    (observed,) = child.stream("row", row=3, messages=list(messages))
    return dict(observed)


def test_tokens_are_those_of_training(seer: EngineProcess, dataset: Path) -> None:
    image_file = str(dataset.parent / "0.png")
    user = {"role": "user", "parts": [{"image": image_file}, {"text": "What — 猫 🐈 <|image_pad|>?"}]}
    observed = _inspect(seer, user, {"role": "assistant", "parts": [{"text": "A shape."}]})
    text = "".join(str(piece) for piece, _learned in observed["pieces"])
    assert "猫 🐈 <|image_pad|>?" in text and "\ufffd" not in text
    assert [piece for piece, _learned in observed["pieces"] if isinstance(piece, int)] == [0]  # the text's mark is text
    supervised = "".join(str(piece) for piece, supervised in observed["pieces"] if supervised)
    assert supervised == "A shape.<|im_end|>"
    assert observed["images"] == [{"path": image_file, "size": [112, 112], "seen_at": [112, 112], "tokens": 16}]
    assert observed["image_tokens"] == 16 and observed["learned"] == sum(flag for _piece, flag in observed["pieces"])

    from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
    from mg_tui.engine.inference.inspect_tokens import OpenRequest, open_encoder

    options = (ImagePart(ImageRef(image_file, image_file)), TextPart("What — 猫 🐈 <|image_pad|>?"))
    example = Example(3, (Message("user", options), Message("assistant", (TextPart("A shape."),))))
    encoder = open_encoder(OpenRequest(base_model="tiny", max_pixels=50176))
    assert observed["tokens"] == encoder.length(example, [(112, 112)])


def test_images_keep_their_places_between_texts(seer: EngineProcess, dataset: Path) -> None:
    images = [str(dataset.parent / f"{number}.png") for number in (0, 1)]
    parts = [{"text": "First "}, {"image": images[0]}, {"text": " then "}, {"image": images[1]}]
    observed = _inspect(seer, {"role": "user", "parts": parts}, {"role": "assistant", "parts": [{"text": "Yes."}]})
    kinds = [
        piece for piece, _learned in observed["pieces"] if isinstance(piece, int) or "then" in piece or "First" in piece
    ]
    assert [piece for piece in kinds if isinstance(piece, int)] == [0, 1]
    whole = "".join(f"<{piece}>" if isinstance(piece, int) else piece for piece, _learned in observed["pieces"])
    assert whole.index("First") < whole.index("<0>") < whole.index("then") < whole.index("<1>")


def test_a_row_that_cannot_be_seen_is_said_and_the_next_one_is(seer: EngineProcess, dataset: Path) -> None:
    gone = {"role": "user", "parts": [{"image": "/nowhere.png"}]}
    with pytest.raises(DataError, match="does not exist"):
        _inspect(seer, gone, {"role": "assistant", "parts": [{"text": "Yes."}]})
    with pytest.raises(DataError, match="supervised answer"):
        _inspect(seer, {"role": "user", "parts": [{"text": "Hm?"}]})
    assert _inspect(
        seer, {"role": "user", "parts": [{"text": "Hm?"}]}, {"role": "assistant", "parts": [{"text": "Yes."}]}
    )


@pytest.mark.slow
def test_a_merge_that_is_terminated_leaves_nothing(evaluated: Path, tmp_path: Path) -> None:
    folder = ModelJobFolder.create(tmp_path, MergeSpec(model=str(evaluated), output=str(tmp_path / "merged")))
    launch.start_worker(folder)
    watch = RunWatch(folder)
    deadline = time.monotonic() + 120
    while watch.view.step < 3 and not watch.state.ended and time.monotonic() < deadline:  # until saving has begun
        time.sleep(0.05)
        watch.refresh()
    assert watch.view.step >= 3 and watch.view.pid is not None
    os.kill(watch.view.pid, signal.SIGTERM)
    for _events in follow(folder, 0.05, watch=watch):
        assert time.monotonic() < deadline
    assert watch.state is RunState.STOPPED and watch.view.result["by"] == "signal SIGTERM"
    assert [path.name for path in tmp_path.iterdir() if "merged" in path.name] == []
