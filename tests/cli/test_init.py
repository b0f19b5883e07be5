"""`model-garden init`: a garden.toml that is read, by questions or by flags."""

import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mg_tui.cli.main import cli
from mg_tui.config import load_settings
from mg_tui.core.errors import GardenError, UsageError
from mg_tui.core.presets import BUILT_IN_PRESETS
from mg_tui.core.spec import TrainingSpec


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "own.toml"))
    monkeypatch.delenv("MODEL_GARDEN_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["init", *arguments])
    if isinstance(result.exception, GardenError):
        raise result.exception
    return result


def test_yes_takes_what_is_proposed() -> None:
    result = init("--yes")
    assert "wrote garden.toml" in result.stderr and "train-vision --dataset PATH" in result.stderr
    assert load_settings().train == {"base_model": "Qwen/Qwen2.5-VL-3B-Instruct"}


def test_flags_answer_and_the_file_makes_a_run(folder: Path) -> None:
    (folder / "rows.jsonl").write_text("{}\n")
    init(
        *("--base-model", "tiny", "--dataset", "rows.jsonl", "--preset", "LoRA on all parts"),
        *("--home", str(folder / "runs here"), "--report-to", "wandb", "--output", "garden.toml"),
    )
    settings = load_settings()
    assert settings.home == folder / "runs here"
    spec = TrainingSpec.parse(settings.train)
    assert (spec.base_model, spec.dataset, spec.report_to) == ("tiny", "rows.jsonl", ("wandb",))
    assert all(getattr(spec, name) == value for name, value in BUILT_IN_PRESETS["LoRA on all parts"].items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--yes", "--dataset", "nowhere.jsonl"], "There is no 'nowhere.jsonl'"),
        (["--yes", "--preset", "LoRA in bfloat"], "no preset 'LoRA in bfloat'; did you mean LoRA in bfloat16"),
        (["--yes", "--report-to", "wandbb"], "no tracker 'wandbb'; did you mean wandb"),
        (["--yes", "--base-model", ""], "base_model"),
        (["--yes", "--home", "own.toml"], "must be a folder"),
        ([], "Cannot ask questions without a terminal"),
    ],
)
def test_a_bad_answer_writes_nothing(folder: Path, arguments: list[str], words: str) -> None:
    (folder / "own.toml").write_text("")
    with pytest.raises(UsageError, match=words):
        init(*arguments)
    assert not (folder / "garden.toml").exists()


def test_an_existing_file_is_changed_only_by_force_and_keeps_the_rest(folder: Path) -> None:
    file = folder / "garden.toml"
    file.write_text("# mine\n[ui]\ntheme = 'garden-light'\n[train]\nlora_r = 8  # small\n")
    with pytest.raises(UsageError, match="exists"):
        init("--yes")
    init("--yes", "--force", "--base-model", "tiny")
    assert "# mine" in file.read_text() and "# small" in file.read_text()
    assert load_settings().train == {"lora_r": 8, "base_model": "tiny"}


def test_five_questions_on_a_terminal(folder: Path) -> None:
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        code = "from mg_tui.cli.main import main; main(['init'])"
        os.execv(sys.executable, [sys.executable, "-c", code])
    output = ""

    def answer(question: str, text: str) -> None:
        nonlocal output
        deadline = time.monotonic() + 30
        while question not in output:
            assert time.monotonic() < deadline, output
            if select.select([descriptor], [], [], 0.1)[0]:
                output += os.read(descriptor, 4096).decode()
        output = output.partition(question)[2]
        os.write(descriptor, text.encode() + b"\n")

    answer("Base model", "tiny")
    answer("Dataset", "missing.jsonl")
    answer("There is no 'missing.jsonl'", "")  # the question is asked again; nothing: decided later
    answer("Preset", "2")
    answer("Folder for runs", "")
    answer("Experiment tracker", "none")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(descriptor)
    train = load_settings().train
    assert train == {"base_model": "tiny", **BUILT_IN_PRESETS["LoRA in bfloat16"]}
