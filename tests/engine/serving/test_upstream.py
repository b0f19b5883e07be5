"""vLLM and llama-server as engines, played by an executable that speaks their protocol."""

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.serve_spec import ServeSpec
from mg_tui.engine.serving.answering import EngineEnded, TaskRefused
from mg_tui.engine.serving.engines import choose_engine
from mg_tui.families.registry import load_registry
from mg_tui.runs.caller_bounds import CallerBounds
from mg_tui.runs.servers import ServerFolder
from tests.engine.export.llama_stand_in import write_gguf
from tests.engine.serving.conftest import ask, collect


class Calm:
    """Stands in for a StopHandler that nobody asks to stop."""

    def poll(self, **_how: Any) -> None:
        """Nothing was requested."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts `vllm` and `llama-server` on PATH; returns the folder that they write to."""
    folder, script = tmp_path / "stand-in", Path(__file__).with_name("stand_in.py")
    folder.mkdir()
    for name in ("vllm", "llama-server"):
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_FOLDER", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> ServerFolder:
    return ServerFolder.create(tmp_path / "home", ServeSpec.parse({"models": ["tiny"]}), cwd=tmp_path)


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    write_gguf(tmp_path / "demo-q8_0.gguf", {"general.architecture": "qwen2vl"}, ["token_embd.weight"])
    write_gguf(tmp_path / "mmproj-demo-f16.gguf", {"general.architecture": "clip"}, ["v.patch_embd.weight"])
    facts = {"image_token_side": 28, "min_pixels": 784 * 4, "max_pixels": 784 * 64, "system_prompt": "Be brief."}
    (tmp_path / "model_garden.json").write_text(json.dumps(facts))
    return tmp_path / "demo-q8_0.gguf"


@pytest.fixture
def start(folder: ServerFolder, tmp_path: Path) -> Callable[..., Any]:
    """Starts llama-server with a model, without a proof."""
    from mg_tui.engine.serving.llama import start_llama

    def run(model: object, **values: Any) -> Any:
        spec = ServeSpec.parse({"models": [str(model)], "proof_rows": 0, **values})
        places: dict[str, Any] = {"cwd": tmp_path, "home": tmp_path, "cache": tmp_path / "cache"}
        return start_llama(spec, folder, Calm(), lambda *_phase: None, **places)[0]  # type: ignore[arg-type]

    return run


@pytest.fixture
def llama(stand_in: Path, start: Callable[..., Any], gguf: Path) -> Iterator[Any]:
    engine = start(f"demo={gguf}")
    yield engine
    engine.close()


def requests(stand_in: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (stand_in / "requests.jsonl").read_text().splitlines()]


def command(stand_in: Path) -> list[str]:
    return list(json.loads((stand_in / "command.json").read_text()))[1:]


def alive(pid: int) -> bool:
    """Whether a process runs; one that is only waiting to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_llama_server_gets_both_files_and_the_saved_pixel_limits(llama: Any, stand_in: Path, gguf: Path):
    words = command(stand_in)
    assert words[words.index("--model") + 1] == str(gguf)
    assert words[words.index("--mmproj") + 1] == str(gguf.parent / "mmproj-demo-f16.gguf")
    assert words[words.index("--image-min-tokens") + 1] == "4"
    assert words[words.index("--image-max-tokens") + 1] == "64"
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--api-key" not in words, "a secret on a command line is everybody's"


def test_a_request_reaches_it_with_data_uris_and_the_trained_system_prompt(
    llama: Any, stand_in: Path, make_task: Any, image_files: list[str]
):
    task = make_task("demo", image_files[:2], "compare", tokens=9, stop=["x"], temperature=0.5, seed=4)
    [(text, end)] = ask(llama, task)
    assert text == "an answer" and (end.prompt_tokens, end.completion_tokens, end.finish_reason) == (11, 2, "stop")
    [request] = requests(stand_in)
    body = request["body"]
    assert request["authorization"].startswith("Bearer ") and len(request["authorization"]) > 30
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    images = [part["image_url"]["url"] for part in body["messages"][1]["content"] if part["type"] == "image_url"]
    assert [base64.b64decode(url.partition(",")[2]) for url in images] == [
        Path(p).read_bytes() for p in image_files[:2]
    ]
    assert (body["max_tokens"], body["stop"], body["seed"], body["temperature"]) == (9, ["x"], 4, 0.5)
    assert body["top_k"] == 0 and body["repeat_penalty"] == 1.0, "its own sampling defaults are switched off"


def test_a_seed_is_one_that_the_programs_have_and_a_prompt_too_long_has_openais_code(
    llama: Any, stand_in: Path, make_task: Any
):
    """llama-server draws at random for 2^32 - 1, vLLM refuses 2^63."""
    for seed in (7, 2**32 - 1, 2**63, -1):
        ask(llama, make_task("demo", [], "hello", temperature=0.5, seed=seed))
    sent = [request["body"]["seed"] for request in requests(stand_in)]
    assert sent[0] == 7 and len(set(sent)) == 4 and all(0 <= seed < 2**31 for seed in sent)
    for text, code in (("refuse me", None), ("refuse me: maximum context length", "context_length_exceeded")):
        with pytest.raises(TaskRefused) as caught:
            ask(llama, make_task("demo", [], text))
        assert caught.value.code == code


def test_what_it_refuses_is_refused_and_a_cancelled_request_is_let_go(llama: Any, make_task: Any):
    with pytest.raises(TaskRefused) as caught:
        ask(llama, make_task("demo", [], "refuse me"))
    assert caught.value.why == "too long for me"

    async def go() -> None:
        pending = llama.start(make_task("demo", [], "slowly"))
        await pending.next()
        assert llama.answering == 1 and llama.waiting == 0
        pending.cancel()
        for _ in range(100):
            if not llama.answering:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it is still asked")

    asyncio.run(go())


def test_when_it_ends_its_last_words_are_told(llama: Any, make_task: Any):
    async def go() -> None:
        with pytest.raises(GardenError):
            await collect(llama, make_task("demo", [], "end now"))

    asyncio.run(go())
    wait_until(lambda: llama.problem() is not None)
    assert "exit code 7" in llama.problem() and "out of memory, they said" in llama.problem()
    with pytest.raises(EngineEnded):
        ask(llama, make_task("demo", [], "?"))


def test_closing_ends_it_and_what_it_started(llama: Any, stand_in: Path):
    pids = json.loads((stand_in / "pids.json").read_text())
    assert all(map(alive, pids))
    llama.close()
    wait_until(lambda: not any(map(alive, pids)))


def test_it_ends_when_this_process_is_killed(stand_in: Path):
    code = (
        "import sys, time; from pathlib import Path; from mg_tui.engine.serving.upstream_process import *\n"
        f"p = UpstreamProcess(['vllm', '--port', str(free_port())], 1, Path({str(stand_in / 'log')!r}), {{}})\n"
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        wait_until(lambda: (stand_in / "pids.json").is_file() and bool((stand_in / "pids.json").read_text()))
        pids = json.loads((stand_in / "pids.json").read_text())
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    wait_until(lambda: not any(map(alive, pids)))


def test_a_port_that_was_taken_meanwhile_is_changed(
    stand_in: Path, start: Callable[..., Any], gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    """Somebody listens on the port between its choice and the start of the program."""
    from mg_tui.engine.serving import upstream_process

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken, chosen = other.getsockname()[1], upstream_process.free_port()
        ports = [taken, chosen]
        monkeypatch.setattr(upstream_process, "free_port", lambda: ports.pop(0))
        start(gguf).close()
        assert ports == [] and str(chosen) in json.loads((stand_in / "command.json").read_text())
        monkeypatch.setattr(upstream_process, "free_port", lambda: taken)
        with pytest.raises(EnvironmentProblem, match=r"llama-server did not start"):
            start(gguf)


def test_a_start_that_fails_says_why(
    stand_in: Path, start: Callable[..., Any], gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    from mg_tui.engine.serving import gpu_holders

    monkeypatch.setenv("STAND_IN_FAILS", "1")
    monkeypatch.setattr(gpu_holders, "gpu_holders", lambda: "process 7 (python) holds 70.0 GiB")
    with pytest.raises(EnvironmentProblem, match="llama-server did not start") as caught:
        start(gguf)
    assert "exit code 3" in str(caught.value.why) and "Free memory on device is less" in str(caught.value.why)
    assert "\x1b" not in str(caught.value.why)
    assert "process 7 (python) holds 70.0 GiB" in str(caught.value.hint)


def test_vllm_is_started_with_the_adapters_and_their_limits(
    stand_in: Path, trained: dict[str, Path], tmp_path: Path, folder: ServerFolder, make_task: Any
):
    from mg_tui.engine.serving.served_models import locate_served
    from mg_tui.engine.serving.vllm import start_vllm

    spec = ServeSpec.parse({"models": ["tiny", *map(str, trained.values())], "engine": "auto", "proof_rows": 0})
    assert choose_engine(spec) == "vllm"
    found = locate_served(spec, home=tmp_path, registry=load_registry())
    phases: list[str] = []
    engine, expected = start_vllm(
        spec,
        found,
        folder,
        Calm(),  # type: ignore[arg-type]
        lambda name, _detail=None: phases.append(name),
        cwd=tmp_path,
        home=tmp_path,
        cache=tmp_path,
    )
    try:
        words = command(stand_in)
        assert words[:4] == ["serve", found[0].located.base.source, "--served-model-name", "tiny"]
        assert words[words.index("--max-lora-rank") + 1] == "8" and "--enable-tower-connector-lora" in words
        at = words.index("--lora-modules")
        assert words[at + 1 : at + 3] == [f"{name}={path}" for name, path in trained.items()]
        limits = json.loads(words[words.index("--mm-processor-kwargs") + 1])
        assert limits == {"min_pixels": found[1].located.metadata.min_pixels, "max_pixels": 50176}
        assert words[words.index("--generation-config") + 1] == "vllm"
        assert engine.names == ("tiny", "mine", "other") and expected == [] and phases == ["starting vLLM"]
        assert ask(engine, make_task("mine", [], "hi"))[0][0] == "an answer"
        body = requests(stand_in)[0]["body"]
        assert body["model"] == "mine" and body["messages"][0]["content"] == "Be brief."
    finally:
        engine.close()


def test_the_engine_is_chosen_by_the_model_and_what_is_on_path(
    stand_in: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    def chosen(*models: str, **values: Any) -> str:
        return choose_engine(ServeSpec.parse({"models": models, **values}))

    assert chosen(str(gguf)) == "llama" and chosen("tiny") == "vllm" and chosen("tiny", engine="builtin") == "builtin"
    for models, values in (
        ((str(gguf), "tiny"), {}),
        ((str(gguf),), {"engine": "vllm"}),
        (("tiny",), {"engine": "llama"}),
    ):
        with pytest.raises(UsageError, match="gguf"):
            chosen(*models, **values)
    monkeypatch.setenv("PATH", "/nowhere")
    assert chosen("tiny") == "builtin"


def test_a_file_is_compared_with_the_run_it_is_from(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from mg_tui.engine.serving import llama

    spec = ServeSpec.parse({"models": [str(gguf)]})
    places: dict[str, Any] = {"cwd": tmp_path, "home": tmp_path, "cache": tmp_path}
    [unknown] = llama.expected_of_file(spec, "demo", **places)
    assert unknown.why is not None and "which run" in unknown.why
    facts = json.loads((gguf.parent / "model_garden.json").read_text())
    (gguf.parent / "model_garden.json").write_text(json.dumps({**facts, "run": "20260101-000000-abcd"}))
    asked: list[tuple[ServeSpec, CallerBounds]] = []

    def answer(spec: ServeSpec, *, bounds: CallerBounds, **_places: Any) -> list[Any]:
        asked.append((spec, bounds))
        return ["expected"]

    monkeypatch.setattr(llama, "ask_reference", answer)
    bounds = CallerBounds((str(tmp_path),))
    assert [str(each) for each in llama.expected_of_file(spec, "demo", **places, bounds=bounds)] == ["expected"]
    assert asked[0][0].models == ("demo=20260101-000000-abcd",) and asked[0][1] is bounds

    def fail(*_arguments: Any, **_places: Any) -> None:
        raise UsageError("no folder, run or base model is called that")

    monkeypatch.setattr(llama, "ask_reference", fail)
    [gone] = llama.expected_of_file(spec, "demo", **places)
    assert gone.why is not None and "is called that" in gone.why


def test_an_adapter_in_a_file_of_its_own_is_applied(start: Callable[..., Any], stand_in: Path, gguf: Path):
    """Of an export with --adapter: the text model alone answers as the base model does."""
    write_gguf(gguf.parent / "demo-adapter.gguf", {"general.architecture": "qwen2vl"}, ["blk.0.attn_q.weight.lora_a"])
    start(gguf).close()
    words = command(stand_in)
    assert words[words.index("--lora") + 1] == str(gguf.parent / "demo-adapter.gguf")
    assert words[words.index("--mmproj") + 1] == str(gguf.parent / "mmproj-demo-f16.gguf")


def test_files_that_cannot_be_served_are_refused_before_anything_starts(
    start: Callable[..., Any], stand_in: Path, gguf: Path, tmp_path: Path
):
    vision = gguf.parent / "mmproj-demo-f16.gguf"
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:-40])
    for model, mmproj, said in (
        (tmp_path / "none.gguf", None, "no such .gguf file"),
        (vision, gguf, "vision tower, not a text model"),
        (gguf, gguf, "is no vision tower"),
        (gguf, tmp_path / "none.gguf", "cannot be read"),
        (cut, vision, "damaged"),
    ):
        with pytest.raises(UsageError, match=said):
            start(model, **({} if mmproj is None else {"mmproj": str(mmproj)}))
    vision.rename(tmp_path / "other.gguf")
    with pytest.raises(UsageError, match="which vision tower belongs") as caught:
        start(gguf)
    assert "--mmproj" in str(caught.value.hint)
    assert not (stand_in / "command.json").exists()


def test_without_its_command_how_to_get_it_is_said(
    start: Callable[..., Any], gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from mg_tui.runs.llama_cpp import built_folder

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("LLAMA_CPP_DIR", raising=False)
    with pytest.raises(EnvironmentProblem, match="llama-server is not here") as caught:
        start(gguf)
    assert "model-garden export --setup gguf" in str(caught.value.hint) and "none was built" in str(caught.value.why)
    # Built by a version of this program that built no server.
    old = built_folder(tmp_path / "cache") / "bin" / "llama-mtmd-cli"
    old.parent.mkdir(parents=True)
    old.touch()
    with pytest.raises(EnvironmentProblem, match="llama-server is not here") as caught:
        start(gguf)
    assert "build it again with `model-garden export --setup gguf`" in str(caught.value.hint)


def test_last_words_are_the_errors_where_lines_are_marked(tmp_path: Path):
    from mg_tui.engine.serving.upstream_process import UpstreamProcess

    lines = ["0.00.105.614 E load: no such tensor", *[f"0.00.2.{n} I srv  cleaning   up {n}" for n in range(9)]]
    script = "import sys; sys.stdout.write(sys.argv[1]); sys.exit(1)"
    words = [sys.executable, "-c", script, "\n".join(lines) + "\n"]
    process = UpstreamProcess(words, 1, tmp_path / "log", {})
    wait_until(lambda: process.ended() is not None)
    process.close()
    assert process.ended() == "exit code 1; it said: load: no such tensor"
    killed = UpstreamProcess(["sh", "-c", "echo 0.00.1.1 I fine; kill -9 $$"], 1, tmp_path / "other", {})
    wait_until(lambda: killed.ended() is not None)
    killed.close()
    assert "killed by signal 9" in str(killed.ended()) and "memory" in str(killed.ended())
    assert "fine" not in str(killed.ended())


def test_what_a_process_of_its_own_expects_arrives_as_it_was(
    trained: dict[str, Path], tmp_path: Path, image_files: list[str]
):
    from mg_tui.engine.serving import reference
    from mg_tui.engine.serving.proof import expect_answers
    from mg_tui.engine.serving.served_models import load_served, locate_served

    rows = tmp_path / "rows.jsonl"
    lines = [{"question": f"{text}?", "image": image_files[0], "response": "circle"} for text in ("what", "how many")]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = ServeSpec.parse({"models": [f"mine={trained['mine']}", "tiny"], "device": "cpu", "dataset": str(rows)})
    sent: dict[str, Any] = {}

    class Channel:
        def send(self, event: str, **fields: Any) -> None:
            sent.update(json.loads(json.dumps({"event": event, **fields})))

    places = {"home": str(tmp_path), "cwd": str(tmp_path), "cache": str(tmp_path / "cache")}
    reference.expect({"spec": spec.model_dump(mode="json"), **places}, Channel())  # type: ignore[arg-type]
    assert sent["event"] == "expected"
    arrived = [reference._from_record(each) for each in sent["models"]]
    registry = load_registry()
    models = load_served(spec, locate_served(spec, home=tmp_path, registry=registry), registry)
    for each, served in zip(arrived, models.models, strict=True):
        here = expect_answers(models, served, count=4, dataset=str(rows), cwd=tmp_path, cache=tmp_path / "cache")
        assert (each.model, each.why, each.source) == (here.model, here.why, here.source)
        assert list(each.examples) == list(here.examples) and list(each.answers) == list(here.answers)
        assert (each.base is None) == (served.adapter is None) and each.base == here.base
    assert arrived[0].answers[0].text != "" and len(arrived[0].examples) == 2
    # For somebody who may not read where the images are.
    (tmp_path / "elsewhere").mkdir()
    bounds = {"roots": [str(rows), str(tmp_path / "elsewhere")], "private": [], "own_tokens": False}
    sending: dict[str, Any] = {"spec": spec.model_dump(mode="json"), **places, "bounds": bounds}
    reference.expect(sending, Channel())  # type: ignore[arg-type]
    refused = reference._from_record(sent["models"][0])
    assert not refused.examples and "no row" in str(refused.why)


def test_a_full_gpu_is_told_with_who_holds_it(monkeypatch: pytest.MonkeyPatch):
    from mg_tui.engine.inference.loading import out_of_memory_error
    from mg_tui.engine.serving import gpu_holders

    class Driver:
        def sample(self) -> Any:
            process = type("P", (), {"pid": os.getpid(), "memory": 7 * 2**30})
            return (type("G", (), {"processes": (process,)}),), None

        def close(self) -> None:
            """Nothing to close."""

    monkeypatch.setattr("mg_tui.hardware.nvml.Nvml", Driver)
    told = gpu_holders.with_gpu_holders(out_of_memory_error("my-model"))
    assert told.what == "my-model does not fit into the GPU's free memory"
    assert f"process {os.getpid()} (" in str(told.why) and "holds 7.0 GiB" in str(told.why)
    other = EnvironmentProblem("no network")
    assert gpu_holders.with_gpu_holders(other) is other


@pytest.mark.parametrize("error", [KeyError("x"), OSError("gone"), GardenError("the image is gone")])
def test_whatever_happens_to_a_request_its_client_hears_of_it(
    llama: Any, monkeypatch: pytest.MonkeyPatch, make_task: Any, error: Exception
):
    def fail(_task: Any) -> Any:
        raise error

    monkeypatch.setattr(llama, "_body", fail)

    async def go() -> None:
        async with asyncio.timeout(10):
            await llama.start(make_task("demo", [], "hello")).next()

    with pytest.raises(GardenError, match=r"cannot be read|the image is gone"):
        asyncio.run(go())
    assert llama.waiting == llama.answering == 0
