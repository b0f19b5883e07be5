"""The user guide's commands with `tiny` as base model: real processes, no network."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("user")


def run_guide_command(home: Path, command: str, *, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of the guide in the user's folder."""
    program = Path(sys.executable).with_name("model-garden")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MODEL_GARDEN_")},
        "MODEL_GARDEN_HOME": str(home / "garden"),
        "MODEL_GARDEN_CONFIG": str(home / "none.toml"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",  # other tests run at the same time
    }
    words = shlex.split(command)
    assert words[0] == "model-garden"
    done = subprocess.run(
        [str(program), *words[1:]], cwd=home, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def trained(home: Path) -> Path:
    run_guide_command(home, "model-garden create-vision-dataset --output ./data/vision_sample.jsonl --num-examples 10")
    run_guide_command(
        home,
        "model-garden train-vision --base-model tiny --dataset ./data/vision_sample.jsonl "
        "--output-dir ./models/custom-vision --epochs 5 --batch-size 1 --learning-rate 1e-5 "
        "--gradient-accumulation-steps 16 --max-seq-length 2048 --lora-r 32 --lora-alpha 32 --logging-steps 5 "
        "--save-steps 50 --max-pixels 12544 --workers 0",
    )
    return home / "models" / "custom-vision"


def test_train_writes_a_standard_adapter_and_a_complete_journal(home: Path, trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "model_garden.json"} <= names
    assert json.loads((trained / "adapter_config.json").read_text())["r"] == 32
    (run_record,) = json.loads(run_guide_command(home, "model-garden runs list --json").stdout)
    assert run_record["state"] == "finished"
    assert run_record["step"] == 5
    events = [json.loads(line) for line in next((home / "garden/runs").glob("*/events.jsonl")).read_text().splitlines()]
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["kind"] == "finished"


def test_generate_answers_about_an_image(home: Path, trained: Path) -> None:
    image = next((home / "data/vision_sample_images").iterdir())
    done = run_guide_command(
        home,
        f"model-garden generate-vision ./models/custom-vision --image {image} --prompt 'What is in this image?' "
        "--max-new-tokens 8",
    )
    assert done.stdout.strip()


def test_custom_field_names(home: Path, trained: Path) -> None:
    rows = [json.loads(line) for line in (home / "data/vision_sample.jsonl").read_text().splitlines()]
    renamed = [{"question": r["text"], "img_path": r["image"], "response": r["response"]} for r in rows]
    (home / "data/custom_format.jsonl").write_text("".join(json.dumps(row) + "\n" for row in renamed))
    command = "model-garden train-vision --base-model tiny --dataset ./data/custom_format.jsonl --output-dir ./models/c"
    detected = run_guide_command(home, command + " --check-only")
    assert "question, img_path and response" in " ".join(detected.stderr.split()), "the detected fields are printed"
    unknown = [{"enquiry": r["text"], "pic": r["image"], "response": r["response"]} for r in rows]
    (home / "data/odd_format.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unknown))
    rejected = run_guide_command(home, command.replace("custom", "odd"), code=2)
    assert "--text-field" in rejected.stderr and "enquiry" in rejected.stderr
    assert not (home / "models/c").exists()
    checked = run_guide_command(home, command + ' --text-field "question" --image-field "img_path" --check-only')
    assert "10 examples" in checked.stderr


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ("--learning-rate abc", 2, "learning_rate: got 'abc'"),
        ("--epochs -3", 2, "epochs: got '-3'"),
        ("--lora-r 0", 2, "lora_r: got '0'"),
        ("--dataset nothing.jsonl", 2, "nothing.jsonl"),
        ("--dataset empty.jsonl", 2, "empty"),
        ("--base-model Qwen/Qwen2.5-VL-3B-Instruct", 3, "HF_HUB_OFFLINE"),
        ("--base-model ./data", 2, "config.json"),
        ("--output-dir ./data", 2, "not empty"),
    ],
)
def test_invalid_input_is_one_clear_error(home: Path, trained: Path, flags: str, code: int, words: str) -> None:
    (home / "empty.jsonl").touch()
    before = sorted(home.rglob("*"))
    done = run_guide_command(
        home,
        "model-garden train-vision --base-model tiny --dataset ./data/vision_sample.jsonl --output-dir ./models/new "
        + flags,
        code=code,
    )
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    assert words in done.stderr
    assert sorted(home.rglob("*")) == before


def test_detach_returns_immediately_and_stop_ends_the_run(home: Path, trained: Path) -> None:
    started = run_guide_command(
        home,
        "model-garden train-vision --base-model tiny --dataset ./data/vision_sample.jsonl --max-steps 5000 "
        "--max-pixels 12544 --workers 0 --detach",
    )
    run_id = started.stdout.strip()
    assert run_id in run_guide_command(home, "model-garden runs").stdout
    run_guide_command(home, f"model-garden runs stop {run_id}")
    watched = run_guide_command(home, f"model-garden runs watch {run_id}")
    assert "stopped" in watched.stderr
    record = json.loads(run_guide_command(home, f"model-garden runs show {run_id} --json").stdout)
    assert record["state"] == "stopped"
