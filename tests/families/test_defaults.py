"""Loading as the defaults do it: what is quantised, what limits do, and what is said when files are missing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mg_tui.core.errors import EnvironmentProblem, FamilyError, UsageError
from mg_tui.families import LoadRequest, ModelFamily, Parts, Preprocessing, hub


def load(family: ModelFamily, source: Path | str, **options: Any) -> Any:
    return family.load_model(family, LoadRequest(str(source), "bfloat16", "cpu", **options))


def linear_layers(model: Any) -> dict[str, torch.nn.Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def test_dtype_device_attention(family: ModelFamily, tiny: Path) -> None:
    model = load(family, tiny, attention="eager")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert model.config._attn_implementation == "eager"
    assert not model.training


@pytest.mark.parametrize(("method", "kind"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_only_the_language_part_is_quantised(family: ModelFamily, tiny: Path, method: Any, kind: str) -> None:
    model = load(family, tiny, quantization=method)
    kinds: dict[str, set[str]] = {"language": set(), "projector": set(), "vision": set(), "head": set()}
    for name, layer in linear_layers(model).items():
        part = "head" if name == "lm_head" else str(family.parts.part_of(name))
        kinds[part].add(type(layer).__name__)
        if type(layer).__name__ == "Linear":
            assert layer.weight.dtype == torch.bfloat16, name
    assert kinds == {"language": {kind}, "projector": {"Linear"}, "vision": {"Linear"}, "head": {"Linear"}}
    if method == "nf4":
        layer = model.model.language_model.layers[0].mlp.up_proj
        assert layer.weight.quant_type == "nf4"
        assert layer.weight.compress_statistics  # double quantisation
        assert layer.compute_dtype == torch.bfloat16


def test_quantisation_that_goes_wrong_is_noticed(family: ModelFamily, tiny: Path) -> None:
    from dataclasses import replace

    elsewhere = replace(family, parts=Parts(language=("model.language_model",), projector=(), vision=("vision_tower",)))
    load(elsewhere, tiny)  # nothing to notice without quantisation
    backwards = replace(
        family, parts=Parts(language=("model.visual",), projector=(), vision=("model.language_model", "model.visual"))
    )
    with pytest.raises(FamilyError, match="quantization failed"):
        load(backwards, tiny, quantization="nf4")


@pytest.mark.parametrize("limits", [(3_136, 12_544), (3_136, 200_704), (50_176, 1_003_520)], ids=str)
def test_pixel_limits_take_effect_and_are_saved(
    family: ModelFamily, tiny: Path, tmp_path: Path, limits: tuple[int, int]
) -> None:
    processor = family.load_processor(family, str(tiny), Preprocessing(*limits))
    for size in ((2000, 1500), (20, 30)):
        made = processor.image_processor([Image.new("RGB", size)], return_tensors="pt")
        assert limits[0] <= int(made["image_grid_thw"].prod()) * 14 * 14 <= limits[1]

    processor.save_pretrained(tmp_path)
    from transformers import AutoProcessor

    again = AutoProcessor.from_pretrained(tmp_path)
    assert (again.image_processor.size["shortest_edge"], again.image_processor.size["longest_edge"]) == limits


def test_the_image_processor_is_torchvisions(processor: Any) -> None:
    assert processor.image_processor.backend == "torchvision"


@pytest.mark.parametrize("trusted", [False, True])
def test_code_and_revision_are_those_that_were_asked_for(
    family: ModelFamily, monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    """What reaches transformers: code that comes with a checkpoint runs only when asked, and of that revision."""
    import transformers

    called: dict[str, dict[str, Any]] = {}

    def record(name: str) -> Any:
        def from_pretrained(source: str, **options: Any) -> Any:
            called[name] = {"source": source, **options}
            raise OSError("enough seen")

        return from_pretrained

    monkeypatch.setattr(hub, "is_reachable", lambda: True)
    for name in ("AutoModelForImageTextToText", "AutoProcessor", "AutoConfig"):
        monkeypatch.setattr(getattr(transformers, name), "from_pretrained", record(name))
    for quantization in ("none", "nf4"):
        with pytest.raises(UsageError):
            load(family, "some/model", revision="abc123", trust_remote_code=trusted, quantization=quantization)
    with pytest.raises(UsageError):
        family.load_processor(
            family, "some/model", Preprocessing(3_136, 12_544), revision="abc123", trust_remote_code=trusted
        )
    assert called.keys() == {"AutoModelForImageTextToText", "AutoProcessor", "AutoConfig"}
    for name, options in called.items():
        asked = (options["source"], options.get("revision"), options.get("trust_remote_code", False))
        assert asked == ("some/model", "abc123", trusted), name


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copied"))


def test_weights_that_are_missing(family: ModelFamily, copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="no safetensors weights") as caught:
        load(family, copied)
    assert caught.value.where == str(copied)


def test_pickles_are_not_loaded(family: ModelFamily, copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    torch.save({}, copied / "pytorch_model.bin")
    with pytest.raises(UsageError, match="no safetensors weights"):
        load(family, copied)


def test_weights_that_are_cut_off(family: ModelFamily, copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UsageError, match="corrupted"):
        load(family, copied)


def test_weights_that_are_incomplete(family: ModelFamily, copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    gone = next(name for name in weights if "mlp" in name)
    del weights[gone]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FamilyError, match="1 weights are missing"):
        load(family, copied)


def test_no_processor_files(family: ModelFamily, copied: Path) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (copied / name).unlink(missing_ok=True)
    with pytest.raises((UsageError, FamilyError)) as caught:
        family.load_processor(family, str(copied), Preprocessing(3_136, 12_544))
    assert caught.value.where == str(copied)


def test_no_tokenizer_files(family: ModelFamily, copied: Path) -> None:
    for file in copied.glob("*token*"):
        file.unlink()
    with pytest.raises((UsageError, FamilyError)) as caught:
        family.load_processor(family, str(copied), Preprocessing(3_136, 12_544))
    assert caught.value.where == str(copied)


def test_a_checkpoint_that_is_quantised_already(family: ModelFamily, copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"already quantized \(awq\)"):
        load(family, copied, quantization="nf4")


def test_attention_that_is_not_installed(family: ModelFamily, tiny: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="missing dependency of this model") as caught:
        load(family, tiny, attention="flash_attention_2")
    assert "flash" in (caught.value.why or "").lower()


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    yield


@pytest.mark.usefixtures("unreachable")
def test_an_unreachable_hub_is_one_error_at_once(family: ModelFamily) -> None:
    import time

    start = time.monotonic()
    name = "Nobody/Has-This-Model"
    with pytest.raises(EnvironmentProblem, match="is not available locally") as caught:
        load(family, name)
    assert "local folder or `tiny`" in (caught.value.hint or "")
    with pytest.raises(EnvironmentProblem, match="is not available locally"):
        family.load_processor(family, name, Preprocessing(3_136, 12_544))
    assert time.monotonic() - start < 10
