"""Computations that differ on CUDA must not change results: flex attention, cached image features, pixels as bytes."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from harness.synthetic_data import read_rows
from inputs import small_rows, tiny_checkpoint
from tasks import BenchmarkSetting, TaskReport, TaskSkipped

from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.feature_store import FeatureStore
from mg_tui.engine.batching import packed_layout, pixel_codec
from mg_tui.engine.batching.batches import MicroBatch, open_images
from mg_tui.engine.batching.feature_cache import FeatureCache, vision_digest
from mg_tui.engine.batching.vision_inputs import VisionInputs
from mg_tui.engine.compute import flex_attention
from mg_tui.engine.compute.objective import Objective
from mg_tui.engine.run import setup
from mg_tui.families.split_encoding import SplitEncoder

# Heads of queries, heads of keys, and their width.
HEADS = {"tiny": (4, 2, 32), "small": (8, 2, 64), "3B": (16, 2, 128), "7B": (28, 4, 128)}
LARGEST_DIFFERENCE = 5e-2  # of gradients, relative, in bfloat16


class TinyModel:
    """The tiny model as a run prepares it, and a packed forward pass of ten rows about two images."""

    def __init__(self, setting: BenchmarkSetting, quantization: str = "none"):
        rows = small_rows()
        dtype = "float32" if setting.dry else "bfloat16"
        values = {"base_model": str(tiny_checkpoint()), "dataset": "-", "quantization": quantization, "dtype": dtype}
        spec = TrainingSpec.parse({**values, "device": "cpu" if setting.dry else "cuda", **rows.options})
        self.device = setting.device
        self.context = setup.load_run_context(spec)
        started = time.perf_counter()
        self.model, self.decisions = setup.load_model(spec, self.context)
        self.load_seconds = time.perf_counter() - started
        self.examples = read_examples(rows.file(setting), 10)
        assert self.context.encoder is not None
        self.layout = packed_layout.PackedLayout(SplitEncoder(self.context.encoder), 8192)

    def micro_batch(self, images: dict[str, Any] | None = None) -> MicroBatch:
        """The forward pass, on the device."""
        (part,) = self.layout(self.examples, images or open_images(self.examples))
        return to_device(part, self.device)

    def image_paths(self) -> list[str]:
        """In the order of the rows."""
        return list(dict.fromkeys(ref.path for example in self.examples for ref in example.images))


def read_examples(file: Path, count: int) -> list[Example]:
    """The first rows of a dataset, sorted by image."""
    rows = sorted(read_rows(file), key=lambda row: row.image)[:count]
    turns = [(_message("user", row.text, row.image), _message("assistant", row.response)) for row in rows]
    return [Example(number, pair) for number, pair in enumerate(turns, start=1)]


def to_device(part: MicroBatch, device: str) -> MicroBatch:
    """A forward pass with its tensors on the device."""
    inputs = {name: value.to(device) if torch.is_tensor(value) else value for name, value in part.inputs.items()}
    return replace(part, inputs=inputs, positions=part.positions.to(device), targets=part.targets.to(device))


def loss_and_gradients(model: Any, part: MicroBatch, device: str) -> tuple[float, list[torch.Tensor]]:
    """The mean loss of a forward pass as in training, and the float32 gradient of every trained weight."""
    objective, vision = Objective(model), VisionInputs(frozen=True)
    model.zero_grad(set_to_none=True)
    kind = device.partition(":")[0]
    with objective.restricted_to(part.positions, tuple(part.inputs["input_ids"].shape)):
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            inputs = vision(model, part.inputs)
            loss = objective.loss_sum(model, inputs, part.positions, part.targets) / part.targets.numel()
        loss.backward()
    objective.close()
    gradients = [weight.grad.float().clone() for weight in model.parameters() if weight.requires_grad]
    return float(loss.detach()), gradients


def compile_flex_task(size: str) -> Callable[[TaskReport, BenchmarkSetting], None]:
    """A task: the trial of flex attention for the heads of a model. Later tasks use the compiler's disk cache."""

    def run(report: TaskReport, setting: BenchmarkSetting) -> None:
        setting.require_cuda()
        weight = torch.zeros(1, dtype=torch.bfloat16, device=setting.device)
        names = ("num_attention_heads", "num_key_value_heads", "head_dim")
        config = SimpleNamespace(**dict(zip(names, HEADS[size], strict=True)))
        model = SimpleNamespace(
            config=SimpleNamespace(get_text_config=lambda: config),
            get_output_embeddings=lambda: SimpleNamespace(weight=weight),
            parameters=lambda: iter([weight]),
        )
        started = time.perf_counter()
        problem = flex_attention.try_attention(model)
        report.put(compile_seconds=time.perf_counter() - started)
        if problem is not None:
            raise RuntimeError(f"the trial of flex attention failed: {problem}")

    return run


def compare_flex(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: flex attention passes its trial, and has the loss and gradients of block attention.

    Raises:
        RuntimeError: the trial failed, or gradients differ by more than bfloat16 explains.
    """
    tiny = TinyModel(setting)
    report.put(decisions=[decision for decision in tiny.decisions if decision[0] == "tree attention"])
    if setting.dry:
        raise TaskSkipped("needs CUDA: flex attention has no backward on a CPU")
    problem = flex_attention.try_attention(tiny.model)
    report.put(trial=problem or "passed", load_seconds=tiny.load_seconds)
    if problem is not None:
        raise RuntimeError(f"the trial of flex attention failed: {problem}")
    tiny.model.train()
    with torch.no_grad():  # initially zero, which makes the gradient of lora_A zero
        for name, weight in tiny.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    part = tiny.micro_batch()
    flex_attention.install(tiny.model)
    loss, gradients = loss_and_gradients(tiny.model, part, tiny.device)
    flex_attention.fall_back(tiny.model)
    block_loss, expected = loss_and_gradients(tiny.model, part, tiny.device)
    pairs = list(zip(gradients, expected, strict=True))
    difference = sum(float((gradient - reference).norm() ** 2) for gradient, reference in pairs) ** 0.5
    difference /= sum(float(reference.norm() ** 2) for _gradient, reference in pairs) ** 0.5
    report.put(loss=loss, block_attention_loss=block_loss, relative_gradient_difference=difference)
    if not difference < LARGEST_DIFFERENCE:
        raise RuntimeError(f"the gradients differ by {difference:.1e}")


def compare_cached_features(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: features that are read from the cache equal the encoded ones, bit for bit.

    Raises:
        RuntimeError: they do not.
    """
    tiny = TinyModel(setting)
    assert tiny.context.encoder is not None
    folder = setting.scratch / "features"
    folder.mkdir(exist_ok=True)
    cache = FeatureCache(FeatureStore(folder, 2**30), tiny.context.encoder.processor.image_processor.to_dict())
    cache.enable_for(vision_digest(tiny.model, tiny.context.family))
    opener, vision = packed_layout.CachedImageOpener(cache), VisionInputs(frozen=True, cache=cache)
    passes = []
    for _ in range(2):
        part = tiny.micro_batch({path: opener(path) for path in tiny.image_paths()})
        with torch.autocast(tiny.device.partition(":")[0], torch.bfloat16, enabled=not setting.dry):
            inputs = vision(tiny.model, part.inputs)
        passes.append((inputs["mm_encoder_outputs"]["image"].pooler_output, vision.pop_counts()))
    (encoded, encoded_counts), (cached, cached_counts) = passes
    identical = all(torch.equal(first, second) for first, second in zip(encoded, cached, strict=True))
    report.put(encoded_and_cached=[encoded_counts, cached_counts], identical=identical, device=str(cached[0].device))
    if encoded_counts != (2, 0) or cached_counts != (0, 2) or not identical:
        raise RuntimeError(f"images encoded and cached: {encoded_counts}, {cached_counts}; identical: {identical}")


def compare_pixel_bytes(report: TaskReport, setting: BenchmarkSetting) -> None:
    """A task: pixels that were sent to the device as bytes become the image processor's own numbers.

    Raises:
        RuntimeError: they were sent as numbers, or become other ones.
    """
    tiny = TinyModel(setting)
    tiny.examples = tiny.examples[:5]  # of one image
    inputs = dict(tiny.micro_batch().inputs)
    sent = {name: value for name, value in inputs.items() if name.startswith("pixel_")}
    pixel_codec.decode_pixels(inputs)
    (image,) = open_images(tiny.examples).values()
    expected = tiny.layout.split_encoder.encode_image(image)["pixel_values"]
    identical = torch.equal(inputs["pixel_values"], expected.to(tiny.device))
    sent_bytes = sum(value.nbytes for value in sent.values() if torch.is_tensor(value))
    report.put(sent=sorted(sent), bytes=sent_bytes, bytes_as_numbers=expected.nbytes, identical=identical)
    if "pixel_values" in sent or not identical:
        raise RuntimeError(f"sent: {sorted(sent)}; identical: {identical}")


def _message(role: Any, text: str, image: str | None = None) -> Message:
    parts = (ImagePart(ImageRef(image, image)),) if image else ()
    return Message(role, (*parts, TextPart(text)))
