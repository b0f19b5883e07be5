"""What is trained, on what device, with which arguments: each decided once, with its reason."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mg_qwen2_5_vl import QWEN2_5_VL

from mg_tui.core.errors import EnvironmentProblem, FamilyError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.checkpointing import trained_weights
from mg_tui.engine.run import placement, setup, trainable_parameters, training_arguments
from mg_tui.families.contract import LoadRequest
from mg_tui.families.registry import load_registry

TINY = str(QWEN2_5_VL.checkpoints[-1].path)


def spec(**options: Any) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "tiny", "dataset": "d.jsonl", "lora_r": 2, **options})


def adapt_tiny(**options: Any) -> Any:
    model = QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))
    return trainable_parameters.make_trainable(model, QWEN2_5_VL, spec(**options))


def trainable_names(model: Any) -> set[str]:
    return {
        trainable_parameters.strip_peft_prefix(name)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize("part", ["language", "projector", "vision"])
def test_lora_is_on_every_linear_layer_of_its_part_and_on_no_other(part: str) -> None:
    others = {f"train_{name}": "none" for name in ("language", "projector", "vision")}
    model = adapt_tiny(**{**others, f"train_{part}": "lora"})
    layers = [name for name in trainable_names(model) if ".lora_A." in name]
    linear = [name for name in trainable_parameters.linear_layer_names(model.base_model.model) if ".lora_" not in name]
    expected = {name.removesuffix(".base_layer") for name in linear if QWEN2_5_VL.parts.part_of(name) == part}
    assert {name.partition(".lora_A.")[0] for name in layers} == expected
    assert all(".lora_" in name for name in trainable_names(model))
    assert "lm_head" not in " ".join(expected)


def test_a_part_in_full_beside_lora_is_whole_and_in_float32() -> None:
    model = adapt_tiny(train_vision="full", train_projector="none")
    full = {name for name in trainable_names(model) if ".lora_" not in name}
    assert full and all(QWEN2_5_VL.parts.part_of(name) == "vision" for name in full)
    table = trainable_parameters.trainable_summary(model, QWEN2_5_VL, spec(train_vision="full"))
    assert table["vision"]["trained"] == table["vision"]["parameters"] > 0
    assert table["projector"]["trained"] == 0
    assert table["language"]["method"] == "lora"
    assert table["language"]["parameters"] + table["vision"]["parameters"] + table["projector"]["parameters"] == (
        QWEN2_5_VL.checkpoints[-1].parameters
    )


def test_full_training_keeps_its_weights_in_float32() -> None:
    model = QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="bfloat16", device="cpu"))
    model = trainable_parameters.make_trainable(model, QWEN2_5_VL, spec(train_language="none", train_projector="full"))
    dtypes = {QWEN2_5_VL.parts.part_of(name): parameter.dtype for name, parameter in model.named_parameters()}
    assert dtypes == {"language": torch.bfloat16, "vision": torch.bfloat16, "projector": torch.float32}


def test_a_quantised_model_on_the_cpu_learns_after_an_evaluation() -> None:
    request = LoadRequest(TINY, dtype="float32", device="cpu", quantization="nf4")
    model = trainable_parameters.make_trainable(
        QWEN2_5_VL.load_model(QWEN2_5_VL, request), QWEN2_5_VL, spec(quantization="nf4")
    )
    ids = torch.arange(3, 19)[None]
    with torch.no_grad():
        model.eval()(input_ids=ids)
    model.train()(input_ids=ids, labels=ids).loss.backward()
    supervised = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert supervised and all(parameter.grad is not None for parameter in supervised)


def test_full_language_beside_lora_is_refused() -> None:
    with pytest.raises(UsageError, match="train_language"):
        adapt_tiny(train_language="full", quantization="none", train_vision="lora")


def test_a_part_without_weights_is_refused() -> None:
    model = QWEN2_5_VL.load_model(QWEN2_5_VL, LoadRequest(TINY, dtype="float32", device="cpu"))
    bare = replace(QWEN2_5_VL, parts=replace(QWEN2_5_VL.parts, projector=("model.nothing",)))
    with pytest.raises(FamilyError, match="projector"):
        trainable_parameters.make_trainable(model, bare, spec(train_projector="full"))


@pytest.mark.parametrize("trusted", [False, True])
def test_code_of_a_checkpoint_and_its_revision_are_asked_for_as_the_spec_says(
    monkeypatch: pytest.MonkeyPatch, trusted: bool
) -> None:
    asked: list[tuple[str, str | None, bool]] = []

    def load_processor(family: Any, source: str, preprocessing: Any, **hub: Any) -> Any:
        asked.append(("processor", hub.get("revision"), hub.get("trust_remote_code", False)))
        return QWEN2_5_VL.load_processor(family, source, preprocessing)

    def load_model(family: Any, request: LoadRequest) -> Any:
        asked.append(("model", request.revision, request.trust_remote_code))
        return QWEN2_5_VL.load_model(family, replace(request, revision=None, trust_remote_code=False))

    class Registry:
        def resolve(self, name: str, *, revision: str | None, fetch: bool, choice: str) -> Any:
            asked.append(("config", revision, False))
            family = replace(QWEN2_5_VL, load_processor=load_processor, load_model=load_model)
            return replace(load_registry().resolve(name), family=family)

    monkeypatch.setattr(setup, "load_registry", Registry)
    options = spec(revision="abc123", trust_remote_code=trusted, device="cpu", gradient_checkpointing=False)
    setup.load_model(options, setup.load_run_context(options))
    assert asked == [("config", "abc123", False), ("processor", "abc123", trusted), ("model", "abc123", trusted)]


@pytest.mark.parametrize("checkpointed", [True, False])
def test_a_model_is_loaded_with_gradient_checkpointing_where_the_spec_says_so(checkpointed: bool) -> None:
    """Blocks that are checkpointed run a second time in the backward pass."""
    options = spec(device="cpu", gradient_checkpointing=checkpointed)
    model, _decisions = setup.load_model(options, setup.load_run_context(options))
    blocks = model.base_model.model.model.language_model.layers
    calls: list[int] = []
    for number, block in enumerate(blocks):
        block.input_layernorm.register_forward_hook(lambda *_given, number=number: calls.append(number))
    ids = torch.arange(3, 23)[None]
    model.train()(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
    assert sorted(calls) == sorted(list(range(len(blocks))) * (2 if checkpointed else 1))


def test_dropout_is_on_every_layer_of_the_adapter() -> None:
    dropped = {
        module.p
        for name, module in adapt_tiny(lora_dropout=0.3).named_modules()
        if "lora_dropout" in name and isinstance(module, torch.nn.Dropout)
    }
    assert dropped == {0.3}
    plain = adapt_tiny(lora_dropout=0.0)
    assert not [m for n, m in plain.named_modules() if "lora_dropout" in n and isinstance(m, torch.nn.Dropout)]


@pytest.mark.parametrize("options", [{}, {"train_language": "none", "train_projector": "full"}], ids=["lora", "full"])
def test_trained_weights_come_back_as_they_were(options: dict[str, Any], tmp_path: Path) -> None:
    model, other = adapt_tiny(**options), adapt_tiny(**options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += torch.randn_like(parameter)
    trained_weights.save_trained_weights(model, tmp_path)
    trained_weights.load_trained_weights(other, tmp_path)
    ours = dict(model.named_parameters())
    assert all(torch.equal(ours[name], parameter) for name, parameter in other.named_parameters())


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    trained_weights.save_trained_weights(adapt_tiny(), tmp_path)
    with pytest.raises(EnvironmentProblem, match="does not fit"):
        trained_weights.load_trained_weights(adapt_tiny(train_vision="lora"), tmp_path)


def fake_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _index: "A GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _index: capability)


def test_choices_on_the_cpu() -> None:
    result = placement.choose_placement(spec(device="cpu"))
    assert (result.device, result.dtype, result.quantization, result.attention) == ("cpu", "float32", "none", "sdpa")
    assert {what for what, _value, _why in result.decisions()} == {"device", "dtype", "quantization", "attention"}
    assert all(why for _what, _value, why in result.decisions())


@pytest.mark.parametrize(("capability", "dtype"), [((9, 0), "bfloat16"), ((7, 5), "float16")])
def test_choices_on_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: str) -> None:
    fake_gpu(monkeypatch, capability)
    result = placement.choose_placement(spec())
    assert (result.device, result.dtype, result.quantization) == ("cuda:0", dtype, "nf4")
    assert f"{capability[0]}.{capability[1]}" in result.reasons["dtype"]
    assert placement.choose_placement(spec(train_language="full")).quantization == "none"
    assert placement.choose_placement(spec(device="cpu")).device == "cpu"


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({"device": "cuda"}, EnvironmentProblem, "--device"),
        ({"dtype": "float16", "device": "cpu"}, UsageError, "--dtype"),
        ({"optimizer": "adamw_8bit", "device": "cpu"}, UsageError, "--optimizer"),
        ({"attention": "flash_attention_2", "device": "cpu"}, EnvironmentProblem, "--attention"),
        ({"attention": "flex", "device": "cpu"}, UsageError, "--attention"),
    ],
    ids=str,
)
def test_what_is_not_possible_here_says_what_is(options: dict[str, Any], error: type[Exception], names: str) -> None:
    with pytest.raises(error) as caught:
        placement.choose_placement(spec(**options))
    assert names in str(caught.value)


def test_the_trainer_is_told_what_the_spec_says(tmp_path: Path) -> None:
    options = spec(
        learning_rate=3e-4,
        scheduler="linear",
        warmup_ratio=0.1,
        weight_decay=0.2,
        adam_beta1=0.8,
        adam_beta2=0.95,
        adam_epsilon=1e-4,
        max_grad_norm=0.5,
        seed=7,
        save_steps=9,
        eval_steps=4,
        logging_steps=5,
        device="cpu",
    )
    inputs = training_arguments.make_training_arguments(
        options, placement.choose_placement(options), folder=tmp_path, run="run-1", total_steps=33, evaluates=True
    )
    assert (inputs.learning_rate, inputs.lr_scheduler_type, inputs.weight_decay) == (3e-4, "linear", 0.2)
    assert (inputs.warmup_steps, inputs.max_steps, inputs.save_steps, inputs.eval_steps) == (4, 33, 9, 4)
    assert (inputs.max_grad_norm, inputs.seed, inputs.logging_steps) == (0.5, 7, 5)
    assert (inputs.adam_beta1, inputs.adam_beta2, inputs.adam_epsilon) == (0.8, 0.95, 1e-4)
    assert inputs.gradient_accumulation_steps == 1 and inputs.per_device_train_batch_size == 1
    assert inputs.report_to == [] and inputs.disable_tqdm and inputs.use_cpu
    assert training_arguments.warmup_steps(spec(warmup_steps=3), 1000) == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_mixed_precision_is_that_of_the_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    """Of a CUDA device there is only the name here: the arguments are made without looking for it."""
    from transformers import TrainingArguments

    monkeypatch.setattr(TrainingArguments, "__post_init__", lambda self: setattr(self, "_n_gpu", 1))
    inputs = training_arguments.make_training_arguments(
        spec(),
        placement.Placement("cuda:0", "a GPU", dtype, "none", "sdpa"),
        folder=tmp_path,
        run="run-1",
        total_steps=3,
        evaluates=False,
    )
    assert (inputs.bf16, inputs.fp16, inputs.use_cpu) == (dtype == "bfloat16", dtype == "float16", False)


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EnvironmentProblem, match="trackio") as caught:
        training_arguments.require_trackers(spec(report_to=["trackio"]))
    assert "model-garden-tui[trackio]" in str(caught.value)


def test_a_worker_uses_one_device_whatever_it_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Trainer wraps a model in `nn.DataParallel` where `n_gpu` is above 1."""
    from transformers import TrainingArguments

    def three_gpus(self: Any) -> torch.device:
        self._n_gpu = 3
        return torch.device("cpu")

    monkeypatch.setattr(TrainingArguments, "_setup_devices", property(three_gpus))
    spec = TrainingSpec(base_model="tiny", dataset="d.jsonl")
    arguments = training_arguments.make_training_arguments(
        spec,
        placement.Placement("cpu", "a CPU", "float32", "none", "sdpa"),
        folder=tmp_path,
        run="r",
        total_steps=3,
        evaluates=False,
    )
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 1)
