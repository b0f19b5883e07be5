"""Merging from file to file against copying the same files: time and memory, on a random model of about a gigabyte.

    uv run python benchmarks/merge.py
    uv run python benchmarks/merge.py --layers 8     # a smaller one

Both in one run, in processes of their own, alternating; the files are in the page cache, and written to the same disk.
Memory is the process's own (anonymous) at its peak, above what it has with the libraries loaded. Then the whole
command, which answers before and after: its own memory, and with the pages of weight files that it maps, which the
system takes back when others need them.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mg_tui.families.registry import load_registry

COPY = """
import os, shutil, sys, time
began = time.monotonic()
for name in os.listdir(sys.argv[1]):
    shutil.copyfile(f"{sys.argv[1]}/{name}", f"{sys.argv[2]}/{name}")
    with open(f"{sys.argv[2]}/{name}", "rb") as stream:
        os.fsync(stream.fileno())
print(time.monotonic() - began)
"""
MERGE = """
import json, os, sys, threading, time
import torch
from pathlib import Path
from accelerate import init_empty_weights
from transformers import AutoConfig, AutoModelForImageTextToText
from mg_tui.engine.results.streamed_merge import plan_merge, write_merge

def own():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

base, out, adapter = map(Path, sys.argv[1:4])
with torch.device("meta"):
    model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(base))
before, peak, ended = own(), [0], threading.Event()
def watch():
    while not ended.wait(0.005):
        peak[0] = max(peak[0], own() - before)
threading.Thread(target=watch, daemon=True).start()
began = time.monotonic()
plan = plan_merge(model, base, adapter, "bfloat16")
assert not isinstance(plan, str), plan
write_merge(plan, base, out, lambda _nbytes: None)
for file in out.iterdir():
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
seconds = time.monotonic() - began
ended.set()
largest = max(tensor.nbytes for tensors in plan.files.values() for tensor in tensors)
print(json.dumps([seconds, peak[0], largest, plan.nbytes]))
"""

COMMAND = """
import json, sys, threading, time
import torch, transformers, peft
from mg_tui.engine.results.merge import Merger

def held():
    found = dict(line.split(":") for line in open("/proc/self/status") if line.startswith(("RssAnon", "RssFile")))
    return [int(found[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")]

class Quiet:
    def send_notice(self, text): pass
    def send(self, event, **fields):
        if event != "progress":
            self.reply = fields

base, out, adapter = sys.argv[1:4]
before, peak, ended = held(), [0, 0], threading.Event()
def watch():
    while not ended.wait(0.01):
        own, mapped = held()
        peak[0] = max(peak[0], own - before[0])
        peak[1] = max(peak[1], own + mapped - sum(before))
threading.Thread(target=watch, daemon=True).start()
began, channel = time.monotonic(), Quiet()
values = {"model": adapter, "output": out, "home": out + "-home", "base_model": base, "dtype": "bfloat16"}
Merger(channel).merge(values)
ended.set()
print(json.dumps([time.monotonic() - began, *peak, channel.reply["comparison"]["top1_agreement"]]))
"""


def make_model(folder: Path, adapter: Path, layers: int) -> None:
    """A random Qwen2.5-VL in bfloat16, in files of 300 MB, with an adapter on all linear layers of its text model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForImageTextToText

    tiny = Path(load_registry().resolve("tiny").source)
    config = AutoConfig.from_pretrained(tiny)
    text = config.text_config
    text.vocab_size, text.hidden_size, text.intermediate_size, text.num_hidden_layers = 32768, 1536, 6144, layers
    text.layer_types, text.num_attention_heads, text.num_key_value_heads = ["full_attention"] * layers, 12, 2
    text.rope_parameters["mrope_section"] = [16, 24, 24]
    config.vision_config.out_hidden_size = 1536
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="300MB")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        if (tiny / name).is_file():  # which its answers are made with; the vocabulary is padded
            shutil.copyfile(tiny / name, folder / name)
    adapted = get_peft_model(model, LoraConfig(r=16, target_modules=r".*language_model\..*_proj"))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            weights.data.normal_(std=0.01)
    adapted.save_pretrained(adapter)


def run(program: str, *words: Path) -> Any:
    """What a program in a process of its own prints, as JSON."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="merge-", dir=Path("~/.cache").expanduser()) as name:
        work = Path(name)
        base, adapter, out = work / "base", work / "adapter", work / "out"
        make_model(base, adapter, args.layers)
        copies, merges, memory = [], [], []
        for _ in range(args.repeats):
            for program, words in ((COPY, (base, out)), (MERGE, (base, out, adapter))):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                result = run(program, *words)
                if program is COPY:
                    copies.append(result)
                else:
                    merges.append(result[0])
                    memory.append(result[1])
                    largest, total = result[2:]
        shutil.rmtree(out)
        seconds, own, mapped, _alike = run(COMMAND, base, out, adapter)
    copy, merge = statistics.median(copies), statistics.median(merges)
    print(f"{total / 1e9:.2f} GB in bfloat16; the largest tensor has {largest / 1e6:.0f} MB")
    print(f"copying {copy:.2f} s, merging {merge:.2f} s: {merge / copy:.2f} times")
    print(f"memory at the peak of merging: {max(memory) / 1e6:.0f} MB")
    print(
        f"the whole command: {seconds:.1f} s, {own / 1e6:.0f} MB of its own at the peak, "
        f"{mapped / 1e6:.0f} MB with mapped weights"
    )


if __name__ == "__main__":
    main()
