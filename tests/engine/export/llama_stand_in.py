"""A stand-in for llama.cpp: a converter, llama-quantize and llama-mtmd-cli that follow its rules and compute nothing.

The converter has the classes that the real one is driven by, and writes real GGUF files. llama-mtmd-cli reads its
answers from `answers.json` in its folder, by file name or for all files ("*"), by prompt.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

CONVERTER = """
import argparse, json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from llama_stand_in import stored_names, write_gguf

class ModelType:
    TEXT, MMPROJ = 1, 2

class ModelBase:
    @staticmethod
    def load_hparams(folder, _mistral):
        return json.loads((Path(folder) / "config.json").read_text())

class TextModel(ModelBase):
    def get_vocab_base_pre(self, tokenizer):
        raise NotImplementedError("BPE pre-tokenizer was not recognized")
    @classmethod
    def filter_tensors(cls, item):
        return None if item[0].startswith("visual.") else (item[0].replace("language_model.", ""), item[1])
    def modify_tensors(self, data, name, block):
        yield name.replace("model.", ""), data

class Projector(ModelBase):
    dropped = {dropped!r}
    @classmethod
    def filter_tensors(cls, item):
        return item if item[0].startswith("visual.") and item[0] not in cls.dropped else None
    def modify_tensors(self, data, name, block):
        for part in ("q", "k", "v") if ".qkv." in name else ("",):
            yield name.replace("qkv", part or "qkv"), data

def get_model_architecture(hparams, kind):
    return hparams["architectures"][0]

def get_model_class(architecture, mmproj=False):
    if architecture != "Qwen2_5_VLForConditionalGeneration":
        raise NotImplementedError(architecture)
    return Projector if mmproj else TextModel

def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--outfile", type=Path)
    parser.add_argument("--outtype")
    parser.add_argument("--mmproj", action="store_true")
    args = parser.parse_args()
    if (Path(__file__).parent / "fails").exists():
        sys.exit("Error: the converter's last words")
    kind = get_model_class(get_model_architecture(ModelBase.load_hparams(args.model, False), 1), args.mmproj)
    model = kind()
    names = []
    for name in stored_names(args.model):
        if (kept := model.filter_tensors((name, None))) is not None:
            names += [made for made, _data in model.modify_tensors(None, kept[0], None)]
    values = {{"general.architecture": "clip" if args.mmproj else "qwen2vl", "qwen2vl.context_length": 4096}}
    if not args.mmproj:
        model.get_vocab_base_pre(None)
        values["tokenizer.chat_template"] = (args.model / "chat_template.jinja").read_text() + {template!r}
    write_gguf(args.outfile, values, names)
"""
QUANTIZE = """#!/bin/sh
if [ "$3" = Q4_K_M ]; then echo "ncols 128 not divisible by 256 (required for type q4_K) -> falling back to q5_0"; fi
cp "$1" "$2"
"""
ASK = """#!{python}
import json, sys
from pathlib import Path
words = sys.argv[1:]
def after(name):
    return words[words.index(name) + 1]
with open({calls!r}, "a") as stream:
    stream.write(json.dumps(words) + chr(10))
assert Path(after("--mmproj")).is_file() and Path(after("--image")).is_file()
answers = json.loads(Path({answers!r}).read_text())
found = answers.get(Path(after("-m")).name, answers["*"])
answer = found.get(after("-p"))
if answer is None:
    sys.exit("error: failed to load the model")
print(chr(10) + answer + "<|im_end|>" + chr(10) + chr(10))
"""


def write_gguf(path: Path, values: dict[str, Any], tensors: list[str]) -> None:
    """A GGUF file of version 3; every tensor has 8 numbers in 16 bit."""
    out = bytearray(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)))
    for key, value in values.items():
        out += text(key)
        out += struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    for number, name in enumerate(tensors):
        out += text(name) + struct.pack("<IQIQ", 1, 8, 1, 32 * number)
    out += bytes(-len(out) % 32) + bytes(32 * len(tensors))
    path.write_bytes(out)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def stored_names(folder: Path) -> list[str]:
    with (folder / "model.safetensors").open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        return [name for name in json.loads(stream.read(length)) if name != "__metadata__"]


def make_llama_cpp(folder: Path, *, dropped: tuple[str, ...] = (), template: str = "") -> Path:
    """A folder for LLAMA_CPP_DIR.

    Args:
        folder: is made.
        dropped: tensors of the vision tower that the converter leaves out.
        template: what the converter adds to the chat template.
    """
    programs = folder / "build" / "bin"
    programs.mkdir(parents=True)
    tests = str(Path(__file__).parent)
    (folder / "convert_hf_to_gguf.py").write_text(CONVERTER.format(tests=tests, dropped=dropped, template=template))
    ask = ASK.format(python=sys.executable, calls=str(folder / "calls.jsonl"), answers=str(folder / "answers.json"))
    for name, content in (("llama-quantize", QUANTIZE), ("llama-mtmd-cli", ask)):
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    return folder
