"""The estimate: its parts, what it says of the guide's table, and what would fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mg_qwen2_5_vl.shape import CONFIG_3B, CONFIG_7B, CONFIG_72B, model_shape

from mg_tui.core.spec import TrainingSpec
from mg_tui.hardware.known_gpus import KNOWN_GPUS
from mg_tui.hardware.memory import ExampleSize, MemoryAdvisor, Workload, estimate_memory, keep_largest
from mg_tui.hardware.memory.assumptions import FRAGMENTATION
from mg_tui.hardware.memory.ranks import COMMUNICATION, GRADIENT_BUCKET, Ranks
from mg_tui.hardware.memory.training_setup import resolve_setup
from mg_tui.hardware.memory.workload import MIN_TOKEN_BUDGET, image_tokens_by_area, largest_forward_pass

GB, GIB = 10**9, 2**30
SHAPES = {"3B": model_shape(CONFIG_3B), "7B": model_shape(CONFIG_7B), "72B": model_shape(CONFIG_72B)}


def spec(**changes: object) -> TrainingSpec:
    return TrainingSpec.parse({"base_model": "m", "dataset": "d", **changes})


def question(size: str = "7B", rows: tuple[ExampleSize, ...] = (), **changes: object) -> MemoryAdvisor:
    return MemoryAdvisor(SHAPES[size], spec(**changes), rows)


# --- Parts ------------------------------------------------------------------------------------------------------------


def test_parts_add_up_to_the_peak_and_each_says_why() -> None:
    found = estimate_memory(SHAPES["7B"], spec(train_vision="lora", train_projector="full"))
    assert sum(part.bytes for part in found.parts) == found.peak
    assert all(part.bytes > 0 and part.why for part in found.parts)
    assert len({part.name for part in found.parts}) == len(found.parts)
    assert json.loads(json.dumps(found.as_dict()))["peak"] == found.peak


def test_the_margin_is_a_share_of_what_comes_and_goes() -> None:
    found = estimate_memory(SHAPES["7B"], spec())
    moving = sum(found.bytes_of(name) for name in ("activations", "active block", "vision", "logits"))
    assert found.bytes_of("margin for fragmentation") == pytest.approx(FRAGMENTATION * moving, abs=4)
    assert found.tensor_bytes == found.peak - found.bytes_of("margin for fragmentation") - found.bytes_of(
        "CUDA context and libraries"
    )


@pytest.mark.parametrize(("optimizer", "each"), [("adamw", 8), ("adamw_8bit", 2.03125), ("paged_adamw_8bit", 0)])
def test_optimizer_state(optimizer: str, each: float) -> None:
    found = estimate_memory(SHAPES["3B"], spec(optimizer=optimizer))
    assert found.bytes_of("optimizer state") == pytest.approx(each * found.trained, abs=1)
    assert found.bytes_of("gradients") == 4 * found.trained


def test_full_training_needs_four_times_four_bytes_for_a_parameter() -> None:
    parts = {f"train_{part}": "full" for part in ("language", "projector", "vision")}
    found = estimate_memory(SHAPES["3B"], spec(**parts))
    assert found.trained == found.parameters == SHAPES["3B"].parameters
    assert found.setup.quantization == "none"
    kept = found.loaded_bytes + found.bytes_of("gradients") + found.bytes_of("optimizer state")
    assert kept == 16 * found.parameters
    assert found.bytes_of("adapter") == 0


def test_a_part_in_full_beside_lora_is_a_copy() -> None:
    plain, copied = (estimate_memory(SHAPES["3B"], spec(train_projector=how)) for how in ("none", "full"))
    assert copied.loaded_bytes == plain.loaded_bytes
    assert copied.bytes_of("adapter") - plain.bytes_of("adapter") == 4 * SHAPES["3B"].projector_parameters


def test_on_the_cpu_there_is_neither_context_nor_quantisation() -> None:
    found = estimate_memory(SHAPES["3B"], spec(), device="cpu")
    assert (found.setup.dtype, found.setup.quantization) == ("float32", "none")
    assert found.loaded_bytes == 4 * SHAPES["3B"].parameters
    assert found.bytes_of("CUDA context and libraries") == 0


def test_what_is_not_known_is_said() -> None:
    assert any("no dataset" in sentence for sentence in estimate_memory(SHAPES["3B"], spec()).assumed)
    assert estimate_memory(SHAPES["3B"], spec(), rows=[ExampleSize(100, 10)]).assumed == ()
    general = replace(SHAPES["3B"], exact=False)
    assert any(
        "derived from the checkpoint" in sentence
        for sentence in estimate_memory(general, spec(), rows=[ExampleSize(100, 10)]).assumed
    )


def test_what_a_gpu_offers_is_what_its_program_was_told_in_gib() -> None:
    """Against messages of torch and nvidia-smi, which count in GiB: `79.25 GiB total capacity`."""
    usable = {gpu.name: gpu.usable_bytes for gpu in KNOWN_GPUS}
    for name, gib in (("A100 80 GB", 79.25), ("RTX 3090 / 4090 24 GB", 23.5), ("H100 NVL 94 GB", 93.0)):
        assert usable[name] == int(gib * GIB), name
    for name, size in usable.items():
        sold_as = float(name.removesuffix(" GB").rpartition(" ")[2])
        assert 0.88 * sold_as * GB < size < sold_as * GIB, name


# --- The guide's table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "guide", "off"), [("3B", 6, 0.15), ("7B", 10, 0.15), ("72B", 45, 0.15)])
def test_the_guides_4_bit_column_is_training_with_the_defaults(size: str, guide: float, off: float) -> None:
    assert question(size).estimate().peak / GB == pytest.approx(guide, rel=off)


@pytest.mark.parametrize(("size", "guide", "bytes_each"), [("3B", 12, 4), ("7B", 28, 4), ("72B", 144, 2)])
def test_the_guides_full_column_is_weights_alone_by_the_models_name(size: str, guide: int, bytes_each: int) -> None:
    assert int(size[:-1]) * bytes_each == guide
    whole = question(size, train_language="full", train_projector="full", train_vision="full").estimate()
    assert whole.peak > 4 * guide * GB


# --- The largest forward pass -----------------------------------------------------------------------------------------

ROWS = (ExampleSize(100, 20, ((448, 448),)), ExampleSize(300, 50, ((1008, 1008),)), ExampleSize(50, 5))


def largest_forward_of(rows: tuple[ExampleSize, ...] = ROWS, **changes: object) -> Workload:
    asked = spec(**changes)
    return largest_forward_pass(
        SHAPES["7B"], resolve_setup(asked, device="cuda"), asked, rows, image_tokens_by_area(SHAPES["7B"])
    )


def test_packed_takes_the_longest_rows_up_to_the_budget() -> None:
    work = largest_forward_of()
    assert work.rows == 1
    assert work.masked
    assert 1580 + 356 <= work.length <= MIN_TOKEN_BUDGET
    assert work.patches >= 4 * (1280 + 256)
    assert work.forwards


def test_a_budget_smaller_than_the_longest_row_leaves_it_alone() -> None:
    work = largest_forward_of(token_budget=16)
    assert (work.length, work.examples, work.supervised) == (1580, 1, 50)


def test_padded_lays_out_every_row_as_long_as_the_longest() -> None:
    work = largest_forward_of(layout="padded", batch_size=2)
    assert (work.rows, work.length, work.masked) == (2, 1580, True)
    assert (work.supervised, work.patches) == (70, 4 * (1280 + 256))
    assert not largest_forward_of(layout="padded").masked


def test_rows_that_are_too_long_do_not_count() -> None:
    assert largest_forward_of(max_seq_length=400, token_budget=16).length == 356
    assert largest_forward_of(max_seq_length=40, token_budget=16).length == 40


def test_only_rows_that_matter_are_kept() -> None:
    many = [ExampleSize(10 + index % 90, index % 7, ((28, 28),)) for index in range(5000)]
    many[77] = ExampleSize(900, 3)
    many[1234] = ExampleSize(5, 3, ((2000, 2000),))
    many[4321] = ExampleSize(5, 4, ())
    kept = keep_largest(many)
    assert len(kept) < 800
    assert many[77] in kept
    assert many[1234] in kept
    assert question(rows=tuple(many)).estimate() == estimate_memory(SHAPES["7B"], spec(), rows=kept)


# --- What would fit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gib", [12, 24, 80])
def test_the_largest_batch_fits_and_one_more_does_not(gib: int) -> None:
    asked = question()
    batch = asked.largest_batch(gib * GIB)
    assert batch is not None
    assert asked.estimate(batch_size=batch).peak <= gib * GIB < asked.estimate(batch_size=batch + 1).peak


def test_the_largest_image_fits_and_a_larger_one_does_not() -> None:
    asked, free = question(), 11 * GIB
    pixels = asked.largest_pixels(free)
    assert pixels is not None
    assert 1_003_520 < pixels < 12_845_056
    longer = {"max_seq_length": 20_000}
    assert asked.estimate(max_pixels=pixels, **longer).peak <= free
    assert asked.estimate(max_pixels=round(pixels * 1.05), **longer).peak > free


def test_a_image_is_not_larger_than_those_of_the_dataset() -> None:
    assert question(rows=(ExampleSize(50, 5, ((448, 448),)),)).largest_pixels(80 * GIB) == 448 * 448
    assert question(rows=(ExampleSize(50, 5),)).largest_pixels(80 * GIB) is None


def test_nothing_fits_into_nothing() -> None:
    asked = question()
    assert not asked.fits(GIB)
    assert asked.largest_batch(GIB) is None
    assert asked.largest_pixels(GIB) is None
    assert asked.suggestions(GIB) == []


def test_every_remedy_is_one_change_with_which_it_fits() -> None:
    asked = question(quantization="none", batch_size=4, gradient_checkpointing=False, train_vision="lora")
    free = 40 * GIB
    assert not asked.fits(free)
    remedies = asked.suggestions(free)
    assert remedies
    for remedy in remedies:
        assert remedy.estimate.peak <= free
        assert remedy.estimate == asked.estimate(**remedy.changes)
        assert remedy.flags.startswith("--")
        assert remedy.cost
    assert remedies[0].flags == "--gradient-checkpointing"


def test_no_remedies_where_it_fits() -> None:
    assert question().suggestions(80 * GIB) == []


def test_lora_is_offered_in_place_of_full_training() -> None:
    found = question(train_language="full", quantization="none").suggestions(80 * GIB)
    assert any(remedy.changes.get("train_language") == "lora" for remedy in found)


@pytest.mark.parametrize(
    "change",
    [
        {"lora_r": 64},
        {"batch_size": 4},
        {"gradient_checkpointing": False},
        {"quantization": "int8"},
        {"quantization": "none"},
        {"max_pixels": 1_400_000},
        {"use_dora": True},
        {"lora_dropout": 0.1},
        {"train_vision": "lora"},
        {"train_projector": "full"},
        {"attention": "eager"},
        {"dtype": "float32"},
    ],
    ids=str,
)
def test_what_costs_memory_costs_memory(change: dict[str, object]) -> None:
    # Rows long enough that activations, not logits, are the peak.
    base = question(rows=(ExampleSize(700, 30, ((1500, 1500),)),), max_seq_length=4096)
    assert base.estimate(**change).peak > base.estimate().peak


def test_importing_it_imports_no_torch() -> None:
    import subprocess
    import sys

    modules = "mg_tui.preflight.memory, mg_tui.hardware.memory, mg_tui.cli.estimate"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path.cwd(), check=True)
    assert done.stdout.strip() == "False"


# --- Several devices --------------------------------------------------------------------------------------------------


def test_with_ddp_each_device_has_everything_and_a_little_more() -> None:
    alone, several = question(), question().with_ranks(Ranks(4, "ddp"))
    assert several.estimate().peak == alone.estimate().peak + COMMUNICATION
    assert several.estimate().bytes_of("communication") == COMMUNICATION
    # Where nothing else is as large, the buffer in which gradients are summed is the peak.
    trained = alone.estimate().trained
    assert several.estimate().moment == alone.estimate().moment and 4 * trained > GRADIENT_BUCKET


def test_the_buffer_of_gradients_is_the_engine_s() -> None:
    from mg_tui.engine.run.distributed import _BUCKET_ELEMENTS

    assert GRADIENT_BUCKET == 4 * _BUCKET_ELEMENTS


def test_with_fsdp_only_frozen_layers_and_an_untied_embedding_are_shared() -> None:
    alone, several = question("7B").estimate(), question("7B").with_ranks(Ranks(4, "fsdp")).estimate()
    shape = SHAPES["7B"]
    weights = shape.language.matrix_weights / 2
    rest = 2 * (shape.language.parameters - shape.language.matrix_weights)
    scales = alone.bytes_of("language model") - weights - rest
    assert several.bytes_of("language model") == pytest.approx((weights + rest) / 4 + scales, abs=2)
    layer = (weights + rest) / shape.language.depth
    assert several.bytes_of("gathered layers") == pytest.approx(3 * layer, abs=2)
    lost = alone.bytes_of("embeddings and output layer") - several.bytes_of("embeddings and output layer")
    assert lost == pytest.approx(0.75 * 2 * shape.embedding_parameters, abs=2)
    for name in ("vision tower", "projector", "adapter", "gradients", "optimizer state", "activations", "logits"):
        assert several.bytes_of(name) == alone.bytes_of(name)
    tied = [question("3B").with_ranks(ranks).estimate() for ranks in (Ranks(), Ranks(4, "fsdp"))]
    assert len({each.bytes_of("embeddings and output layer") for each in tied}) == 1  # it is the output layer too


def test_what_fits_where_as_the_guide_s_72b() -> None:
    """In 4 bits: one card of 80 GB, two of 48 or four of 24; two of 24 are not enough."""
    sizes = {gpu.name: gpu.usable_bytes for gpu in KNOWN_GPUS}
    free = {
        key: next(size for name, size in sizes.items() if name.startswith(key))
        for key in ("H100 80", "L40S", "RTX 3090")
    }
    big = question("72B")
    fits = {(key, count): big.settle(count, "auto", free[key]).fits(free[key]) for key in free for count in (1, 2, 4)}
    assert fits == {
        ("H100 80", 1): True, ("H100 80", 2): True, ("H100 80", 4): True,
        ("L40S", 1): False, ("L40S", 2): True, ("L40S", 4): True,
        ("RTX 3090", 1): False, ("RTX 3090", 2): False, ("RTX 3090", 4): True,
    }  # fmt: skip
    assert big.settle(2, "auto", free["H100 80"]).ranks == Ranks(2, "ddp")
    assert big.settle(2, "auto", free["L40S"]).ranks == Ranks(2, "fsdp")
    assert big.settle(2, "ddp", free["L40S"]).ranks == Ranks(2, "ddp")
    assert big.settle(2, "fsdp", free["H100 80"]).ranks == Ranks(2, "fsdp")
    assert big.settle(1, "fsdp", 0).ranks == Ranks(1, "ddp")


@pytest.mark.parametrize(
    ("changes", "why"), [({"train_language": "full"}, "trained in full"), ({"quantization": "int8"}, "int8")]
)
def test_what_cannot_be_shared_is_whole_and_it_is_said(changes: dict[str, str], why: str) -> None:
    asked = MemoryAdvisor(SHAPES["7B"], spec(**changes))
    whole = asked.with_ranks(Ranks(4, "ddp")).estimate()
    shared = asked.with_ranks(Ranks(4, "fsdp")).estimate()
    assert shared.peak == whole.peak and shared.ranks.parallel == "ddp"
    assert any(why in sentence for sentence in shared.assumed)
