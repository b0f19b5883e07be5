"""The core knows no family: none is named in it, but for the base model that `init` proposes."""

import re
from pathlib import Path

import mg_tui
from mg_tui.cli.init import DEFAULT_MODEL

ROOT = Path(mg_tui.__file__).parent
# A rule of llama.cpp for splitting text, by the name that it has there.
FOREIGN = {"engine/export/gguf/converter_child.py": '"qwen2"'}


def test_the_core_names_no_family_but_the_default_base_model() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted(ROOT.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").replace(DEFAULT_MODEL, "").splitlines()
        if re.search("qwen", line, re.IGNORECASE) and line.strip() != FOREIGN.get(str(path.relative_to(ROOT)))
    ]
    assert found == []


def test_the_engine_names_no_grid_of_a_family() -> None:
    """What a processor calls its outputs is in the families; the engine takes what they declare."""
    names = re.compile(r"image_grid_thw|pixel_attention_mask|spatial_shapes|deepstack|spatial_merge_size")
    found = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "engine").rglob("*.py"))
        if names.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
