import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from mg_tui.core.errors import UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.results.model_card import train_command
from mg_tui.engine.results.publish import publish_folder
from mg_tui.runs.result_metadata import BaseModelRef, read_result_metadata

PLAIN_TRANSFORMERS_SCRIPT = """
import json, sys
from PIL import Image
import torch
{card}
turns = [{{"role": "system", "content": [{{"type": "text", "text": "Be brief."}}]}},
         {{"role": "user", "content": [{{"type": "image"}}, {{"type": "text", "text": "What shape is it?"}}]}}]
text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
inputs = processor(text=[text], images=[Image.open(sys.argv[1])], return_tensors="pt")
with torch.inference_mode():
    logits = model(**inputs).logits
assert not any(name.startswith(("mg_tui", "mg_qwen")) for name in sys.modules)
print(json.dumps([inputs["input_ids"].tolist(), logits[0, -1].double().tolist()]))
"""


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.linear_gradient("L").resize((640, 300)).convert("RGB").save(path)
    return path


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---")[1])


def test_a_result_is_a_standard_adapter(result: Path, tiny_folder: Path) -> None:
    names = {path.name for path in result.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "model_garden.json"} <= names
    assert {"tokenizer.json", "processor_config.json", "chat_template.jinja"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".pickle"))]
    # An alias means nothing to PEFT, so the folder stands in its place.
    assert json.loads((result / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny_folder)
    assert not list(result.parent.glob(".*"))
    # What one user of a box trained, another can load.
    assert len({path.stat().st_mode for path in result.iterdir()}) == 1


def test_the_contract_says_how_it_was_trained(result: Path, spec: TrainingSpec, tiny_folder: Path) -> None:
    contract = read_result_metadata(result)
    assert contract.kind == "adapter" and contract.family == "qwen2_5_vl" and contract.model_type == "qwen2_5_vl"
    assert contract.base == BaseModelRef(name="tiny", path=str(tiny_folder))
    assert (contract.preprocessing.max_pixels, contract.preprocessing.system_prompt) == (50176, "Be brief.")
    assert contract.fields.text == "question" and contract.run == "run-1"
    assert contract.training["final_loss"] == 0.125
    assert contract.training_spec() == spec
    assert {"transformers", "peft", "torch"} <= contract.versions.keys()
    processor = json.loads((result / "processor_config.json").read_text())
    assert processor["image_processor"]["size"]["longest_edge"] == 50176


def test_the_card_has_a_yaml_head_and_what_was_asked(result: Path, spec: TrainingSpec) -> None:
    card = (result / "README.md").read_text()
    head = front_matter(card)
    assert head["library_name"] == "peft" and head["pipeline_tag"] == "image-text-to-text" and "lora" in head["tags"]
    assert "base_model" not in head  # a folder on this machine; the hub refuses it
    assert "| Final training loss | 0.1250 |" in card and "| Training examples | 1,200 |" in card
    assert "| Learning rate | `0.001` | `2e-05` |" in card
    assert "| Dataset | ``a \\| b `odd`.jsonl`` |  |" in card
    assert train_command(spec) in card and "--max-pixels 50176" in card
    assert head["license"] == "apache-2.0"  # of the base model's own card


def test_the_card_has_no_path_of_this_machine(result: Path, tiny_folder: Path) -> None:
    card = (result / "README.md").read_text()
    assert str(result.parent) not in card and str(tiny_folder.parent) not in card and "/data/" not in card
    assert "model-garden generate-vision ./my-model --image" in card


def test_a_prompt_with_a_slash_is_no_path() -> None:
    spec = TrainingSpec(base_model="tiny", dataset="/data/rows.jsonl", system_prompt="/no_think and be brief")
    command = train_command(spec)
    assert "'/no_think and be brief'" in command and "/data/" not in command and "rows.jsonl" in command


def test_a_hub_base_is_named_for_the_hub(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from mg_tui.families.registry import Registry

    real = Registry.resolve
    monkeypatch.setattr(
        Registry,
        "resolve",
        lambda self, name: replace(real(self, name), name="Qwen/Q", local=False),
    )
    folder = save(make_adapted(), tmp_path / "out")
    head = front_matter((folder / "README.md").read_text())
    assert head["base_model"] == "Qwen/Q" and "base_model:adapter:Qwen/Q" in head["tags"]
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "Qwen/Q"


def test_it_loads_in_plain_peft_with_the_same_logits(
    result: Path, image_file: Path, spec: TrainingSpec, tiny_folder: Path, tmp_path: Path
) -> None:
    """In a process that never imports our package, by the code of the card, in the folder that contains both."""
    (tmp_path / result.name).symlink_to(result)
    (tmp_path / tiny_folder.name).symlink_to(tiny_folder)
    code = "\n".join(re.findall(r"```python\n(.*?)```", (result / "README.md").read_text(), re.S))
    code = code.replace("image.jpg", str(image_file))
    ran = subprocess.run(
        [sys.executable, "-c", PLAIN_TRANSFORMERS_SCRIPT.format(card=code), str(image_file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stderr
    *their_answer, last = ran.stdout.splitlines()
    ids, theirs = json.loads(last)

    import torch

    from mg_tui.core.example import ImagePart, ImageRef, Message, TextPart
    from mg_tui.engine.inference.generation import Sampling, generate_answer, make_encoder
    from mg_tui.engine.inference.loading import load_for_inference

    loaded = load_for_inference(str(result), home=image_file.parent, device="cpu")
    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    options = Message("user", (ImagePart(ImageRef(str(image_file), "a.png")), TextPart("What shape is it?")))
    inputs = encoder.encode_prompts([[options]], [[Image.open(image_file)]])
    assert inputs["input_ids"].tolist() == ids
    with torch.inference_mode():
        ours = loaded.model(**inputs).logits[0, -1].double().tolist()
        with loaded.model.disable_adapter():
            untrained = loaded.model(**inputs).logits[0, -1].double().tolist()
    assert ours == theirs
    assert ours != untrained
    question = Message("user", (options.parts[0], TextPart("What is in this image?")))
    answered = generate_answer(
        loaded.model, encoder, [question], [Image.open(image_file)], Sampling(max_new_tokens=256)
    )
    assert answered.text == "\n".join(their_answer)


def test_a_result_answers_with_the_pixel_limits_it_was_trained_with(
    result: Path, spec: TrainingSpec, tmp_path: Path
) -> None:
    from mg_tui.core.example import ImagePart, ImageRef, Message, TextPart
    from mg_tui.engine.inference.generation import make_encoder
    from mg_tui.engine.inference.loading import load_for_inference

    assert spec.max_pixels != TrainingSpec.model_fields["max_pixels"].default
    loaded = load_for_inference(str(result), home=tmp_path, device="cpu")
    encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
    question = Message("user", (ImagePart(ImageRef("a.png", "a.png")), TextPart("What is it?")))
    (grid,) = encoder.encode_prompts([[question]], [[Image.new("RGB", (1400, 1400))]])["image_grid_thw"].tolist()
    assert spec.max_pixels * 0.8 < grid[1] * grid[2] * 14 * 14 <= spec.max_pixels


def test_parts_trained_in_full_are_saved_with_the_adapter(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    import torch
    from safetensors import safe_open

    from mg_tui.engine.inference.loading import load_for_inference

    model = make_adapted(modules_to_save=["visual.merger.mlp.0"])
    folder = save(model, tmp_path / "out")
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        assert any("visual.merger.mlp.0" in key for key in file.keys())  # noqa: SIM118 - no mapping
    loaded = load_for_inference(str(folder), home=tmp_path, device="cpu")
    trained = model.base_model.model.model.visual.merger.mlp[0].modules_to_save["default"].weight
    again = loaded.model.base_model.model.model.visual.merger.mlp[0].modules_to_save["default"].weight
    assert torch.equal(trained, again)


def test_a_model_trained_in_full_is_saved_whole(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    import torch

    from mg_tui.engine.inference.loading import load_for_inference

    model = make_adapted().merge_and_unload()
    model.config.text_config.use_cache = False
    folder = save(model, tmp_path / "out")
    assert read_result_metadata(folder).kind == "model" and (folder / "model.safetensors").is_file()
    assert json.loads((folder / "config.json").read_text())["text_config"]["use_cache"] is True
    loaded = load_for_inference(str(folder), home=tmp_path, device="cpu")
    for name, weights in loaded.model.state_dict().items():
        assert torch.equal(weights, model.state_dict()[name]), name


def test_a_folder_with_files_is_left_alone_unless_the_same_run_left_it(
    make_adapted: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_adapted()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        save(model, tmp_path / "mine")
    assert (tmp_path / "mine/notes.txt").read_text() == "keep"

    (tmp_path / "out").mkdir()
    save(model, tmp_path / "out")
    (tmp_path / "out/stale").touch()
    save(model, tmp_path / "out")
    assert not (tmp_path / "out/stale").exists()
    with pytest.raises(UsageError, match="not empty"):
        save(model, tmp_path / "out", run="run-2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_nothing_is_left_when_saving_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), publish_folder(tmp_path / "out", tag="x") as staging:
        (staging / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_renamed_onto_is_filled_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "volume"
    target.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self == target)
    with publish_folder(target, tag="x", last="z.json") as staging:
        assert staging.parent == target
        (staging / "z.json").write_text("{}")
        (staging / "weights").write_text("w")
        assert not (target / "z.json").exists()
    assert sorted(path.name for path in target.iterdir()) == ["weights", "z.json"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"schema": 2}', "newer version"),
        ('{"schema": 1, "kind": "cake"}', "is invalid"),
    ],
)
def test_a_contract_that_cannot_be_read_is_one_clear_error(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "model_garden.json").write_text(content)
    with pytest.raises(UsageError, match=expected):
        read_result_metadata(tmp_path)


def test_folders_of_other_programs_get_defaults(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Q", "revision": "main"}')
    contract = read_result_metadata(tmp_path)
    assert (
        contract.assumed
        and contract.kind == "adapter"
        and contract.base == BaseModelRef(name="Qwen/Q", revision="main")
    )
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="which base model"):
        read_result_metadata(tmp_path)
    assert read_result_metadata(tmp_path, base="Qwen/R").base.name == "Qwen/R"
