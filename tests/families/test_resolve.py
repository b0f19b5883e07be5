"""What a base model's name means, and what is said when it means nothing."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mg_tui.core.errors import EnvironmentProblem, FamilyError, UsageError
from mg_tui.families import Checkpoint, Experimental, ModelFamily, Parts, Unsupported, hub
from mg_tui.families.registry import Registry
from mg_tui.families.validation import declaration_problems

VISION_CONFIG = {"model_type": "seer", "vision_config": {"depth": 2}}
PARTS = Parts(language=("model.language_model",), projector=(), vision=("model.visual",))


def write_checkpoint(folder: Path, config: Mapping[str, Any] = VISION_CONFIG) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    small = write_checkpoint(tmp_path / "package" / "small")
    family = ModelFamily(
        key="seer",
        title="Seer",
        model_types=("seer",),
        parts=PARTS,
        checkpoints=(
            Checkpoint("Owner/Seer-7B-Instruct", "Seer 7B", 7_000_000_000),
            Checkpoint("small", "Seer small", 10, path=small),
        ),
    )
    return Registry((family,), ())


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def write_cached_config(
    cache: Path, name: str, config: Mapping[str, Any] = VISION_CONFIG, revision: str = "main"
) -> None:
    repository = cache / f"models--{name.replace('/', '--')}"
    write_checkpoint(repository / "snapshots" / "0123abc", config)
    reference = repository / "refs" / revision
    reference.parent.mkdir(parents=True)
    reference.write_text("0123abc")


def test_an_alias_is_the_folder_that_comes_with_the_plugin(registry: Registry, tmp_path: Path) -> None:
    found = registry.resolve("small")
    assert (found.name, found.source, found.local) == ("small", str(tmp_path / "package" / "small"), True)
    assert found.family is registry.families[0]
    assert found.config == VISION_CONFIG


@pytest.mark.parametrize("given", ["./mine", "mine", "../{name}/mine", "{folder}/mine"])
def test_a_folder(registry: Registry, tmp_path: Path, given: str) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    found = registry.resolve(given.format(name=tmp_path.name, folder=tmp_path))
    assert found.local
    assert Path(found.source).is_absolute()
    assert Path(found.source).resolve() == folder.resolve()
    assert found.family is registry.families[0]


def test_a_folder_that_is_called_like_a_hub_name_is_the_folder(registry: Registry, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "Owner" / "Seer-7B-Instruct")
    assert registry.resolve("Owner/Seer-7B-Instruct").local


def test_a_listed_hub_name_has_its_family_before_any_download(registry: Registry) -> None:
    found = registry.resolve("Owner/Seer-7B-Instruct")
    assert (found.source, found.local, found.config) == ("Owner/Seer-7B-Instruct", False, None)
    assert found.family is registry.families[0]


def test_another_hub_name_is_known_by_its_cached_config(registry: Registry, empty_cache: Path) -> None:
    assert registry.resolve("Somebody/Seer-tuned").family is None
    write_cached_config(empty_cache, "Somebody/Seer-tuned")
    found = registry.resolve("Somebody/Seer-tuned")
    assert found.family is registry.families[0]
    assert found.config == VISION_CONFIG


def test_a_cached_revision(registry: Registry, empty_cache: Path) -> None:
    write_cached_config(empty_cache, "Somebody/Seer-tuned", revision="v2")
    assert registry.resolve("Somebody/Seer-tuned").config is None
    assert registry.resolve("Somebody/Seer-tuned", revision="v2").config == VISION_CONFIG
    assert registry.resolve("Somebody/Seer-tuned", revision="0123abc").config == VISION_CONFIG


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HF_HOME": "/a"},
        {"HF_HUB_CACHE": "/b", "HF_HOME": "/a"},
        {"XDG_CACHE_HOME": "/c"},
        {"HF_ENDPOINT": "https://d"},
    ],
    ids=str,
)
def test_the_cache_is_where_the_hub_library_has_it(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    script = "from huggingface_hub import constants as c; print(c.HF_HUB_CACHE, c.ENDPOINT)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(hub.cache_folder()), hub.endpoint()]


def test_a_text_only_model(registry: Registry, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "llama", {"model_type": "llama", "hidden_size": 8})
    with pytest.raises(FamilyError, match=r"text-only model \(model type llama\)") as caught:
        registry.resolve("./llama")
    assert "no vision_config" in (caught.value.why or "")
    assert caught.value.where == str(tmp_path / "llama")


def test_an_unknown_model_type(registry: Registry, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "other", {"model_type": "other", "vision_config": {}})
    with pytest.raises(FamilyError, match="handles model type 'other'") as caught:
        registry.resolve("./other")
    assert "Seer (seer)" in (caught.value.why or "")
    assert caught.value.where == str(tmp_path / "other")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "cannot read"),
        ("[1]", "not a JSON object"),
        ("{}", "names no model_type"),
        ('{"model_type": 7}', "names no model_type"),
        ("\udcff", "cannot read"),
    ],
)
def test_a_config_that_is_none(registry: Registry, tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(FamilyError, match=what):
        registry.resolve("./bad")


def test_folders_that_hold_something_else(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FamilyError, match=r"no config\.json"):
        registry.resolve("./empty")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(FamilyError) as caught:
        registry.resolve("./adapter")
    assert "this is an adapter" in (caught.value.hint or "")
    write_checkpoint(tmp_path / "outer" / "inner")
    with pytest.raises(FamilyError) as caught:
        registry.resolve("./outer")
    assert f"did you mean {tmp_path / 'outer' / 'inner'}?" in (caught.value.hint or "")


def test_paths_to_nothing_and_to_files(registry: Registry, tmp_path: Path) -> None:
    for given in ("./nothing", "/no/such/folder", "~nobody-here/model", "a/b/c", "models/", "./" + "x" * 5000):
        with pytest.raises(UsageError, match="does not exist"):
            registry.resolve(given)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match="is a file") as caught:
        registry.resolve("./model.gguf")
    assert "GGUF files cannot be trained" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("smal", "small"), ("seer-7b-instruct", "Owner/Seer-7B-Instruct"), ("Seer 7B", None), ("x" * 5000, None)],
)
def test_names_that_are_none(registry: Registry, given: str, meant: str | None) -> None:
    with pytest.raises(UsageError, match="unknown base model") as caught:
        registry.resolve(given)
    assert (caught.value.hint or "").startswith(f"did you mean {meant}?" if meant else "known base models")


def test_fetching_while_downloads_are_forbidden(registry: Registry) -> None:
    with pytest.raises(EnvironmentProblem, match="is not available locally") as caught:
        registry.resolve("Somebody/Seer-tuned", fetch=True)
    for word in ("local folder", "tiny", "HF_HOME", "hf download Somebody/Seer-tuned"):
        assert word in (caught.value.hint or "")
    assert "HF_HUB_OFFLINE" in (caught.value.why or "")


def test_what_is_in_the_cache_is_not_fetched(registry: Registry, empty_cache: Path) -> None:
    write_cached_config(empty_cache, "Somebody/Seer-tuned")
    assert registry.resolve("Somebody/Seer-tuned", fetch=True).family is registry.families[0]


def test_an_unknown_type_names_the_families_and_the_generic_way(registry: Registry, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "other", {"model_type": "stranger", "vision_config": {"depth": 2}})
    with pytest.raises(FamilyError) as caught:
        registry.resolve(str(folder))
    assert "'stranger'" in caught.value.what and "Seer (seer)" in str(caught.value.why)
    assert "--family auto" in str(caught.value.hint)
    generic = registry.resolve(str(folder), choice="auto").family
    assert generic is not None and generic.key == "auto" and generic.model_types == ("stranger",)
    assert isinstance(generic.capability("shared_prefixes"), Unsupported)
    assert isinstance(generic.capability("lora_language"), Experimental)
    assert declaration_problems(generic) == []


def test_the_generic_way_leaves_known_types_and_text_models_alone(registry: Registry, tmp_path: Path) -> None:
    assert registry.resolve("small", choice="auto").family is registry.families[0]
    text = write_checkpoint(tmp_path / "text", {"model_type": "writer", "vocab_size": 10})
    with pytest.raises(FamilyError, match="text-only model"):
        registry.resolve(str(text), choice="auto")
