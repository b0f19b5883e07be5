"""Pushing to a stand-in hub by the real client, and using what was pushed by its name."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.results.push import Pusher
from mg_tui.families import hub
from mg_tui.families.registry import load_registry
from mg_tui.runs.result_metadata import read_result_metadata
from tests.hub_server import READ_TOKEN, WRITE_TOKEN, HubServer
from tests.recording_channel import RecordingChannel


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    from huggingface_hub import constants

    with HubServer() as server:
        server.start()
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        # The client reads these when it is imported.
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in speaks LFS
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)  # between its retries
        hub._ping.cache_clear()
        yield server
        hub._ping.cache_clear()
        server.shutdown()


@pytest.fixture
def push(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(model: Path | str, repository: str = "me/shapes", **options: Any) -> dict[str, Any]:
        channel = RecordingChannel()
        places = {"home": str(tmp_path / "home"), "cache": str(tmp_path / "cache")}
        request = {"model": str(model), "repository": repository, **places, **options}
        Pusher(channel).push(request)
        notices = [event["text"] for event in channel.events if event["event"] == "notice"]
        return {**channel.events[-1], "notices": notices}

    return run


@pytest.fixture
def copy(result: Path, tmp_path: Path) -> Path:
    """A result that a test may change."""
    return shutil.copytree(result, tmp_path / "copied" / "shapes")


def test_a_result_is_pushed_without_paths_and_private(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path, tiny_folder: Path
) -> None:
    (copy / "optimizer.pt").write_bytes(b"state")
    (copy / "worker.log").write_text("log")
    (copy / "checkpoints").mkdir()
    record = push(copy)
    assert record["event"] == "pushed" and record["private"] and server.repositories["me/shapes"].private
    files = server.files("me/shapes")
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "model_garden.json"} <= files.keys()
    assert {"tokenizer.json", "processor_config.json", "chat_template.jinja"} <= files.keys()
    assert not files.keys() & {"optimizer.pt", "worker.log", "events.jsonl", "spec.json"}
    assert {"checkpoints/", "optimizer.pt", "worker.log"} <= set(record["left_out"])
    assert files["adapter_model.safetensors"] == (copy / "adapter_model.safetensors").read_bytes()
    for name, data in files.items():
        for path in (str(tiny_folder), str(copy), str(copy.parent), "/data/a"):
            assert path.encode() not in data, f"{path} in {name}"
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "tiny"
    record = json.loads(files["model_garden.json"])
    assert record["base"] == {"name": "tiny", "path": None, "revision": None} and record["run"] is None
    assert record["spec"]["dataset"] == "a | b `odd`.jsonl" and record["system_prompt"] == "Be brief."
    card = files["README.md"].decode()
    assert "'me/shapes'" in card and "model-garden generate-vision me/shapes" in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"
    assert [title for _oid, title, _files in server.repositories["me/shapes"].branches["main"]][1:] == [
        "Push with Model Garden"
    ]


def test_the_card_names_base_and_license_of_the_hub(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    head = "---\nlicense: other\nlicense_name: research\nlicense_link: https://example.com/license\n---\n"
    server.add("Someone/Base", {"config.json": b"{}", "README.md": head.encode()})
    file = copy / "model_garden.json"
    record = json.loads(file.read_text())
    record["base"]["path"] = "/srv/models/base-copy"
    file.write_text(json.dumps(record))
    push(copy, base_model="Someone/Base", public=True)
    files = server.files("me/shapes")
    pushed = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert pushed["base_model"] == "Someone/Base" and "base_model:adapter:Someone/Base" in pushed["tags"]
    assert (pushed["license"], pushed["license_name"]) == ("other", "research")
    assert pushed["license_link"] == "https://example.com/license"
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "Someone/Base"
    assert not server.repositories["me/shapes"].private


def test_a_checkpoint_is_pushed_with_the_processor_it_needs(
    server: HubServer, push: Callable[..., dict[str, Any]], result: Path, tmp_path: Path
) -> None:
    from mg_tui.runs.folder import RunFolder

    spec = TrainingSpec.parse({"base_model": "tiny", "dataset": "/srv/d.jsonl", "max_pixels": 50176})
    run = RunFolder.create(tmp_path / "home", spec)
    checkpoint = run.checkpoints_dir / "step-000010"
    checkpoint.mkdir(parents=True)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copy(result / name, checkpoint)
    (checkpoint / "optimizer.pt").write_bytes(b"state")
    push(f"{run.id}@10")
    files = server.files("me/shapes")
    assert "optimizer.pt" not in files and {"processor_config.json", "tokenizer.json"} <= files.keys()
    record = json.loads(files["model_garden.json"])
    assert record["max_pixels"] == 50176 and record["family"] == "qwen2_5_vl" and record["kind"] == "adapter"


def test_merged_is_pushed_as_a_whole_model_and_used_by_name(
    server: HubServer, push: Callable[..., dict[str, Any]], result: Path, tmp_path: Path
) -> None:
    record = push(result, merged=True)
    files = server.files("me/shapes")
    assert record["kind"] == "merged" and "config.json" in files and "adapter_config.json" not in files
    assert not list((tmp_path / "cache" / "merged").iterdir())  # what was pushed is not kept twice
    for name, data in files.items():
        assert str(tmp_path).encode() not in data, name
    located = locate("me/shapes", tmp_path)
    assert located.metadata.kind == "merged" and located.metadata.system_prompt == "Be brief."
    assert located.metadata.max_pixels == 50176 and not located.is_adapter


def locate(model: str, tmp_path: Path, **options: Any) -> Any:
    from mg_tui.engine.inference.locator import locate_model

    return locate_model(model, home=tmp_path / "home", registry=load_registry(), **options)


def test_an_adapter_is_used_by_its_name(
    server: HubServer, push: Callable[..., dict[str, Any]], result: Path, tmp_path: Path
) -> None:
    import torch

    from mg_tui.engine.inference.loading import load_for_inference

    push(result)
    for model in ("me/shapes", "me/shapes@main"):
        located = locate(model, tmp_path)
        assert located.is_adapter and located.label == model and located.base.name == "tiny"
    ours, theirs = (load_for_inference(model, home=tmp_path, device="cpu") for model in (str(result), "me/shapes"))
    assert theirs.metadata.system_prompt == "Be brief." and theirs.metadata.max_pixels == 50176
    with torch.inference_mode():
        ids = torch.arange(40)[None]
        assert torch.equal(ours.model(input_ids=ids).logits, theirs.model(input_ids=ids).logits)
        with theirs.model.disable_adapter():
            assert not torch.equal(ours.model(input_ids=ids).logits, theirs.model(input_ids=ids).logits)


def test_an_adapter_in_the_cache_works_without_the_hub(
    server: HubServer,
    push: Callable[..., dict[str, Any]],
    result: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    push(result)
    locate("me/shapes", tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(server.requests)
    assert locate("me/shapes", tmp_path).is_adapter
    assert len(server.requests) == asked
    with pytest.raises(EnvironmentProblem, match="not available locally"):
        locate("me/shapes@v2", tmp_path)


def test_what_somebody_else_wrote_is_not_trusted(
    server: HubServer, push: Callable[..., dict[str, Any]], result: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in result.iterdir() if path.is_file()}
    record = json.loads(files["model_garden.json"])
    record |= {"trust_remote_code": True, "base": {"name": "tiny", "path": str(tmp_path)}}
    files |= {"model_garden.json": json.dumps(record).encode(), "evil.py": b"raise SystemExit", "x.bin": b"pickle"}
    server.add("other/adapter", files)
    located = locate("other/adapter", tmp_path)
    assert not located.metadata.trust_remote_code and located.base.source == str(tiny_folder)
    assert "is not run here" in located.notes[0]
    assert not {"evil.py", "x.bin"} & {path.name for path in located.folder.iterdir()}
    del files["adapter_model.safetensors"]
    server.add("other/pickle", {**files, "adapter_model.bin": b"pickle"})
    with pytest.raises(UsageError, match=r"no adapter_model.safetensors") as caught:
        locate("other/pickle", tmp_path)
    assert "pickle" in str(caught.value)
    with pytest.raises(UsageError, match="has no model other/none"):
        locate("other/none", tmp_path)
    with pytest.raises(UsageError, match="revision not found"):
        locate("other/adapter@v9", tmp_path)


def test_a_download_that_is_cut_is_one_error_and_resumed(
    server: HubServer, push: Callable[..., dict[str, Any]], result: Path, tmp_path: Path
) -> None:
    push(result)
    server.cut_downloads_after = 5000
    with pytest.raises(EnvironmentProblem, match="was cut"):
        locate("me/shapes", tmp_path)
    server.cut_downloads_after = None
    assert locate("me/shapes", tmp_path).is_adapter


def test_a_push_that_is_cut_commits_nothing_and_is_resumed(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    server.cut_uploads_after = 1
    with pytest.raises(EnvironmentProblem, match="nothing was committed") as caught:
        push(copy)
    assert "run the same command again" in (caught.value.hint or "")
    assert server.files("me/shapes") == {} and len(server.uploads) == 1
    server.cut_uploads_after = None
    record = push(copy)
    assert record["commit"] and len(server.uploads) == len(server.stored)  # nothing was sent twice
    assert server.files("me/shapes").keys() == {file["name"] for file in record["files"]}


@pytest.fixture
def xet(server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """The stand-in with the client's own uploader, hf-xet, which keeps in its cache what has arrived."""
    from huggingface_hub import constants
    from huggingface_hub.utils._xet import abort_xet_session

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet"))
    abort_xet_session()  # one of an earlier test has its own cache
    yield server
    abort_xet_session()


def test_a_push_over_xet_is_resumed_file_by_file(
    xet: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    weights = hashlib.sha256((copy / "adapter_model.safetensors").read_bytes()).hexdigest()
    xet.cut_commits = True
    with pytest.raises(EnvironmentProblem, match="nothing was committed") as caught:
        push(copy)
    assert "run the same command again" in (caught.value.hint or "") and xet.files("me/shapes") == {}
    sent = list(xet.xorbs)
    assert sent and xet.has_arrived_over_xet(weights) and xet.uploads == []
    xet.cut_commits = False
    record = push(copy)
    assert record["commit"] and xet.xorbs == sent, "what has arrived is not sent again"
    files = xet.files("me/shapes")
    assert files.keys() == {file["name"] for file in record["files"]}
    assert files["adapter_model.safetensors"] == f"xet {weights}".encode()


def test_a_failure_inside_xet_is_one_error_that_says_what_to_do(
    xet: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    xet.xorb_status = 400
    with pytest.raises(GardenError, match="nothing was committed") as caught:
        push(copy)
    assert "400" in str(caught.value) and xet.files("me/shapes") == {}
    xet.xet_status = 404
    with pytest.raises(GardenError, match="does not offer xet") as caught:
        push(copy)
    assert "HF_HUB_DISABLE_XET=1" in (caught.value.hint or "") and xet.files("me/shapes") == {}


def test_a_push_of_what_is_there_sends_nothing(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    push(copy)
    sent, commits = list(server.uploads), len(server.repositories["me/shapes"].branches["main"])
    assert push(copy)["commit"] is None
    assert server.uploads == sent and len(server.repositories["me/shapes"].branches["main"]) == commits


def test_other_content_is_replaced_only_when_asked(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    old = {"README.md": b"---\n---\nmine", "model.safetensors": b"old", "plot.png": b"image"}
    server.add("me/shapes", old, private=True)
    with pytest.raises(UsageError, match="has other content") as caught:
        push(copy)
    assert "model.safetensors" in str(caught.value) and "--force" in (caught.value.hint or "")
    push(copy, revision="v2")
    assert server.files("me/shapes") == old
    assert {"adapter_model.safetensors", "plot.png"} <= server.files("me/shapes", "v2").keys()
    push(copy, force=True)
    files = server.files("me/shapes")
    # Weights of another model would be loaded with the adapter; a file that is no result's stays.
    assert "model.safetensors" not in files and files["plot.png"] == b"image" and "adapter_config.json" in files


def test_a_public_repository_gets_nothing_private(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    server.add("me/shapes", {})
    with pytest.raises(UsageError, match="is public"):
        push(copy)
    assert server.files("me/shapes") == {}


def test_tokens(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(EnvironmentProblem, match="no token") as caught:
        push(copy)
    assert "hf auth login" in (caught.value.hint or "")
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    with pytest.raises(EnvironmentProblem, match="may not write to me/shapes"):
        push(copy)
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 34)
    with pytest.raises(EnvironmentProblem, match="does not accept the token"):
        push(copy)
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    with pytest.raises(EnvironmentProblem, match="may not write to somebody/shapes"):
        push(copy, "somebody/shapes")
    assert server.repositories == {} and server.uploads == []


def test_a_repository_that_the_token_does_not_see(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("me/shapes", {"secret.txt": b"x"}, private=True)
    server.hidden = {"me/shapes"}
    with pytest.raises(EnvironmentProblem, match="may not write to me/shapes") as caught:
        push(copy)
    assert "does not see it" in str(caught.value)


SECRETS = {
    "Hugging Face": "hf_" + "aB3" * 12,
    "Weights & Biases": "wandb_api_key: " + "0123456789abcdef" * 2 + "01234567",
    "AWS access": "AKIA" + "ABCDEFGH12345678",
    "AWS secret": "aws_secret_access_key = " + "a1B2" * 10,
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "GitHub": "ghp_" + "a1B2" * 9,
    "password in a URL": "https://me:hunter22@example.com/x",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_a_credential_stops_the_push_before_the_network(
    kind: str, server: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    file = copy / "chat_template.jinja"
    file.write_text(file.read_text() + f"\n{{# {SECRETS[kind]} #}}\n")
    with pytest.raises(UsageError, match="what looks like a credential") as caught:
        push(copy)
    assert kind in str(caught.value) and "chat_template.jinja" in str(caught.value)
    assert SECRETS[kind] not in str(caught.value)
    assert server.requests == []


def test_credentials_in_names_weights_and_this_environment(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / ".env").write_text("X=1")
    with pytest.raises(UsageError, match=r"\.env is a file that credentials"):
        push(copy)
    (copy / ".env").unlink()
    monkeypatch.setenv("MY_SERVICE_TOKEN", "plain-words-of-mine")
    file = copy / "chat_template.jinja"
    before = file.read_text()
    file.write_text(before + "{# plain-words-of-mine #}")
    with pytest.raises(UsageError, match="credential") as caught:
        push(copy)
    assert "MY_SERVICE_TOKEN" in str(caught.value)
    file.write_text(before)
    from safetensors.torch import load_file, save_file

    weights = copy / "adapter_model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt", "note": SECRETS["Hugging Face"]})
    with pytest.raises(UsageError, match="credential") as caught:
        push(copy)
    assert "adapter_model.safetensors" in str(caught.value)
    assert server.requests == []


def test_a_path_of_this_machine_stops_the_push(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path, tmp_path: Path
) -> None:
    card = tmp_path / "card.md"
    card.write_text(f"---\nlicense: mit\n---\nTrained from {copy}/README.md")
    with pytest.raises(UsageError, match=r"README.md holds a path of this machine"):
        push(copy, card=str(card))
    card.write_text("---\nlicense: mit\n---\nMine.")
    push(copy, card=str(card))
    assert server.files("me/shapes")["README.md"] == card.read_bytes()


def test_a_dry_run_shows_everything_and_sends_nothing(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path
) -> None:
    record = push(copy, dry_run=True)
    assert "# shapes" in record["card"] and record["commit"] is None
    assert server.requests == [] and server.repositories == {}


@pytest.mark.parametrize(
    ("model", "repository", "message"),
    [("tiny", "me/x", "is a base model"), ("nothing", "me/x", "'nothing'"), ("tiny", "only-a-name", "is not a name")],
)
def test_what_cannot_be_pushed(
    model: str, repository: str, message: str, server: HubServer, push: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(GardenError, match=message):
        push(model, repository)


def test_metadata_in_a_pushed_folder_is_valid_for_this_version(
    server: HubServer, push: Callable[..., dict[str, Any]], copy: Path, tmp_path: Path
) -> None:
    push(copy)
    target = tmp_path / "back"
    target.mkdir()
    for name, data in server.files("me/shapes").items():
        (target / name).write_bytes(data)
    metadata = read_result_metadata(target)
    assert metadata.training["final_loss"] == 0.125 and metadata.training_spec() is not None
    assert not re.search(r'"/[a-z]', json.dumps(metadata.model_dump(mode="json")))
