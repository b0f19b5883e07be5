"""How far our steps are from the floor: the multiply-adds that distinct tokens need, at this machine's matrix rate.

`uv run python benchmarks/roofline.py --session NAME` after `benchmarks/train.py --session NAME`, whose runs it uses.
The floor is a lower bound: attention, a few percent, and elementwise operations are not counted.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from harness.measurement import Measurement
from harness.synthetic_data import KINDS, read_rows
from PIL import Image

from mg_tui.core.spec import TrainingSpec
from mg_tui.families.registry import ResolvedModel, load_registry
from mg_tui.hardware.model_shape import ModelShape
from mg_tui.preflight.memory import image_token_counter, model_shape

GIGA = 1e9


@dataclass(frozen=True, slots=True)
class StepWork:
    """What a step computes: places of its layout, trained positions, patches of images that are encoded."""

    tokens: float
    positions: float
    patches: float


def multiply_adds(shape: ModelShape, work: StepWork, adapter: int) -> float:
    """Multiply-adds of a step's matrix products, forward and backward.

    A frozen matrix is multiplied twice, a weight of LoRA (`adapter` of them) three times. Of the last block, what lies
    behind its keys and values is needed at supervised positions only, as the output layer is.
    """
    language = shape.language
    last = language.matrix_weights / language.depth - 2 * language.width * language.keys
    everywhere = 2 * (language.matrix_weights - last) + 3 * adapter
    supervised = 2 * (last + shape.embedding_parameters)
    projector = sum(linear.times * linear.weights for linear in shape.projector) / shape.patches_per_token
    patch = shape.vision.matrix_weights + shape.values_per_patch * shape.vision.width + projector
    return work.tokens * everywhere + work.positions * supervised + work.patches * patch


def measure_matmul_rate(repeats: int = 12) -> float:
    """Multiply-adds a second of a float32 product that is large enough to be as quick as any; the best of some."""
    import torch

    from mg_tui.engine.compute.matmul import linear

    rows, weight = torch.randn(1024, 2048), torch.randn(2048, 2048)
    seconds = []
    with torch.no_grad():
        for _ in range(repeats):
            began = time.perf_counter()
            linear(rows, weight)
            seconds.append(time.perf_counter() - began)
    return float(rows.shape[0] * weight.numel() / min(seconds))


def mean_patches(rows: Path, model: ResolvedModel, shape: ModelShape) -> float:
    """Patches of an image of a data set, in the mean."""
    spec = TrainingSpec(base_model=model.source, dataset=str(rows))
    count = image_token_counter(model, spec)
    assert count is not None
    sizes = []
    for path in dict.fromkeys(row.image for row in read_rows(rows)):
        with Image.open(path) as image:
            sizes.append(count(*image.size, spec.min_pixels, spec.max_pixels))
    return statistics.mean(sizes) * shape.patches_per_token


def format_table(measured: list[Measurement], shape: ModelShape, patches: dict[str, float], quickest: float) -> str:
    """Our timed runs and the floor, in Markdown; `patches` per image by kind of data, `quickest` in multiply-adds per
    second (see `measure_matmul_rate`)."""
    lines = [
        "| data | epochs | G multiply-adds a step | floor | took | of the floor's speed |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for item in measured:
        for title, steps in (("first", item.first_epoch()), ("later", item.later_epochs())):
            if not steps:
                continue
            tokens, positions, images, seconds = (
                statistics.mean(float(values[step]) for step in steps)
                for values in (item.laid_out, item.supervised, item.encoded, item.seconds)
            )
            needed = multiply_adds(shape, StepWork(tokens, positions, images * patches[item.kind]), item.trained)
            floor = needed / quickest
            lines.append(
                f"| {KINDS[item.kind].title} | {title} | {needed / GIGA:.0f} | {floor:.2f} s | {seconds:.2f} s "
                f"| {floor / seconds:.0%} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Measure the rate, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--session", required=True)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "model-garden-benchmarks")
    options = parser.parse_args()
    result = [
        Measurement.load(path) for path in sorted((options.work / "results" / options.session).glob("speed-*.json"))
    ]
    ours = [item for item in result if item.peer == "ours"]
    if not ours:
        parser.error(f"no timed run of ours in session {options.session}: run benchmarks/train.py --session first")
    model = load_registry().resolve(str(options.work / "models" / "mid-float32"))
    shape = model_shape(model)
    patches = {
        item.kind: mean_patches(
            options.work / "data" / f"{item.kind}-{item.steps_per_epoch}" / "rows.jsonl", model, shape
        )
        for item in ours
    }
    quickest = measure_matmul_rate()
    print(f"{quickest / GIGA:.0f} G multiply-adds a second\n\n{format_table(ours, shape, patches, quickest)}")


if __name__ == "__main__":
    main()
