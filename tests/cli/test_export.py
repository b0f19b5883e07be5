import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from mg_tui.cli.main import main
from mg_tui.core.errors import GardenError, RunFailed, UsageError
from mg_tui.core.model_job_spec import ExportSpec, VerifySpec
from mg_tui.runs import engine_process
from tests.cli.conftest import FakeWorker

AGREEMENT = {
    "rows": 4,
    "alike": 3,
    "agreement": 0.75,
    "required": 0.75,
    "agrees": True,
    "similarity": 0.9,
    "model_exact_match": 0.5,
    "other_exact_match": 0.25,
    "adapter_changes": 2,
    "answered_as_base": 1,
    "differences": [{"row": 3, "model": "a\x1b[31m", "other": "b", "error": None}],
}
EXPORTED = {
    "output": "/out",
    "command": "vllm serve tiny --enable-lora",
    "merged": False,
    "agreement": AGREEMENT,
}
VERIFIED = {"model": "mine", "against": "http://127.0.0.1:9/v1", **AGREEMENT}


class FakeSetupChild:
    """An EngineProcess that has built llama.cpp."""

    programs: list[str]

    def __init__(self, program: str) -> None:
        FakeSetupChild.programs.append(program)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def stream(self, op: str, **fields: Any) -> Iterator[dict[str, Any]]:
        yield {"event": "notice", "text": "building"}
        yield {"event": "ready", "folder": "/cache/llama", "built": True, "version": "0.3.36", "seconds": 481.2}


def run_cli(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(args))
    return int(caught.value.code or 0)


def test_export_prints_the_folder_and_says_figures_and_command(
    worker: FakeWorker, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.reply = EXPORTED
    monkeypatch.chdir(tmp_path)
    assert run_cli("--home", str(tmp_path), "export", "mine", "--format", "vllm", "--output", "out") == 0
    out, err = capsys.readouterr()
    assert out == "/out\n"
    assert "3 of 4 answers alike (75.0%" in err and "vllm serve tiny --enable-lora" in err
    assert "the adapter changes 2 of these 4 answers" in err and "1 are answered as the base" in err
    assert "row 3" in err and "\x1b" not in err
    assert "asking" in err and "a note" in err
    [spec] = worker.specs
    assert isinstance(spec, ExportSpec) and spec.format == "vllm" and spec.output == str(tmp_path / "out")
    assert spec.rows == 16 and spec.required_agreement == 1.0 and not spec.merged


VARIANTS = [
    {**AGREEMENT, "quantization": "Q8_0", "file": "x-Q8_0.gguf", "bytes": 5_000_000, "fallback_tensors": 0},
    {**AGREEMENT, "quantization": "Q4_K_M", "file": "x-Q4.gguf", "bytes": 3_000_000, "fallback_tensors": 7, "alike": 1},
]


def test_gguf_prints_a_table_of_quantizations(
    worker: FakeWorker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker.reply = {**EXPORTED, "command": "sh run.sh", "variants": VARIANTS}
    words = ["--format", "gguf", "--output", "out", "--quantization", "q8_0", "--quantization", "F16"]
    assert run_cli("--home", str(tmp_path), "export", "mine", *words) == 0
    out, err = capsys.readouterr()
    assert out == "/out\n" and "sh run.sh" in err and "7 tensors have another type" in err
    assert "QUANTIZATION" in err and "the model" in err and "3 of 4" in err and "1 of 4" in err and "50.0%" in err
    [spec] = worker.specs
    assert isinstance(spec, ExportSpec) and spec.format == "gguf"
    assert spec.quantization == ("Q8_0", "F16") and spec.required_agreement == 0.9


def test_setup_builds_and_says_how_long_it_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeSetupChild.programs = []
    monkeypatch.setattr(engine_process, "EngineProcess", FakeSetupChild)
    assert run_cli("--home", str(tmp_path), "export", "--setup", "gguf") == 0
    out, err = capsys.readouterr()
    assert out == "/cache/llama\n" and "built in 481 s" in err
    assert FakeSetupChild.programs == ["mg_tui.engine.export.gguf.setup"]
    assert run_cli("export", "mine", "--setup", "gguf") == 2
    assert "leave MODEL and --format out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--format", "gguf", "--output", "out"], "MODEL is missing"),
        (["mine", "--output", "out"], "--format is missing"),
        (["mine", "--format", "gguf"], "--output is missing"),
        (["mine", "--format", "vllm", "--output", "out", "--quantization", "Q8_0"], "quantization: "),
        (["mine", "--format", "merged", "--output", "out", "--adapter"], "adapter: "),
        (["mine", "--format", "gguf", "--output", "out", "--merged"], "merged: "),
    ],
)
def test_options_that_are_missing_or_of_another_format_are_named(
    worker: FakeWorker, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    assert run_cli("export", *words) == 2
    said = capsys.readouterr().err
    assert error in said and worker.specs == [] and ("is missing" in said or "goes with format" in said)


def test_a_gguf_file_is_verified_by_its_own_threshold(worker: FakeWorker, tmp_path: Path) -> None:
    worker.reply = VERIFIED
    (tmp_path / "tower.gguf").touch()
    assert run_cli("verify", "mine", "--against", "x.gguf", "--mmproj", str(tmp_path / "tower.gguf")) == 0
    assert run_cli("verify", "mine", "--against", "x") == 0
    first, second = worker.specs
    assert isinstance(first, VerifySpec) and isinstance(second, VerifySpec)
    assert first.required_agreement == 0.9 and first.mmproj == str(tmp_path / "tower.gguf")
    assert second.required_agreement == 1.0 and second.mmproj is None


def test_export_as_json_is_one_record(worker: FakeWorker, capsys: pytest.CaptureFixture[str]) -> None:
    worker.reply = EXPORTED
    assert run_cli("export", "mine", "--format", "vllm", "--output", "out", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["command"] == EXPORTED["command"] and record["agreement"]["alike"] == 3 and "event" not in record


def test_rows_that_do_not_show_the_adapter_are_said(worker: FakeWorker, capsys: pytest.CaptureFixture[str]) -> None:
    worker.reply = {**VERIFIED, "adapter_changes": 0, "answered_as_base": 0}
    assert run_cli("verify", "mine", "--against", "other") == 0
    assert "they do not show whether it is applied" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(RunFailed("differs"), 1), (UsageError("refused"), 2)])
def test_errors_of_an_export_have_their_exit_code(
    worker: FakeWorker, capsys: pytest.CaptureFixture[str], error: GardenError, code: int
) -> None:
    worker.reply = error
    assert run_cli("export", "mine", "--format", "merged", "--output", "out") == code
    out, err = capsys.readouterr()
    assert out == "" and "error: " in err and "Traceback" not in err


def test_merged_goes_with_vllm_alone(worker: FakeWorker, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("export", "mine", "--format", "merged", "--merged", "--output", "out") == 2
    assert "merged: got True; goes with format vllm" in capsys.readouterr().err and worker.specs == []


@pytest.mark.parametrize(("agrees", "code", "word"), [(True, 0, "agrees"), (False, 1, "differs")])
@pytest.mark.parametrize("as_json", [False, True])
def test_verify_exits_with_1_when_the_answers_differ(
    worker: FakeWorker,
    capsys: pytest.CaptureFixture[str],
    agrees: bool,
    code: int,
    word: str,
    as_json: bool,
) -> None:
    worker.reply = {**VERIFIED, "agrees": agrees}
    flags = ["--json"] if as_json else []
    assert run_cli("verify", "mine", "--against", "http://127.0.0.1:9/v1", "--name", "served", *flags) == code
    out, err = capsys.readouterr()
    if as_json:
        assert json.loads(out)["agrees"] is agrees
    else:
        assert out.startswith(f"{word}: http://127.0.0.1:9/v1") and "mean similarity 0.900" in err
    [spec] = worker.specs
    assert isinstance(spec, VerifySpec) and spec.name == "served" and spec.quantization == "none"
