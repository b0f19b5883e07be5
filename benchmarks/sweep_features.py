"""What shared image features save in a sweep: three runs of the tiny model over the same images, with and without.

    uv run python benchmarks/sweep_features.py [--side 1000] [--images 8]

Prints, for each, how many images were encoded and the seconds of all optimizer steps; nothing else of a run is shared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image


def main() -> None:
    """Make images, do both sweeps, print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1000, help="pixels of an image's sides")
    parser.add_argument("--images", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        rows = []
        for number in range(options.images):
            size = (options.side, options.side)
            Image.effect_noise(size, 40 + number).convert("RGB").save(base / f"{number}.png")
            rows.append({"text": f"what is {number}?", "image": f"{number}.png", "response": f"{number} is grainy"})
        (base / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for cache in ("off", "on"):
            encoded, seconds = _sweep(base, cache)
            print(f"vision_cache {cache}: {encoded} images encoded, {seconds:.1f} s of steps in three runs")


def _sweep(base: Path, cache: str) -> tuple[int, float]:
    """Images encoded and seconds of the steps of a sweep's three runs."""
    environ = {
        **os.environ,
        "MODEL_GARDEN_HOME": str(base / "home"),
        "MODEL_GARDEN_CACHE": str(base / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = (
        *(sys.executable, "-c", "from mg_tui.cli.main import main; main()", "sweep", "rows.jsonl"),
        *("--base-model", "tiny", "--over", "lora_r=2,4,8", "--epochs", "1", "--gradient-accumulation-steps", "2"),
        *("--sample-count", "0", "--workers", "0", "--vision-cache", cache, "--name", f"cache-{cache}"),
    )
    subprocess.run(command, cwd=base, env=environ, check=True, capture_output=True)
    steps = [
        json.loads(line)
        for journal in base.glob(f"home/runs/*-cache-{cache}-*/events.jsonl")
        for line in journal.read_text().splitlines()
        if '"kind":"step"' in line
    ]
    return sum(step["images_encoded"] for step in steps), sum(step["seconds"] for step in steps)


if __name__ == "__main__":
    main()
