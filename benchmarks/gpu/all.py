"""Everything that only a GPU can show, in one call: `python benchmarks/gpu/all.py --out results`.

Writes `gpu.json` and `gpu.md` into the folder, after every piece, so that what was done before an interruption is kept.
What could not be done is said with its reason. Nothing is downloaded: weights are random. `--dry-run` goes through the
same on a CPU with the tiny model, to see that the script works; its figures mean nothing.
"""

import argparse
import datetime
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import attending
import ladder
import machine
import steps
import torch
from page import page

PARTS = ("nvml", "attention", "ladder", "grid")


def main() -> int:
    """The pieces that were asked for; 0 when all of them were done, 1 when some could not be."""
    asked = _parse_arguments()
    if not asked.dry_run and not torch.cuda.is_available():
        print("there is no CUDA device here; --dry-run goes through everything on the CPU", file=sys.stderr)
        return 2
    device: machine.Device = machine.Dry() if asked.dry_run else machine.Cuda()
    asked.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * asked.minutes
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dry_run": asked.dry_run,
        "machine": machine.described(device),
        "grid": [],
        "not_done": {},
    }

    def keep(name: str, do: Callable[[], Any], put: Callable[[Any], None]) -> None:
        if time.monotonic() > until:
            result["not_done"][name] = f"the {asked.minutes:g} minutes were over"
        else:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                put(do())
            except Exception as error:  # one piece that fails leaves the others
                lines = str(error).splitlines() or [""]
                result["not_done"][name] = f"{type(error).__name__}: {lines[0][:300]}"
                print(f"  not done: {result['not_done'][name]}", file=sys.stderr, flush=True)
        gc.collect()
        if not device.dry:
            torch.cuda.empty_cache()
        (asked.out / "gpu.json").write_text(json.dumps(result, indent=1, default=str) + "\n")
        (asked.out / "gpu.md").write_text(page(result))

    with tempfile.TemporaryDirectory(dir=asked.scratch) as folder:
        scratch = Path(folder)
        if "nvml" in asked.pieces:
            keep("NVML", lambda: machine.nvml(device), lambda found: result.update(nvml=found))
        if "attention" in asked.pieces:
            keep(
                "attention",
                lambda: attending.measure(device, asked.repeats),
                lambda found: _put_attention(result, found),
            )
        if "ladder" in asked.pieces:
            keep("OOM ladder", lambda: ladder.measure(device, scratch), lambda found: result.update(ladder=found))
        if "grid" in asked.pieces:
            for case in steps.grid(dry=device.dry):
                if not asked.only or any(word in case.name for word in asked.only):
                    do = _measure_case(case, device, scratch, asked.repeats)
                    keep(case.name, do, result["grid"].append)
    print((asked.out / "gpu.md").read_text())
    return 1 if result["not_done"] else 0


def _measure_case(case: steps.Case, device: machine.Device, scratch: Path, repeats: int) -> Callable[[], Any]:
    return lambda: steps.measure(case, device, scratch, repeats)


def _put_attention(result: dict[str, Any], found: dict[str, Any]) -> None:
    result["not_done"].update(found.pop("not_done"))
    result["attention"] = found


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for gpu.json and gpu.md")
    parser.add_argument(
        "--dry-run", action="store_true", help="on the CPU with the tiny model; no figure means anything"
    )
    parser.add_argument("--pieces", nargs="+", choices=PARTS, default=PARTS, help="what to do; everything")
    parser.add_argument("--only", nargs="+", default=[], help="of the grid, cases whose name has one of these words")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing after so many")
    parser.add_argument("--scratch", type=Path, default=None, help="where temporary files go")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
