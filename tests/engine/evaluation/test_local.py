"""Evaluations of a model in this process: adapters, their base, checkpoints, and a killed one that is resumed."""

import io
import json
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mg_tui.cli.evaluations.summary import format_scores
from mg_tui.core.errors import UsageError
from mg_tui.core.example import ImagePart, ImageRef, Message, TextPart
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.evaluation import backend
from mg_tui.engine.generation.generate import generate_rows
from mg_tui.metrics.results import read_answers, read_results
from mg_tui.runs.evaluations import EvaluationFolder, read_json_file
from mg_tui.runs.folder import RunFolder
from tests.engine.evaluation.conftest import MakeEvaluation, events, final_bytes, last, run, write_rows
from tests.openai_server import OpenAIServer, images_of, question_of

QUICK = {"max_new_tokens": 3, "batch_size": 4, "device": "cpu", "text_field": "text"}


@pytest.fixture(scope="module")
def adapter(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return save(make_adapted(strength=0.2), tmp_path_factory.mktemp("adapter") / "mine")


def test_an_adapter_and_its_base_model(make: MakeEvaluation, adapter: Path, spec: TrainingSpec) -> None:
    folder = make(model=str(adapter), compare="base", limit=10, metrics="exact_match,chrf", speed=True, **QUICK)
    assert run(folder) == 0, last(folder)
    results, before = read_results(folder.results_dir), read_results(folder.before_dir)
    assert (results.spec["model"], results.spec["kind"], results.spec["base_model"]) == ("mine", "adapter", "tiny")
    assert (before.spec["model"], before.spec["kind"]) == ("tiny", "base model")
    assert [row.answer for row in results.rows] != [row.answer for row in before.rows]
    comparison = read_json_file(folder.comparison_file)
    assert comparison is not None and [one["name"] for one in comparison["metrics"]] == ["exact_match", "chrf"]
    assert last(folder).data["steps"] == 20
    speed = read_json_file(folder.speed_file)
    assert speed is not None and [one["batch"] for one in speed["speed"]] == [1, 4, 16]
    assert all(one["peak_memory"] > 0 and one["images_per_second"] > 0 for one in speed["speed"])
    assert "  images resized as in training, for both models" in format_scores(folder)
    # The base alone answers as the adapter's base does, which is asked as the adapter was trained.
    same = {"min_pixels": spec.min_pixels, "max_pixels": spec.max_pixels, "system_prompt": spec.system_prompt}
    alone = make(model="tiny", limit=10, metrics="exact_match,chrf", **same, **QUICK)
    assert run(alone) == 0
    assert [row.answer for row in read_results(alone.results_dir).rows] == [row.answer for row in before.rows]


def test_a_base_model_is_evaluated_with_its_own_limits(make: MakeEvaluation, adapter: Path, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((448, 448)).convert("RGB").save(tmp_path / "large.png")
    large = [{"text": "what is it?", "image": "large.png", "response": "a gradient"}] * 2
    options = {**QUICK, "dataset": str(write_rows(tmp_path / "large.jsonl", large)), "metrics": "exact_match,chrf"}
    boxes = {**options, "boxes": "resized"}
    folder = make(model="tiny", **boxes)
    assert run(folder) == 0, last(folder)
    results = read_results(folder.results_dir)
    assert (results.spec["min_pixels"], results.spec["max_pixels"]) == (3136, 12544)
    assert results.rows[0].boxes is not None and results.rows[0].boxes.seen == (112, 112)
    assert "  images resized to 3,136 to 12,544 pixels (the model's own limits)" in format_scores(folder)
    # Flags win, for both models; without them two models are used as each of them is.
    given = make(model=str(adapter), compare="tiny", max_pixels=28_224, min_pixels=784, **boxes)
    assert run(given) == 0, last(given)
    for place in (given.results_dir, given.before_dir):
        row = read_results(place).rows[0]
        assert row.boxes is not None and row.boxes.seen == (168, 168)
    assert "  images resized to 784 to 28,224 pixels (as asked for), for both models" in format_scores(given)
    each = make(model=str(adapter), compare="tiny", **options)
    assert run(each) == 0, last(each)
    assert (
        "  images resized as in training; for the model before to 3,136 to 12,544 pixels (the model's own limits)"
        in format_scores(each)
    )


class ModelServer(OpenAIServer):
    """A server of a real model: what comes over HTTP is decoded and answered by `generate`, one request at a time."""

    def __init__(self, model: str, home: Path):
        from mg_tui.engine.inference.loading import load_located
        from mg_tui.engine.inference.locator import locate_model
        from mg_tui.families.registry import load_registry

        super().__init__(str)
        registry = load_registry()
        located = locate_model(model, home=home, registry=registry)
        self.loaded = load_located(located, registry, device="cpu", dtype="float32", quantization="none")
        self.busy = threading.Lock()

    def answer_body(self, body: dict[str, Any]) -> str:
        from mg_tui.engine.inference.generation import Sampling, generate_answer, make_encoder

        loaded = self.loaded
        encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
        images = [Image.open(io.BytesIO(data)) for _kind, data in images_of(body)]
        system = [Message(turn["role"], (TextPart(turn["content"]),)) for turn in body["messages"][:-1]]
        parts: tuple[TextPart | ImagePart, ...] = (
            *(ImagePart(ImageRef(str(n), str(n))) for n in range(len(images))),
            TextPart(question_of(body)),
        )
        with self.busy:
            sampling = Sampling(max_new_tokens=body["max_tokens"])
            return generate_answer(loaded.model, encoder, (*system, Message("user", parts)), images, sampling).text


def test_a_server_of_the_model_gives_the_same_answers_and_scores(make: MakeEvaluation, tmp_path: Path) -> None:
    from mg_tui.data.synthetic.demo import make_earlier_questions

    questions = str(make_earlier_questions(tmp_path / "questions", rows=12))
    options = {**QUICK, "dataset": questions, "metrics": "exact_match,anls,chrf,cer", "max_new_tokens": 8}
    here = make(model="tiny", **options)
    assert run(here) == 0, last(here)
    with ModelServer("tiny", tmp_path) as server:
        there = make(endpoint=server.url, concurrency=3, timeout=120.0, **options)
        assert run(there) == 0, last(there)
        assert len(server.requests) == 12
    local, served = read_results(here.results_dir), read_results(there.results_dir)
    assert len({row.answer for row in local.rows}) > 1, "all answers are the same: nothing is tested"
    assert served.rows == local.rows
    assert served.scores == local.scores
    assert served.summary["metrics"] == local.summary["metrics"], "with their intervals"


def test_a_checkpoint_of_a_run(adapter: Path, tmp_path: Path) -> None:
    from mg_tui.engine.inference.locator import locate_model
    from mg_tui.families.registry import load_registry

    home = tmp_path / "home"
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", "max_pixels": 50176, "name": "mine"})
    training = RunFolder.create(home, spec)
    for step in (5, 10):
        checkpoint = training.checkpoints_dir / f"step-{step:06}"
        checkpoint.mkdir()
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            shutil.copy(adapter / name, checkpoint)

    def folder_of(model: str) -> Path | None:
        return locate_model(model, home=home, registry=load_registry()).folder

    for model in (f"{training.id}@10", "mine@10", "last@10", "mine/checkpoints/step-000010"):
        assert folder_of(model) == training.checkpoints_dir / "step-000010"
    with pytest.raises(UsageError, match="no checkpoint '7'") as caught:
        folder_of("mine@7")
    assert f"{training.id}@5, {training.id}@10" in str(caught.value)
    with pytest.raises(UsageError, match="no checkpoint 'best'"):
        folder_of("mine@best")
    with pytest.raises(UsageError, match="not found"):
        folder_of("nobody@5")


def test_a_base_model_has_no_base_to_compare_with(make: MakeEvaluation) -> None:
    folder = make(model="tiny", compare="base", **QUICK)
    assert run(folder) == 2
    assert "no adapter" in last(folder).data["what"]


@pytest.mark.parametrize("known", [True, False])
def test_an_adapter_of_other_keys_names_them_and_the_rename_that_was_tried(
    make: MakeEvaluation, adapter: Path, tmp_path: Path, known: bool
) -> None:
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    new = ".model.layers." if known else ".model.strata."
    weights = load_file(copy / "adapter_model.safetensors")
    renamed = {name.replace(".model.language_model.layers.", new): value for name, value in weights.items()}
    assert renamed.keys() != weights.keys()
    save_file(renamed, copy / "adapter_model.safetensors")
    folder = make(model=str(copy), limit=2, **QUICK)
    code, event = run(folder), last(folder)
    assert code == 2 and "does not fit the base model" in event.data["what"]
    assert new.strip(".") in event.data["why"]
    assert ("would fit with" if known else "tried renaming") in event.data["why"]


def test_killed_while_answering_it_is_resumed_to_the_same_bytes(
    make: MakeEvaluation, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"model": str(adapter), "limit": 24, "metrics": "exact_match,chrf", **QUICK}
    straight, killed = make(**options), make(**options)
    assert run(straight) == 0
    for answered in (1, 13):
        pid = _fork_worker(killed)
        deadline = time.monotonic() + 120
        while _answers(killed) < answered and os.waitpid(pid, os.WNOHANG)[0] == 0:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert answered <= _answers(killed) < 24
    kept = (killed.results_dir / "answers.jsonl").read_bytes()
    there = {row.row for row in read_answers(killed.results_dir)}
    asked: list[int] = []

    def record(model: Any, part: Any, *more: Any, **options: Any) -> Any:
        asked.extend(example.row for example in part)
        return generate_rows(model, part, *more, **options)

    monkeypatch.setattr(backend, "generate_rows", record)
    assert run(killed) == 0
    assert sorted(asked) == sorted(set(range(1, 25)) - there), "nothing is answered again"
    assert (killed.results_dir / "answers.jsonl").read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert final_bytes(killed.results_dir) == final_bytes(straight.results_dir)
    assert [event.data["attempt"] for event in events(killed) if event.kind == "started"] == [1, 2, 3]


def test_one_that_only_lacks_its_last_files_loads_no_model(
    make: MakeEvaluation, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(model=str(adapter), limit=4, **QUICK)
    assert run(folder) == 0
    before = final_bytes(folder.results_dir)
    (folder.results_dir / "summary.json").unlink()
    monkeypatch.setattr("mg_tui.engine.inference.loading.load_located", None)
    assert run(folder) == 0
    assert final_bytes(folder.results_dir) == before


def test_an_unreadable_image_is_a_row_without_an_answer(
    make: MakeEvaluation, adapter: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.data import evaluation_rows

    load = evaluation_rows.load_evaluation_rows

    def then_damage(*arguments: Any, **more: Any) -> Any:
        found = load(*arguments, **more)
        (dataset.parent / "1.png").write_bytes(b"damaged since it was looked at")
        return found

    monkeypatch.setattr("mg_tui.engine.evaluation.job.load_evaluation_rows", then_damage)
    folder = make(model=str(adapter), limit=6, **QUICK)
    assert run(folder) == 0
    results = read_results(folder.results_dir)
    assert [row.row for row in results.rows if row.error] == [3, 4]
    assert results.summary["rows_with_errors"] == 2 and all("1.png" in str(row.error) for row in results.rows[2:4])


def _fork_worker(folder: EvaluationFolder) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            torch.set_num_threads(1)  # sets torch's pools up anew, before several threads try to at once
            code = run(folder)
        finally:
            os._exit(code)
    return pid


def _answers(folder: EvaluationFolder) -> int:
    if not (folder.results_dir / "answers.jsonl").is_file():
        return 0
    return len(read_answers(folder.results_dir))


def test_batches_of_prompts_are_answered_in_a_program_of_their_own(adapter: Path, dataset: Path) -> None:
    from mg_tui.engine.evaluation.batch import BatchSession

    class Recorder:
        events: list[dict[str, Any]] = []  # noqa: RUF012

        def send(self, event: str, **fields: Any) -> None:
            self.events.append(json.loads(json.dumps({"event": event, **fields})))

        def cancelled(self) -> bool:
            return sum(event["event"] == "progress" for event in self.events) >= 4

    channel = Recorder()
    session = BatchSession(channel)  # type: ignore[arg-type]
    session.load({"model": str(adapter), "home": str(dataset.parent), "device": "cpu"})
    rows = [{"row": n, "prompt": "what?", "images": [str(dataset.parent / f"{n}.png")]} for n in range(1, 8)]
    rows[1]["images"] = ["/nowhere.png"]
    session.batch({"rows": rows, "max_new_tokens": 2, "batch_size": 2})
    found = {event["row"]: event for event in channel.events if event["event"] == "progress"}
    # In which order rows are answered is not promised.
    assert len(found) in (4, 5) and set(found) < set(range(1, 8)), "the two that are decoded together are finished"
    assert "nowhere" in found.pop(2)["error"]
    assert all(event["error"] is None and event["answer"] for event in found.values())
    assert channel.events[-1] == {"event": "answers", "done": len(found) + 1, "ended": "cancelled"}


def test_boxes_in_resized_pixels_are_scored_in_those_of_the_original(
    make: MakeEvaluation, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from mg_tui.core.errors import SpecError
    from mg_tui.engine.generation.row_state import RowState

    Image.new("RGB", (100, 64)).save(dataset.with_name("wide.png"))  # resized to 112 x 56, a multiple of 28
    path = write_rows(
        dataset.with_name("boxes.jsonl"),
        [{"text": "where?", "image": "wide.png", "response": "[25, 16, 75, 32]"}] * 3,
    )
    original = RowState.to_answer

    def written(self: Any, *arguments: Any) -> Any:
        answer = original(self, *arguments)
        assert answer.image_sizes == (((100, 64), (112, 56)),)
        return replace(answer, text="[28, 14, 84, 28]")

    monkeypatch.setattr(RowState, "to_answer", written)
    folder = make(model="tiny", dataset=str(path), boxes="resized", **QUICK)
    assert run(folder) == 0, last(folder)
    assert last(folder).data["metrics"]["box_iou"] == 1
    folder = make(model="tiny", dataset=str(path), **QUICK)
    assert run(folder) == 0 and last(folder).data["metrics"]["box_iou"] < 1
    with pytest.raises(SpecError, match="what a server resizes images to is not known"):
        make(endpoint="http://localhost:1", boxes="resized")


@pytest.mark.parametrize("vision", [False, True])
def test_an_adapter_and_its_base_share_the_features_of_a_frozen_tower(
    make: MakeEvaluation,
    make_adapted: Callable[..., Any],
    save: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vision: bool,
) -> None:
    from mg_tui.engine.generation.image_features import ImageFeatures

    monkeypatch.setenv("MODEL_GARDEN_CACHE", str(tmp_path / "cache"))
    modules = r"model\.visual\.blocks.*qkv|" * vision + r"model\.language_model\..*(q|v|down)_proj"
    model = save(make_adapted(strength=0.2, target_modules=modules), tmp_path / f"adapter{vision}")
    encoded: list[int] = []
    original = ImageFeatures.clear

    def clear(self: Any) -> None:
        encoded.append(self.encoded)
        original(self)

    monkeypatch.setattr(ImageFeatures, "clear", clear)
    folder = make(model=str(model), compare="base", **QUICK)
    assert run(folder) == 0, last(folder)
    assert sum(encoded) == (40 if vision else 20)
    monkeypatch.setattr("mg_tui.engine.evaluation.local._MIN_CACHED_IMAGES", 1_000)
    uncached = make(model=str(model), compare="base", **QUICK)
    assert run(uncached) == 0
    assert final_bytes(uncached.results_dir) == final_bytes(folder.results_dir)
    assert final_bytes(uncached.before_dir) == final_bytes(folder.before_dir)


def test_rows_in_lower_precision_are_answered_in_fixed_parts() -> None:
    from types import SimpleNamespace

    from mg_tui.core.example import Example
    from mg_tui.engine.evaluation.backend import _parts

    def parts(dtype: torch.dtype, done: set[int]) -> list[list[int]]:
        model: Any = SimpleNamespace(model=SimpleNamespace(dtype=dtype))
        examples = [Example(row, ()) for row in range(1, 8)]
        return [[example.row for example in part] for part in _parts(model, examples, 3, frozenset(done))]

    assert parts(torch.float32, {1, 2, 5}) == [[3, 4, 6, 7]] and parts(torch.float32, set(range(1, 8))) == []
    assert parts(torch.bfloat16, {1, 2, 3, 5}) == [[4, 5, 6], [7]]


def test_speed_is_that_of_batched_generation(
    make: MakeEvaluation, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mg_tui.engine.generation import generate

    batches: list[tuple[int, int]] = []
    original = generate.generate_rows

    def counted(model: Any, rows: Any, sampling: Any, budget: Any, **named: Any) -> Any:
        batches.append((len(rows), budget.rows))
        return original(model, rows, sampling, budget, **named)

    monkeypatch.setattr(generate, "generate_rows", counted)
    folder = make(model=str(adapter), limit=6, speed=True, **QUICK)
    assert run(folder) == 0, last(folder)
    assert set(batches) == {(1, 1), (4, 4), (16, 16)}
    speed = read_json_file(folder.speed_file)
    assert speed is not None
    for one in speed["speed"]:
        assert 0 < one["first_token_median"] <= one["whole_median"] <= one["whole_p95"]
        assert one["tokens_per_second"] >= one["images_per_second"] > 0


def test_an_adapter_of_another_family_than_its_base_model(make: MakeEvaluation, adapter: Path, tmp_path: Path) -> None:
    from mg_tui.runs.result_metadata import METADATA_FILE

    copy = tmp_path / "copy"
    shutil.copytree(adapter, copy)
    record = json.loads((copy / METADATA_FILE).read_text())
    (copy / METADATA_FILE).write_text(json.dumps({**record, "family": "other_vl"}))
    folder = make(model=str(copy), limit=2, **QUICK)
    assert run(folder) == 2
    event = last(folder)
    assert "family other_vl, and its base model is of qwen2_5_vl" in event.data["what"]
    assert "--base-model" in event.data["hint"] and not folder.results_dir.exists()


def test_no_memory_of_the_machine_is_named(
    make: MakeEvaluation, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*arguments: Any, **more: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("mg_tui.engine.evaluation.job.load_evaluation_rows", out_of_memory)
    folder = make(model=str(adapter), limit=4, **QUICK)
    assert run(folder) == 1
    failed = last(folder)
    assert (failed.kind, failed.data["what"], failed.data["cause"]) == ("failed", "out of memory", "no memory")
