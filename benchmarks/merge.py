"""Merging from file to file against copying the same files: time and memory, on a random model of about a gigabyte.

    uv run python benchmarks/merge.py
    uv run python benchmarks/merge.py --layers 8     # a smaller one
    uv run python benchmarks/merge.py --full         # the shape of Qwen2.5-VL-3B-Instruct, 7.5 GB

Both in one run, in processes of their own, alternating; the files are in the page cache, and written to the same disk,
all of them before the clock is stopped. The time of a merge is with planning, without loading libraries. Memory is the
process's own (anonymous) at its peak, above what it has with the libraries loaded. Then the whole command, which
answers before and after: its own memory, and with the pages of weight files that it maps, which the system takes back
when others need them.
"""

import argparse
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mg_tui.engine.results.safetensors_writing import NewTensor, TensorWriter, write_index
from mg_tui.families.registry import load_registry

COPY = """
import os, shutil, sys, time
began = time.monotonic()
names = sorted(os.listdir(sys.argv[1]))
for name in names:
    shutil.copyfile(f"{sys.argv[1]}/{name}", f"{sys.argv[2]}/{name}")
for name in names:
    with open(f"{sys.argv[2]}/{name}", "rb") as stream:
        os.fsync(stream.fileno())
print(time.monotonic() - began)
"""
MERGE = """
import json, os, sys, threading, time
import torch
from pathlib import Path
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
planned = time.monotonic() - began
write_merge(plan, base, out)
for file in out.iterdir():
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
seconds = time.monotonic() - began
ended.set()
largest = max(tensor.nbytes for tensors in plan.files.values() for tensor in tensors)
print(json.dumps([seconds, planned, peak[0], largest, plan.nbytes]))
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


def make_model(folder: Path, adapter: Path, layers: int | None) -> None:
    """A random Qwen2.5-VL in bfloat16 with an adapter on all its linear layers, written tensor by tensor.

    Args:
        folder: for the model, in files of at most 2 GB.
        adapter: for the adapter, of rank 16.
        layers: of a text model of 75 million parameters a layer; None for the shape of Qwen2.5-VL-3B-Instruct.
    """
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import AutoConfig, AutoModelForImageTextToText

    tiny = Path(load_registry().resolve("tiny").source)
    shutil.copytree(tiny, folder)  # the files that its answers are made with; the vocabulary is padded
    (folder / "model.safetensors").unlink()
    config = AutoConfig.from_pretrained(tiny)
    text, vision = config.text_config, config.vision_config
    if layers is None:
        text.vocab_size, text.hidden_size, text.intermediate_size, layers = 151936, 2048, 11008, 36
        text.num_attention_heads, text.num_key_value_heads = 16, 2
        vision.depth, vision.hidden_size, vision.intermediate_size, vision.num_heads = 32, 1280, 3420, 16
        vision.fullatt_block_indexes = [7, 15, 23, 31]
    else:
        text.vocab_size, text.hidden_size, text.intermediate_size = 32768, 1536, 6144
        text.num_attention_heads, text.num_key_value_heads = 12, 2
    text.num_hidden_layers, text.layer_types = layers, ["full_attention"] * layers
    text.rope_parameters["mrope_section"] = [16, 24, 24]
    vision.out_hidden_size = text.hidden_size
    config.dtype = text.dtype = vision.dtype = torch.bfloat16
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    weights = {name: weight for name, weight in model.named_parameters() if name != "lm_head.weight"}
    write_random(folder, weights, "bfloat16", 0.02)
    lora = LoraConfig(r=16, target_modules="all-linear")
    adapted = get_peft_model(model, lora)
    adapter.mkdir()
    lora.save_pretrained(adapter)
    write_random(adapter, get_peft_model_state_dict(adapted), "float32", 0.01)
    (adapter / "model.safetensors").rename(adapter / "adapter_model.safetensors")


def write_random(folder: Path, weights: dict[str, Any], dtype: str, spread: float) -> None:
    """Random weights of these names and shapes, in files of at most 2 GB; those of norms are ones."""
    import torch

    def make(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        kind = getattr(torch, dtype)
        return torch.ones(shape, dtype=kind) if "norm" in name else torch.randn(shape).mul_(spread).to(kind)

    files: list[list[NewTensor]] = [[]]
    for name, weight in weights.items():
        shape = tuple(weight.shape)
        tensor = NewTensor(name, dtype, shape, functools.partial(make, name, shape))
        if sum(each.nbytes for each in files[-1]) + tensor.nbytes > 2e9:
            files.append([])
        files[-1].append(tensor)
    names = [f"model-{number:05}-of-{len(files):05}.safetensors" for number in range(1, len(files) + 1)]
    named = dict(zip(names if len(files) > 1 else ["model.safetensors"], files, strict=True))
    with TensorWriter() as writer:
        for name, tensors in named.items():
            writer.write(folder / name, tensors)
    if len(files) > 1:
        write_index(folder / "model.safetensors.index.json", named.items())


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
    parser.add_argument("--full", action="store_true", help="the shape of Qwen2.5-VL-3B-Instruct: 23 GB of disk")
    parser.add_argument("--no-command", action="store_true", help="without the whole command, which answers")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="merge-", dir=Path("~/.cache").expanduser()) as name:
        work = Path(name)
        base, adapter, out = work / "base", work / "adapter", work / "out"
        make_model(base, adapter, None if args.full else args.layers)
        copies, merges = [], []
        for _ in range(args.repeats):
            for program, words, results in ((COPY, (base, out), copies), (MERGE, (base, out, adapter), merges)):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                results.append(run(program, *words))
                print("copy" if results is copies else "merge", results[-1], f"load {os.getloadavg()[0]}", flush=True)
        shutil.rmtree(out)
        command = None if args.no_command else run(COMMAND, base, out, adapter)
    merge, plan, memory, largest, total = (statistics.median(each) for each in zip(*merges, strict=True))
    copy = statistics.median(copies)
    print(f"{total / 1e9:.2f} GB in bfloat16; the largest tensor has {largest / 1e6:.0f} MB")
    print(f"copying {copy:.2f} s, merging {merge:.2f} s ({plan:.2f} s of it planning): {merge / copy:.2f} times")
    print(f"memory at the peak of merging: {memory / 1e6:.0f} MB")
    if command is not None:
        seconds, own, mapped, _alike = command
        print(
            f"the whole command: {seconds:.1f} s, {own / 1e6:.0f} MB of its own at the peak, "
            f"{mapped / 1e6:.0f} MB with mapped weights"
        )


if __name__ == "__main__":
    main()
