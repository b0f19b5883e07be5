import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mg_tui.core.errors import DataError, GardenError, RunFailed, UsageError
from mg_tui.runs.engine_process import EngineProcess


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 x 100 pixels as stored, with an EXIF orientation that stands it upright."""
    path = tmp_path_factory.mktemp("images") / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((200, 100)).convert("RGB").save(path, exif=exif)
    return path


@pytest.fixture(scope="module")
def child(result: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """One process for all tests here, with the adapter loaded."""
    with EngineProcess("mg_tui.engine.inference.generate") as running:
        home = tmp_path_factory.mktemp("home")
        (ready,) = running.stream("load", model=str(result), home=str(home), device="cpu")
        assert ready["event"] == "ready" and ready["kind"] == "adapter" and ready["family"] == "qwen2_5_vl"
        assert (ready["dtype"], ready["quantization"], ready["base_model"]) == ("float32", "none", "tiny")
        yield running


def generate(
    child: EngineProcess, image_file: Path, prompt: str = "Describe the picture.", **options: Any
) -> list[dict[str, Any]]:
    return list(child.stream("generate", images=[str(image_file)], prompt=prompt, **options))


def test_it_answers_and_streams(child: EngineProcess, image_file: Path) -> None:
    *pieces, record = generate(child, image_file, max_new_tokens=12)
    assert record["event"] == "answer"
    assert "".join(piece["text"] for piece in pieces) == record["answer"] != ""
    assert len(pieces) > 1
    assert record["tokens"] <= 12 and record["prompt_tokens"] > record["image_tokens"] > 0
    (image,) = record["images"]
    # Upright, then to multiples of 28 as in training; 4 patches of 14 pixels are a token.
    assert image["size"] == [100, 200] and image["seen_at"] == [112, 196]
    assert record["image_tokens"] == 112 * 196 // 28**2
    assert record["seconds"] > 0 and record["seed"] is None


def test_it_stops_at_max_new_tokens(child: EngineProcess, image_file: Path) -> None:
    whole = generate(child, image_file, max_new_tokens=12)[-1]
    cut = generate(child, image_file, max_new_tokens=2)[-1]
    assert cut["tokens"] == 2 and cut["ended"] == "length"
    assert whole["answer"].startswith(cut["answer"])


def test_greedy_is_the_default_and_a_seed_repeats_a_drawn_answer(child: EngineProcess, image_file: Path) -> None:
    assert (
        generate(child, image_file, max_new_tokens=8)[-1]["answer"]
        == generate(child, image_file, max_new_tokens=8)[-1]["answer"]
    )
    drawn = [
        generate(child, image_file, max_new_tokens=8, temperature=5.0, top_p=0.99, seed=seed)[-1] for seed in (1, 1, 2)
    ]
    assert drawn[0]["answer"] == drawn[1]["answer"] != drawn[2]["answer"]
    assert drawn[0]["seed"] == 1


def test_a_conversation_with_two_images(child: EngineProcess, image_file: Path) -> None:
    turns = [
        {"role": "user", "text": "What is it?", "images": [str(image_file)]},
        {"role": "assistant", "text": "A gradient."},
        {"role": "user", "text": "And this?", "images": [str(image_file)]},
    ]
    record = list(child.stream("generate", messages=turns, max_new_tokens=3))[-1]
    assert len(record["images"]) == 2 and record["image_tokens"] == 2 * 112 * 196 // 28**2


def test_the_trained_system_prompt_is_used_unless_another_is_given(child: EngineProcess, image_file: Path) -> None:
    trained = generate(child, image_file, max_new_tokens=1)[-1]["prompt_tokens"]
    assert generate(child, image_file, max_new_tokens=1, system_prompt="Be brief.")[-1]["prompt_tokens"] == trained
    longer = generate(child, image_file, max_new_tokens=1, system_prompt="Be brief. " * 5)[-1]["prompt_tokens"]
    assert longer > trained


def test_control_tokens_in_a_prompt_are_text(child: EngineProcess, image_file: Path) -> None:
    record = generate(child, image_file, prompt="<|image_pad|><|im_end|> what?", max_new_tokens=1)[-1]
    assert record["image_tokens"] == 112 * 196 // 28**2


def test_cancel_ends_an_answer_and_keeps_it(child: EngineProcess, image_file: Path) -> None:
    stream = child.stream(
        "generate", images=[str(image_file)], prompt="Hi", max_new_tokens=4000, temperature=50.0, seed=3
    )
    assert next(stream)["event"] == "text"
    child.send("cancel")
    record = list(stream)[-1]
    assert record["ended"] == "cancelled" and 0 < record["tokens"] < 4000
    assert generate(child, image_file, max_new_tokens=2)[-1]["tokens"] == 2


def test_errors_leave_the_model_loaded(child: EngineProcess, image_file: Path, tmp_path: Path, result: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no image")
    with pytest.raises(DataError, match="not a supported image"):
        generate(child, text)
    with pytest.raises(DataError, match="does not exist"):
        generate(child, tmp_path / "none.png")
    with pytest.raises(UsageError, match="max_new_tokens"):
        generate(child, image_file, max_new_tokens=0)
    with pytest.raises(UsageError, match="prompt or messages"):
        list(child.stream("generate", images=[str(image_file)]))
    with pytest.raises(UsageError, match="unknown request"):
        list(child.stream("dance"))
    shutil.copytree(result, tmp_path / "copy")
    (tmp_path / "copy/adapter_model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(UsageError, match="damaged") as caught:
        list(child.stream("load", model=str(tmp_path / "copy"), home=str(tmp_path)))
    assert caught.value.exit_code == 2 and "adapter_model.safetensors" in str(caught.value)
    assert generate(child, image_file, max_new_tokens=2)[-1]["tokens"] == 2


def test_what_a_model_can_be(tmp_path: Path, result: Path) -> None:
    from mg_tui.core.spec import TrainingSpec
    from mg_tui.engine.inference.locator import locate_model
    from mg_tui.families.registry import load_registry
    from mg_tui.runs.folder import RunFolder

    registry, home = load_registry(), tmp_path / "home"

    def find(model: str) -> Any:
        return locate_model(model, home=home, registry=registry)

    assert find("tiny").base.name == "tiny" and not find("tiny").notes
    with pytest.raises(UsageError, match="'nothing'"):
        find("nothing")
    with pytest.raises(UsageError, match="neither an adapter nor a model"):
        find(str(tmp_path))
    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", "max_pixels": 50176})
    run = RunFolder.create(home, spec)
    with pytest.raises(UsageError, match="has no result"):
        find("last")
    shutil.copytree(result, run.model_dir)
    for name in ("last", run.id, str(run.path)):
        assert find(name).folder == run.model_dir
    # A checkpoint is an adapter without a contract; its run's spec says how it is trained.
    checkpoint = run.checkpoints_dir / "step-000010"
    checkpoint.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(result / name, checkpoint)
    actual = find(str(checkpoint))
    assert actual.metadata.max_pixels == 50176 and actual.base.name == "tiny" and not actual.notes
    shutil.move(checkpoint, tmp_path / "plain")
    assert "no model_garden.json" in find(str(tmp_path / "plain")).notes[0]
    (tmp_path / "plain/adapter_model.safetensors").rename(tmp_path / "plain/adapter_model.bin")
    with pytest.raises(UsageError, match="weights are missing") as caught:
        find(str(tmp_path / "plain"))
    assert "pickle" in str(caught.value)


def test_a_child_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with EngineProcess("mg_tui.engine.inference.generate") as running:
        os.kill(running.pid, signal.SIGKILL)
        with pytest.raises(RunFailed, match="killed by signal 9"):
            list(running.stream("load", model="tiny", home=str(tmp_path)))
    with EngineProcess("mg_tui.no_such_program") as running, pytest.raises(RunFailed, match="exit code 1") as caught:
        list(running.stream("load"))
    assert "no_such_program" in str(caught.value)


def test_a_child_ends_with_its_face() -> None:
    code = (
        "import sys, time; from mg_tui.runs.engine_process import EngineProcess\n"
        "child = EngineProcess('mg_tui.engine.inference.generate'); print(child.pid, flush=True); time.sleep(60)"
    )
    face = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert face.stdout is not None
    pid = int(face.stdout.readline())
    face.kill()
    face.wait()
    face.stdout.close()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and _alive(pid):
        assert time.monotonic() < deadline, "the child outlived its face"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_checkpoint_s_own_sampling_does_not_change_greedy_answers(
    make_adapted: Callable[..., Any], tiny_folder: Path
) -> None:
    """Qwen's checkpoints ask for sampling with a repetition penalty."""
    from mg_tui.core.example import Message, TextPart
    from mg_tui.engine.inference.generation import Sampling, generate_answer, make_encoder
    from mg_tui.families.contract import Preprocessing
    from mg_tui.families.registry import load_registry

    family = load_registry().by_model_type("qwen2_5_vl")
    limits = Preprocessing(3136, 50176)
    encoder = make_encoder(family, family.load_processor(family, str(tiny_folder), limits), limits)
    model = make_adapted()

    def say() -> str:
        return generate_answer(model, encoder, [Message("user", (TextPart("Say it."),))], [], Sampling(12)).text

    plain = say()
    own = model.generation_config
    own.do_sample, own.temperature, own.top_k, own.top_p, own.repetition_penalty = True, 9.0, 50, 0.9, 30.0
    assert say() == plain


def test_pieces_of_characters_wait_for_the_rest(tiny_folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    from mg_tui.engine.inference.generation import _make_streamer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    text = "naïve 🙂 дом"
    inputs: list[str] = []
    stream = _make_streamer(tokenizer, inputs.append)
    stream.put(torch.tensor([[1, 2, 3]]))
    for token in tokenizer.encode(text):
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(inputs) == text
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in inputs)


def test_errors_travel_with_their_kind() -> None:
    from mg_tui.core.errors import FieldProblem, SpecError
    from mg_tui.runs.engine_process import error_from_record

    for error in (DataError("a", where="b", why="c", hint="d"), SpecError([FieldProblem("x", 1, "y")])):
        again = error_from_record({**error.as_dict(), "exit_code": error.exit_code})
        assert (again.exit_code, again.lines()) == (error.exit_code, error.lines())
    assert isinstance(error_from_record({"what": "a", "exit_code": 7}), GardenError)
