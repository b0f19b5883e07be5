"""Train a fixed-seed run and print a digest of its weights, to show that a refactoring does not change training.

`uv run python scripts/weights_digest.py` trains the tiny checkpoint on synthetic images on the CPU (packed, cached
vision features, dropout 0), stops the run after its first checkpoint, resumes it, and prints the SHA-256 of the final
adapter. A change that only renames or moves must print the same digest before and after. Digests of different
machines, versions of torch or numbers of threads are not comparable: take both on one machine.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = (sys.executable, "-c", "from mg_tui.cli.main import main; main()")
OPTIONS = {
    "--base-model": "tiny",
    "--device": "cpu",
    "--layout": "packed",
    "--vision-cache": "on",
    "--lora-dropout": 0,
    "--learning-rate": 1e-3,
    "--eval-split": 0.2,
    "--max-steps": 40,
    "--save-steps": 3,
    "--seed": 7,
}


def run_cli(home: Path, *arguments: str) -> str:
    """Standard output of `model-garden ARGUMENTS`.

    Raises:
        subprocess.CalledProcessError: it failed; its messages are on the terminal.
    """
    environment = {**os.environ, "MODEL_GARDEN_HOME": str(home), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(home)}
    done = subprocess.run([*COMMAND, *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def wait_for(journal: Path, kind: str) -> None:
    """Return once the journal has an event of this kind.

    Raises:
        RuntimeError: it has none within two minutes, or the run fails.
    """
    deadline = time.monotonic() + 120
    while f'"kind":"{kind}"' not in (text := journal.read_text(encoding="utf-8")):
        if time.monotonic() > deadline or '"kind":"failed"' in text:
            raise RuntimeError(f"no event {kind}; the journal ends with {text[-500:]}")
        time.sleep(0.02)


def main() -> None:
    """Train, stop, resume and print the digest."""
    with tempfile.TemporaryDirectory() as folder:
        home, result, data = Path(folder) / "home", Path(folder) / "result", Path(folder) / "data.jsonl"
        run_cli(home, "create-vision-dataset", "--output", str(data), "--num-examples", "24")
        options = {**OPTIONS, "--dataset": data, "--output-dir": result}
        run = run_cli(home, "train-vision", *(str(word) for pair in options.items() for word in pair), "--detach")
        journal = home / "runs" / run / "events.jsonl"
        wait_for(journal, "checkpoint")
        run_cli(home, "runs", "stop", run)
        wait_for(journal, "stopped")
        time.sleep(1)  # the worker frees its lock as it exits
        run_cli(home, "runs", "resume", run)
        print(hashlib.sha256((result / "adapter_model.safetensors").read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
