"""Fifty steps of plain one-by-one training and of the engine, from the same start on the same examples.

`uv run python benchmarks/loss_parity.py` prints both losses of each step and the largest difference, and writes a plot;
`--family gemma3` does it with a tiny random model of another family, without a plot.
Plain means: each example alone, unpadded, its logits in full, PEFT's own layers, pixels encoded in every forward.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harness.packed_step import packed_step
from harness.synthetic_data import KINDS, make_rows

TOKEN_BUDGET = 600  # of a forward pass of ours: several a step


@dataclass(frozen=True, slots=True)
class LossCurves:
    """The losses of each step, trained plainly and by the engine."""

    plain: list[float]
    ours: list[float]

    @property
    def largest(self) -> float:
        """The largest relative difference of a step's losses."""
        return max(abs(a - b) / abs(a) for a, b in zip(self.plain, self.ours, strict=True))


def compare(
    rows: Path,
    steps: int,
    per_step: int,
    *,
    base_model: str = "tiny",
    limits: Mapping[str, int] = MappingProxyType({"max_pixels": 20_000}),
    report: Callable[[str], None] = print,
) -> LossCurves:
    """Train a small model twice on the rows of a file.

    Args:
        rows: as `harness.synthetic_data.make_rows` writes them.
        steps: optimizer steps.
        per_step: examples of one.
        base_model: as `--base-model` takes it.
        limits: of the size of an image, by their names in the spec.
        report: given a line for each step.
    """
    import torch
    from transformers import set_seed

    from mg_tui.core.spec import TrainingSpec
    from mg_tui.engine.batching import rows as dataset_rows
    from mg_tui.engine.run import setup, step_planning

    spec = TrainingSpec(
        base_model=base_model,
        dataset=str(rows),
        batch_size=per_step,
        gradient_accumulation_steps=1,
        gradient_checkpointing=False,
        device="cpu",
        **limits,
    )
    base = setup.load_run_context(spec)
    examples = dataset_rows.read_dataset(spec, spec.dataset, cwd=rows.parent, cache=rows.parent / "none").examples
    plan = step_planning.plan_steps(spec, examples, spec.examples_per_step)
    chosen = [[examples[index] for index in plan.step(number)] for number in range(steps)]
    torch.set_num_threads(1)  # for a model this small, threads cost more than they bring
    curves = []
    for step_of in (_plain_step, _engine_step):
        set_seed(0)
        model, _decisions = setup.load_model(spec, base)
        model.train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        losses = []
        run = step_of(model, base)
        for some in chosen:
            optimizer.zero_grad(set_to_none=True)
            losses.append(run(some))
            optimizer.step()
        curves.append(losses)
    result = LossCurves(*curves)
    for number, (plain, ours) in enumerate(zip(result.plain, result.ours, strict=True), 1):
        report(f"{number:4d}  {plain:.6f}  {ours:.6f}  {abs(plain - ours) / abs(plain):.1e}")
    report(f"largest relative difference: {result.largest:.1e}")
    return result


def _plain_step(model: Any, base: Any) -> Callable[[Sequence[Any]], float]:
    """One example after another, as one would write it without an engine."""
    from torch.nn import functional

    from mg_tui.engine.batching.batches import open_images

    # What `load_model` did to make layers quicker is undone.
    for module in model.modules():
        module.__dict__.pop("forward", None)
    model.config.get_text_config()._attn_implementation = "sdpa"

    def step(examples: Sequence[Any]) -> float:
        batches = []
        for example in examples:
            images = open_images([example])
            batches.append(dict(base.collator([example], [[images[ref.path] for ref in example.images]])))
        labels = [batch.pop("labels") for batch in batches]
        supervised = sum(int((item[:, 1:] != -100).sum()) for item in labels)
        total = 0.0
        for batch, expected in zip(batches, labels, strict=True):
            logits = model(**batch, use_cache=False).logits[0, :-1].float()
            loss = functional.cross_entropy(logits, expected[0, 1:], ignore_index=-100, reduction="sum") / supervised
            loss.backward()
            total += float(loss.detach())
        return total

    return step


def _engine_step(model: Any, base: Any) -> Callable[[Sequence[Any]], float]:
    """Packed forward passes, as a run does them."""
    return packed_step(model, base, TOKEN_BUDGET)


def format_plot(curves: LossCurves) -> str:
    """Both curves as an SVG: plain training as a wide pale line, the engine's as a thin dark one on it."""
    width, height, edge = 640, 280, 40
    top = max(*curves.plain, *curves.ours)

    def line(losses: Sequence[float], stroke: str) -> str:
        step = (width - 2 * edge) / max(len(losses) - 1, 1)
        points = " ".join(
            f"{edge + index * step:.1f},{height - edge - (height - 2 * edge) * loss / top:.1f}"
            for index, loss in enumerate(losses)
        )
        return f'<polyline points="{points}" fill="none" {stroke}/>'

    text = 'font-family="sans-serif" font-size="12" fill="#333"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            f'<path d="M{edge},{edge} V{height - edge} H{width - edge}" fill="none" stroke="#999"/>',
            line(curves.plain, 'stroke="#f0a860" stroke-width="6"'),
            line(curves.ours, 'stroke="#1f4e79" stroke-width="1.5"'),
            f'<text x="{edge}" y="24" {text}>loss of a step: plain training (wide), the engine (thin); '
            f"largest relative difference {curves.largest:.1e}</text>",
            f'<text x="{width - edge}" y="{height - 14}" text-anchor="end" {text}>{len(curves.plain)} steps</text>',
            f'<text x="8" y="{edge + 4}" {text}>{top:.1f}</text>',
            f'<text x="8" y="{height - edge + 4}" {text}>0</text>',
            "</svg>",
        ]
    )


def main() -> None:
    """Compare, print, and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--per-step", type=int, default=10)
    parser.add_argument("--family", help="key of a family: a tiny random model of it, made for this")
    parser.add_argument("--svg", type=Path, default=Path(__file__).parent.parent / "docs" / "overlay.svg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = make_rows(Path(folder), KINDS["vqa"], options.steps)
        if options.family:
            compare_family(rows, options.family, options.steps, options.per_step, Path(folder) / "checkpoint")
            return
        curves = compare(rows, options.steps, options.per_step)
    options.svg.write_text(format_plot(curves) + "\n")
    sys.stderr.write(f"written: {options.svg}\n")


def compare_family(rows: Path, key: str, steps: int, per_step: int, folder: Path) -> LossCurves:
    """The same with a tiny random model of a family, which is written into a folder."""
    from mg_tui.families.registry import load_registry
    from mg_tui.families.tiny_checkpoints import make_tiny_checkpoint

    family = next((item for item in load_registry().families if item.key == key), None)
    if family is None:
        raise SystemExit(f"no family {key}; installed: {', '.join(item.key for item in load_registry().families)}")
    made = make_tiny_checkpoint(family, folder)
    return compare(rows, steps, per_step, base_model=str(made), limits={})


if __name__ == "__main__":
    main()
