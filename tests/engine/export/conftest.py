"""Rows that models are asked before and after an export."""

import json
import random
from pathlib import Path

import pytest

from mg_tui.data.synthetic.drawings import draw_image


@pytest.fixture(scope="package")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four questions, each on an image of its own."""
    folder = tmp_path_factory.mktemp("rows")
    lines = []
    for number in range(4):
        image, _facts = draw_image(random.Random(number), size=(112, 112))
        image.save(folder / f"{number}.png")
        lines.append(json.dumps({"question": f"What is in {number}?", "image": f"{number}.png", "response": "circle"}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl"
