"""`model-garden evaluate-vision` and `evaluations`: real workers against a small server; the face stays light."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mg_tui.cli.evaluations.harness import harness_commands
from mg_tui.cli.main import cli
from mg_tui.config import load_settings
from mg_tui.core.errors import DataError, EnvironmentProblem, GardenError, SpecError, UsageError
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.preflight.evaluation import settle_spec
from mg_tui.runs.devices import Device
from mg_tui.runs.evaluations import EvaluationFolder
from mg_tui.runs.state import RunState
from mg_tui.runs.store import list_runs
from tests.openai_server import OpenAIServer, Reply

Command = Callable[..., Result]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    Image.new("RGB", (28, 28), "red").save(tmp_path / "red.png")
    rows = [{"text": f"q {n}", "image": "red.png", "response": f"answer {n}", "kind": n % 2} for n in range(12)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(lambda question: question.replace("q", "answer").replace("7", "?")) as running:
        yield running


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr("mg_tui.runs.devices.find_devices", lambda: [Device("cpu")])
    monkeypatch.setenv("MODEL_GARDEN_CONFIG", str(tmp_path / "none.toml"))

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), *arguments])

    return call


def evaluate(command: Command, server: OpenAIServer, dataset: Path, *more: str) -> Result:
    return command("evaluate-vision", "served", "--endpoint", server.url, "--dataset", str(dataset), *more)


def test_an_evaluation_from_its_command_to_its_page(
    command: Command, server: OpenAIServer, dataset: Path, tmp_path: Path
) -> None:
    result = evaluate(command, server, dataset, "--metrics", "exact_match_folded,anls", "--group-by", "kind")
    assert result.exit_code == 0, result.output
    assert "answered 12/12" in result.stderr and "finished: 12 rows" in result.stderr
    assert re.search(r"Exact match, case and space.*0\.917  \(", result.stdout)
    assert "by kind, worst first" in result.stdout
    (one,) = list_runs(tmp_path / "home", EvaluationFolder)
    listed = command("evaluations").stdout
    assert one.id in listed and "exact_match_folded 0.917" in listed and "12/12" in listed
    page = command("evaluations", "show", "last").stdout
    assert str(one.folder.path) in page and "0.917" in page
    record = json.loads(command("evaluations", "show", one.id[-4:], "--json").stdout)
    assert record["state"] == "finished" and record["metrics"]["exact_match_folded"] == pytest.approx(11 / 12)
    assert record["summary"]["rows"] == 12 and record["spec"]["metrics"] == ["exact_match_folded", "anls"]
    assert json.loads(command("evaluations", "list", "--json").stdout)[0]["answered"] == 12
    report = tmp_path / "report.html"
    assert command("evaluations", "show", "last", "--report", str(report)).exit_code == 0
    assert "<html" in report.read_text()
    assert not (tmp_path / "home" / "runs").exists()  # runs are not evaluations
    again = command("evaluations", "resume", "last")
    assert isinstance(again.exception, UsageError) and "already finished" in str(again.exception)
    assert command("evaluations", "rm", "last", "--yes").exit_code == 0
    assert list_runs(tmp_path / "home", EvaluationFolder) == []


def test_rows_it_got_wrong_become_a_dataset(
    command: Command, server: OpenAIServer, dataset: Path, tmp_path: Path
) -> None:
    assert evaluate(command, server, dataset, "--metrics", "exact_match_folded").exit_code == 0
    out = tmp_path / "hard.jsonl"
    written = command("evaluations", "write-rows", "last", "--only", "wrong", "-o", str(out), "--json")
    assert written.exit_code == 0, written.output
    assert json.loads(written.stdout) == {"path": str(out), "rows": 1, "read_with": []}
    assert out.read_text().splitlines() == [dataset.read_text().splitlines()[7]]  # "q 7" is answered with "answer ?"
    named = command("evaluations", "write-rows", "last", "--rows", "3, 1", "-o", str(out), "--force")
    assert named.exit_code == 0 and "2 rows" in named.stderr
    assert [json.loads(line)["text"] for line in out.read_text().splitlines()] == ["q 0", "q 2"]
    for words, said in (
        (["--rows", "99"], "has no row 99"),
        (["--rows", "x"], "numbers separated by commas"),
        (["--only", "broken"], "compares nothing"),
        (["--only", "errors"], "no row is to be written"),
        ([], "either --rows or --only"),
        (["--rows", "1"], "already exists"),
    ):
        refused = command("evaluations", "write-rows", "last", *words, "-o", str(out))
        assert isinstance(refused.exception, UsageError) and said in str(refused.exception), words


def test_detached_stopped_resumed_and_watched(
    command: Command, server: OpenAIServer, dataset: Path, tmp_path: Path
) -> None:
    server.pause = 0.5
    result = evaluate(command, server, dataset, "--detach", "--concurrency", "1")
    assert result.exit_code == 0
    (one,) = list_runs(tmp_path / "home", EvaluationFolder)
    assert result.stdout == one.id + "\n"
    _wait(lambda: len(server.requests) > 2)
    assert "▶ running" in command("evaluations").stdout
    held = command("evaluations", "resume", "last")
    assert isinstance(held.exception, UsageError) and "is running" in str(held.exception)
    assert command("evaluations", "stop", "last").exit_code == 0
    _wait(lambda: list_runs(tmp_path / "home", EvaluationFolder)[0].state is RunState.STOPPED)
    assert "answers are kept" in command("evaluations", "show", "last").stdout
    asked = len(server.requests)
    server.pause = 0.0
    resumed = command("evaluations", "resume", "last", "--json")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads(resumed.stdout)["summary"]["rows"] == 12
    assert len(server.requests) <= 12 + 1 and asked < 12
    assert "finished" in command("evaluations", "watch", "last").stderr


def test_a_failure_has_the_worker_s_words_and_exit_code(command: Command, server: OpenAIServer, dataset: Path) -> None:
    server.always = lambda _body: Reply(401, {"error": {"message": "who are you"}})
    result = evaluate(command, server, dataset)
    assert result.exit_code == 3
    assert "status 401" in result.stderr and "who are you" in result.stderr and "MODEL_GARDEN_API_KEY" in result.stderr
    assert "✗ failed" in command("evaluations").stdout


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["--dataset", "nowhere.jsonl"], DataError, "nowhere.jsonl"),
        (["--dataset", "ROWS", "--metrics", "exact_mach"], UsageError, "did you mean exact_match"),
        (["--dataset", "ROWS", "--limit", "0"], SpecError, "limit: got '0'"),
        (["--dataset", "ROWS", "--endpoint", "localhost:80"], SpecError, "http://"),
        (["--dataset", "ROWS", "--top-p", "0.5"], SpecError, "temperature"),
        (["--dataset", "ROWS", "--compare", "base", "--endpoint", "http://a"], SpecError, "no `base`"),
        (["--dataset", "ROWS", "--split", "dev"], DataError, "no splits"),
        (["--dataset", "ROWS", "--gpus", "7"], EnvironmentProblem, "GPU 7"),
        (["--dataset", "ROWS", "--compare", "../nowhere"], UsageError, "the model does not exist"),
        (["--dataset", "ROWS", "--endpoint", "http://a", "--max-pixels", "9"], SpecError, "its own limits"),
        (["--dataset", "ROWS", "--max-pixels", "9", "--min-pixels", "10"], SpecError, "must not exceed max_pixels"),
        ([], SpecError, "dataset"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_made(
    command: Command, dataset: Path, tmp_path: Path, arguments: list[str], error: type[GardenError], said: str
) -> None:
    given = [str(dataset) if word == "ROWS" else word for word in arguments]
    result = command("evaluate-vision", "tiny", *given)
    assert isinstance(result.exception, error), result.output
    assert said in str(result.exception)
    assert not (tmp_path / "home" / "evaluations").exists()


def test_no_evaluations_yet(command: Command) -> None:
    assert "No evaluations yet" in command("evaluations").stderr
    result = command("evaluations", "show", "last")
    assert isinstance(result.exception, UsageError) and "evaluate-vision" in str(result.exception)


def test_names_and_paths_are_settled_for_the_worker(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "garden.toml"
    config.write_text('[datasets.mine]\npath = "rows.jsonl"\ntext_field = "text"\nsystem_prompt = "Brief."\n')
    settings = load_settings(home=tmp_path / "home", environ={}, cwd=tmp_path)
    (tmp_path / "models" / "one").mkdir(parents=True)
    spec = EvaluationSpec.parse(
        {"model": "models/one", "compare": "tiny", "dataset": "mine", "report": "r.html", "system_prompt": "Mine."}
    )
    settled = settle_spec(spec, settings, tmp_path)
    assert (settled.model, settled.compare) == (str(tmp_path / "models/one"), "tiny")
    assert settled.dataset == str(dataset) and settled.report == str(tmp_path / "r.html")
    assert settled.text_field == "text" and settled.system_prompt == "Mine."


def test_an_option_wins_over_the_table_of_a_dataset_with_its_default_value_too(dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "garden.toml"
    config.write_text('[datasets.mine]\npath = "rows.jsonl"\nlayout = "messages"\nsplit = "dev"\nimage_root = "/i"\n')
    settings = load_settings(home=tmp_path / "home", environ={}, cwd=tmp_path)
    table = {"split": None, "dataset_layout": "auto"}

    def settled(**options: Any) -> EvaluationSpec:
        return settle_spec(EvaluationSpec.parse({"model": "tiny", "dataset": "mine", **options}), settings, tmp_path)

    chosen = settled(**table)
    assert (chosen.dataset_layout, chosen.split, chosen.image_root) == ("auto", None, "/i")
    assert settled(split=None).dataset_layout == "messages"
    assert settled(split=None, image_root="other").image_root == str(tmp_path / "other")


@pytest.mark.parametrize("harness", ["lmms-eval", "vlmevalkit"])
def test_the_commands_of_a_harness_are_shell(harness: str, tmp_path: Path) -> None:
    lines = list(harness_commands(harness, "my 'model'", "http://server:8000/v1/"))
    script = "\n".join(line for line in lines if not line.startswith(("pip", "git", "python")))
    subprocess.run(["sh", "-eu", "-c", script], cwd=tmp_path, check=True, env={"PATH": os.environ["PATH"]})
    assert any("my 'model'" in line or "my '\"'\"'model'\"'\"'" in line for line in lines)
    assert any("http://server:8000/v1" in line for line in lines)
    if harness == "vlmevalkit":
        config = json.loads((tmp_path / "vlmevalkit.json").read_text())
        assert config["model"]["served"]["model"] == "my 'model'"
        assert config["model"]["served"]["api_base"] == "http://server:8000/v1/chat/completions"
    assert next(iter(harness_commands(harness, "m", None))).startswith("# serve the model first")


def test_the_command_needs_neither_torch_nor_the_engine(dataset: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from mg_tui.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n"
        "    assert not {'torch', 'transformers'} & set(sys.modules)\n"
        "    assert not [name for name in sys.modules if name.startswith('mg_tui.engine')]"
    )
    for arguments in (["evaluations"], ["evaluate-vision", "x", "--dataset", str(dataset), "--metrics", "nothing"]):
        ran = subprocess.run(
            [sys.executable, "-c", code, "--home", str(tmp_path / "home"), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "AssertionError" not in ran.stderr and ran.returncode in (0, 2), ran.stderr


def _wait(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.05)
