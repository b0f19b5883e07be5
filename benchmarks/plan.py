"""How long planning takes: which examples meet in a step, and how steps are laid out. No torch, no images.

`uv run python benchmarks/plan.py --examples 100000`
"""

import argparse
import platform
import random
import time

from mg_tui.engine.layout.attention_blocks import cut_blocks
from mg_tui.engine.layout.packing import pack
from mg_tui.engine.layout.plan import StepPlan
from mg_tui.engine.layout.trie import build_trie


def main() -> None:
    """Plan an epoch, lay out some steps, print seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--per-image", type=int, default=5)
    parser.add_argument("--per-step", type=int, default=16)
    options = parser.parse_args()
    groups = [index // options.per_image for index in range(options.examples)]
    random.Random(0).shuffle(groups)
    began = time.perf_counter()
    plan = StepPlan(options.examples, options.per_step, seed=1, groups=groups)
    met = [plan.step(number) for number in range(plan.steps_per_epoch)]
    seconds = time.perf_counter() - began
    assert sorted(index for step in met for index in step) == list(range(options.examples))
    print(f"{options.examples:,} examples into {len(met):,} steps: {seconds:.2f} s ({platform.machine()}, one core)")

    chosen = random.Random(0)
    some = met[:200]
    began = time.perf_counter()
    for step in some:
        # 240 tokens of an image behind 15 of a beginning, then a question of 25 tokens of its own.
        keys = [
            (*range(15), *[-1 - groups[index]] * 240, *(chosen.randrange(900) for _ in range(25))) for index in step
        ]
        for forward in pack(keys, 2048):
            cut_blocks(build_trie([keys[index] for index in forward]).subtree_ends())
    print(f"one step laid out: {(time.perf_counter() - began) / len(some) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
