"""The core knows no family: none is named in it, but for the base model that `init` proposes."""

import re
import subprocess
import sys
from pathlib import Path

import mg_tui
from mg_tui.cli.init import DEFAULT_MODEL

ROOT = Path(mg_tui.__file__).parent


def test_the_core_names_no_family_but_the_default_base_model() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted(ROOT.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").replace(DEFAULT_MODEL, "").splitlines()
        if re.search("qwen", line, re.IGNORECASE)
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


def test_families_are_declared_and_checked_without_torch() -> None:
    """Importing every plugin and checking its declaration imports neither torch nor transformers."""
    program = (
        "import sys; from mg_tui.families.registry import load_registry; "
        "from mg_tui.families.testing import check_family; families = load_registry().families; "
        "assert len(families) >= 4, families; "
        "print([check_family(f) for f in families if f.key != 'qwen2_5_vl'], "
        "sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]") and "': " not in done.stdout, done.stdout
