"""Checks of what goes into the model: token counts over many sizes, and rows with any number of images."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Final

import torch

from mg_tui.engine.batching.batches import collate
from mg_tui.engine.conformance.fixture import LiveFixture
from mg_tui.families.conformance import PREPROCESSING, count_findings

# 200 sizes in pixels: from a thumbnail to several tiles, square, wide and tall, none a multiple of a patch by accident.
_SIDES: Final = (17, 28, 56, 75, 112, 133, 150, 199, 224, 260, 300, 336, 391, 448, 520)
_SIZES: Final = tuple(product(_SIDES, _SIDES))[:200]
_MOST_FINDINGS: Final = 5


def image_tokens_of_many_sizes(bench: LiveFixture) -> Iterator[str]:
    """Tokens counted from 200 sizes are the processor's, with the checkpoint's settings and with other limits."""
    if bench.family.image_tokens is None:
        return
    for limits in (PREPROCESSING, replace(PREPROCESSING, min_pixels=6_272, max_pixels=50_176)):
        processor = bench.family.load_processor(bench.family, str(bench.folder), limits)
        collator = bench.family.make_collator(bench.family, processor, limits)
        findings = list(count_findings(bench, collator, _SIZES, limits))
        yield from findings[:_MOST_FINDINGS]
        if len(findings) > _MOST_FINDINGS:
            yield f"and {len(findings) - _MOST_FINDINGS} more sizes at {limits.max_pixels:,} pixels"


def any_number_of_images(bench: LiveFixture) -> Iterator[str]:
    """Rows without an image, with one and with several, alone and side by side: a finite loss, and no label lost."""
    model = bench.load()
    counts = sorted({len(example.images) for example in bench.step})
    groups = [[example for example in bench.step if len(example.images) == count][:2] for count in counts]
    for group in (*groups, [group[0] for group in groups]):
        part = collate(group, bench.images, bench.collator)
        images = [len(example.images) for example in group]
        with torch.no_grad():
            logits = model(**part.inputs).logits
        if not bool(torch.isfinite(logits).all()):
            yield f"rows with {images} images: logits are not finite"
        if part.targets.numel() == 0:
            yield f"rows with {images} images: nothing is supervised"
