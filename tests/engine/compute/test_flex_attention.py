"""Flex attention over packed layouts: its block mask, parity with plain training, and the ways back to blocks.

It runs uncompiled on the CPU here. torch forbids that with gradients, for want of a compiled kernel; what it would
run is there all the same, so the check is taken out.
"""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.attention import flex_attention as torch_flex

from mg_tui.core.spec import TrainingSpec
from mg_tui.engine.batching.batches import collate
from mg_tui.engine.batching.packed_layout import PackedLayout, dense_tree_mask
from mg_tui.engine.compute import attention, flex_attention, optimizations
from mg_tui.engine.layout.trie import build_trie
from mg_tui.engine.run.worker import run_worker
from mg_tui.families.split_encoding import SplitEncoder
from mg_tui.runs.folder import RunFolder
from mg_tui.runs.journal import JournalReader

_found = importlib.util.spec_from_file_location(
    "optimizations_tests", Path(__file__).with_name("test_optimizations.py")
)
assert _found is not None and _found.loader is not None
optimizations_tests: Any = importlib.util.module_from_spec(_found)
_found.loader.exec_module(optimizations_tests)
encoder, tiny, IMAGES, LANGUAGE = (
    optimizations_tests.encoder,
    optimizations_tests.tiny_model,
    optimizations_tests.IMAGES,
    optimizations_tests.LANGUAGE_LINEARS,
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),  # of torch's own tracing
]


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *_given: None)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=400), min_size=1, max_size=5), st.integers(1, 200))
def test_the_block_mask_is_the_one_torch_makes_of_the_whole_mask(rows: list[list[int]], shared: int) -> None:
    ends = torch.tensor(
        build_trie([[7] * (shared * (number % 2)) + row for number, row in enumerate(rows)]).subtree_ends()
    )
    result = flex_attention.make_block_mask(ends)
    size = len(ends)
    expected = torch_flex.create_block_mask(result.mask_mod, None, None, size, size, device="cpu")
    assert (result.shape, result.BLOCK_SIZE) == (expected.shape, expected.BLOCK_SIZE)
    for name in ("kv", "full_kv", "q", "full_q"):
        counts = getattr(result, f"{name}_num_blocks")
        assert torch.equal(counts, getattr(expected, f"{name}_num_blocks"))
        used = torch.arange(counts.shape[-1]) < counts[..., None]
        numbers, required = (getattr(mask, f"{name}_indices") for mask in (result, expected))
        assert torch.equal(numbers[used], required[used])
    places = torch.arange(size)
    assert torch.equal(result.mask_mod(None, None, places[:, None], places[None, :]), dense_tree_mask(ends)[0, 0])


@pytest.mark.parametrize("budget", [300, 100_000], ids=["several forwards", "one forward"])
@pytest.mark.parametrize(
    ("make", "pattern"),
    [(tiny, LANGUAGE), (optimizations_tests.random_model, optimizations_tests.ALL_LINEARS)],
    ids=["tiny", "other"],
)
@pytest.mark.usefixtures("on_cpu")
def test_gradients_are_those_of_plain_training(
    encoder: Any, make: Any, pattern: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, frozen = optimizations_tests.mixed_examples(), pattern == LANGUAGE
    model = optimizations_tests.with_lora(make(), pattern)
    loss, expected = optimizations_tests.plain_loss_and_gradients(
        model, [collate([item], IMAGES, encoder) for item in step], frozen=frozen
    )
    parts = PackedLayout(SplitEncoder(encoder), budget)(step, IMAGES)
    created: list[int] = []
    original = flex_attention.make_block_mask

    def recording(ends: Any) -> Any:
        created.append(len(ends))
        return original(ends)

    monkeypatch.setattr(flex_attention, "make_block_mask", recording)
    flex_attention.install(model)
    model.train()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    for objective in (("objective",), ()):  # with the last layer at supervised positions only, and without
        found_loss, result = optimizations_tests.engine_loss_and_gradients(
            model, parts, frozen=frozen, tricks=objective
        )
        assert found_loss == pytest.approx(loss, rel=1e-5)
        assert optimizations_tests.relative_difference(result, expected) < 1e-5
    # One mask for all layers of a pass, its recomputed ones too.
    assert created == [part.laid_out for part in parts] * 2


@pytest.mark.usefixtures("on_cpu")
def test_it_is_chosen_where_it_suits_and_its_trial_goes_well(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[tuple[str, str]] = []

    def chosen(requested: str) -> tuple[Any, str, str]:
        model = tiny()
        done = optimizations.apply_optimizations(
            model, trees=True, requested=requested, warn=lambda *words: messages.append(words)
        )
        (decision,) = [item for item in done if item[0] == "tree attention"]
        return model.config.get_text_config()._attn_implementation, decision[1], decision[2]

    assert chosen("flex") == (attention.FLEX_TREE_ATTENTION, "flex", "requested"), messages
    assert chosen("auto")[:2] == (attention.TREE_ATTENTION, "by blocks")
    assert "for CUDA devices" in chosen("auto")[2]
    monkeypatch.setattr(flex_attention, "unsuitable_reason", lambda _model: None)
    assert chosen("auto")[:2] == (attention.FLEX_TREE_ATTENTION, "flex")
    assert chosen("sdpa")[:2] == (attention.TREE_ATTENTION, "by blocks") and "sdpa was requested" in chosen("sdpa")[2]
    assert messages == []

    def broken(*_given: Any, **_options: Any) -> Any:
        raise RuntimeError("no C compiler\nand more")

    monkeypatch.setattr(flex_attention, "flex_kernel", lambda _compiled: broken)
    for requested in ("auto", "flex"):
        used, value, why = chosen(requested)
        assert (used, value) == (attention.TREE_ATTENTION, "by blocks") and why.endswith("RuntimeError: no C compiler")
    assert [why for _what, why in messages] == ["RuntimeError: no C compiler"] * 2
    # Causal over the whole layout, so that the second tree sees the first.
    causal = torch.nn.functional.scaled_dot_product_attention

    def wrong(query: Any, key: Any, value: Any, *, block_mask: Any, scale: float, enable_gqa: bool) -> Any:
        return causal(query, key, value, is_causal=True, scale=scale, enable_gqa=enable_gqa)

    monkeypatch.setattr(flex_attention, "flex_kernel", lambda _compiled: wrong)
    assert chosen("auto")[1] == "by blocks" and "results are off by" in messages[-1][1]
    monkeypatch.setattr(
        flex_attention,
        "flex_kernel",
        lambda _compiled: lambda *inputs, **options: wrong(*inputs, **options) * torch.nan,
    )
    assert chosen("auto")[1] == "by blocks" and "results are off by nan" in messages[-1][1]


def test_a_step_in_which_it_fails_is_done_by_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails in the backward of the first pass, when some gradients are there, and in the second layer of another."""
    Image.effect_mandelbrot((84, 84), (-2, -1, 1, 1), 20).convert("RGB").save(tmp_path / "0.png")
    rows = [{"text": f"is it {word}?", "image": "0.png", "response": f"it is {word}"} for word in ("red", "big", "odd")]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    quick = {"base_model": "tiny", "dataset": str(tmp_path / "data.jsonl"), "workers": 0, "sample_count": 0}
    options = {"max_steps": 2, "gradient_accumulation_steps": 3, "learning_rate": 5e-3, "warmup_ratio": 0, **quick}

    def losses_and_warnings(name: str) -> tuple[list[float], list[Mapping[str, Any]], str]:
        """Also gradient norms: Adam hides what is wrong with the size of a gradient."""
        folder = RunFolder.create(tmp_path / name, TrainingSpec.parse(options), versions={})
        assert run_worker(folder.path) == 0
        events = JournalReader(folder.journal_file).read_new()
        (method,) = [
            item.data["value"] for item in events if item.kind == "decision" and item.data["what"] == "tree attention"
        ]
        steps = [item.data for item in events if item.kind == "step"]
        losses = [step[name] for name in ("loss", "grad_norm") for step in steps]
        return losses, [item.data for item in events if item.kind == "warning"], method

    expected, warnings, method = losses_and_warnings("plain")
    assert (len(expected), warnings, method) == (4, [], "by blocks")
    monkeypatch.setattr(flex_attention, "unsuitable_reason", lambda _model: None)
    monkeypatch.setattr(flex_attention, "try_attention", lambda _model: None)
    calls = 0

    def blocks(query: Any, key: Any, value: Any, *, block_mask: Any, scale: float, enable_gqa: bool) -> Any:
        nonlocal calls
        calls += 1
        mask = dense_tree_mask(block_mask.mask_mod.__closure__[0].cell_contents)
        inputs = {"attn_mask": mask, "scale": scale, "enable_gqa": enable_gqa}
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, **inputs)

    def in_backward(*inputs: Any, **more: Any) -> Any:
        result = blocks(*inputs, **more)
        if result.requires_grad:
            result.register_hook(broken)
        return result

    def at_second_call(*inputs: Any, **more: Any) -> Any:
        return blocks(*inputs, **more) if not calls else broken()

    def broken(*_given: Any) -> Any:
        raise RuntimeError("out of resource: shared memory\nand more")

    for number, kernel in enumerate((in_backward, at_second_call)):
        calls = 0
        monkeypatch.setattr(flex_attention, "flex_kernel", lambda _compiled, kernel=kernel: kernel)
        result, (warning,), method = losses_and_warnings(f"broken {number}")
        assert calls and method == "flex"
        assert result == pytest.approx(expected, rel=1e-4)
        assert warning["where"] == "step 1" and warning["why"] == "RuntimeError: out of resource: shared memory"
