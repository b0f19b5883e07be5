"""Converts a folder with a model by llama.cpp's own converter, and quantizes: every tensor accounted for."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import RunFailed
from mg_tui.core.text import first_few
from mg_tui.engine.export.gguf.gguf_file import CHAT_TEMPLATE, GgufHead, read_gguf
from mg_tui.engine.export.gguf.programs import run_program
from mg_tui.engine.results.safetensors_files import list_weight_files, read_tensors
from mg_tui.runs.llama_cpp import LlamaCpp

_CHILD: Final = "mg_tui.engine.export.gguf.converter_child"
# Nothing is looked up on the Hub, and of torch's threads one is enough for copying.
_ENVIRONMENT: Final = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
_DROPPED_BY_DESIGN: Final = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")
_FALLBACK: Final = re.compile(r"falling back to|using fallback quantization")


@dataclass(frozen=True, slots=True)
class ConvertedFiles:
    """The text model and the vision tower in 16 bit, and their heads."""

    text: Path
    projector: Path
    text_head: GgufHead
    projector_head: GgufHead


def probe_model(llama: LlamaCpp, folder: Path, work: Path) -> dict[str, Any]:
    """What the converter knows of the model in a folder.

    Raises:
        RunFailed: the converter does not run.
    """
    return _run(llama, "probe", folder, work, [], "llama.cpp's converter does not run")


def convert_model(llama: LlamaCpp, folder: Path, text: Path, projector: Path, work: Path) -> ConvertedFiles:
    """Convert a whole model to two files in 16 bit.

    Args:
        llama: the llama.cpp to convert with.
        folder: a model with its configuration, tokenizer and safetensors files.
        text: the file for the text model.
        projector: the file for the vision tower with its projector.
        work: a folder for logs and reports.

    Raises:
        RunFailed: the converter fails, or leaves out tensors.
    """
    failed = "llama.cpp's converter failed"
    made = {}
    for part, target, options in (("text", text, []), ("projector", projector, ["--mmproj"])):
        words = [str(folder), *options, "--outfile", str(target), "--outtype", "f16"]
        report = _run(llama, "convert", folder, work, words, f"{failed} on the {part}", name=part)
        if not target.is_file():
            raise RunFailed(f"{failed} on the {part}", why="it wrote no file", where=str(work / "llama.log"))
        made[part] = report["tensors"]
    files = ConvertedFiles(text, projector, read_gguf(text), read_gguf(projector))
    source = [tensor.name for file in list_weight_files(folder) for tensor in read_tensors(file)]
    require_all_tensors(source, made, {"text": files.text_head, "projector": files.projector_head})
    return files


def require_all_tensors(
    source: Sequence[str], made: Mapping[str, Mapping[str, int]], heads: Mapping[str, GgufHead]
) -> None:
    """See that every tensor of the source is in one of the files, and that the files have all that was made.

    Args:
        source: names of the source's tensors.
        made: for each file, source tensors with the number of tensors made of each.
        heads: what the files have.

    Raises:
        RunFailed: naming what is missing.
    """
    dropped = [
        name
        for name in source
        if not name.endswith(_DROPPED_BY_DESIGN)
        # Experts are gathered: one of them has all the tensors made.
        and not any(part.get(name) or (name in part and ".experts." in name) for part in made.values())
    ]
    if dropped:
        raise RunFailed(
            f"llama.cpp's converter leaves out {len(dropped)} of {len(source)} tensors",
            why=first_few(dropped, 3),
            hint="export it with --format merged or vllm",
        )
    for part, head in heads.items():
        expected = sum(made[part].values())
        if len(head.tensors) < expected:
            raise RunFailed(
                f"the file of the {part} has {len(head.tensors)} tensors, and the converter made {expected}"
            )


def require_same_template(head: GgufHead, template: str) -> None:
    """See that the file has the model's chat template, byte for byte.

    Raises:
        RunFailed: it has another, or none.
    """
    found = head.values.get(CHAT_TEMPLATE)
    if found != template:
        raise RunFailed(
            "the file has another chat template than the model" if found else "the file has no chat template",
            why="answers would begin from another prompt than in training",
        )


def quantize(llama: LlamaCpp, source: Path, target: Path, kind: str, log: Path, threads: int) -> int:
    """Quantize a text model; returns how many of its tensors have another type because theirs does not fit them.

    Raises:
        RunFailed: llama-quantize fails, or loses tensors.
    """
    fallbacks = 0

    def count(line: str) -> None:
        nonlocal fallbacks
        fallbacks += bool(_FALLBACK.search(line))

    run_program(
        [llama.quantize, source, target, kind, str(threads)], f"the model could not be quantized to {kind}", log=log,
        on_line=count,
    )  # fmt: skip
    before, after = read_gguf(source), read_gguf(target)
    if before.tensors.keys() != after.tensors.keys():
        raise RunFailed(
            f"the {kind} file has {len(after.tensors)} tensors, and the 16-bit file {len(before.tensors)}",
            where=str(target),
        )
    return fallbacks


def convert_lora(llama: LlamaCpp, adapter: Path, base: Path, target: Path, work: Path) -> GgufHead:
    """Convert an adapter of the language part.

    Args:
        llama: the llama.cpp to convert with.
        adapter: the adapter's folder.
        base: the base model's folder; of it only the configuration is read.
        target: the file.
        work: a folder for logs and reports.

    Raises:
        RunFailed: the converter fails, or leaves out tensors.
    """
    words = ["--base", str(base), "--outfile", str(target), "--outtype", "f32", str(adapter)]
    _run(llama, "lora", base, work, words, "llama.cpp's converter failed on the adapter")
    head = read_gguf(target)
    source = [tensor.name for tensor in read_tensors(adapter / "adapter_model.safetensors")]
    if len(head.tensors) != len(source):
        raise RunFailed(
            f"llama.cpp's converter made {len(head.tensors)} tensors of the adapter's {len(source)}",
            hint="export the merged model: leave --adapter out",
        )
    return head


def _run(
    llama: LlamaCpp, operation: str, folder: Path, work: Path, words: Sequence[str], what: str, name: str = "report"
) -> dict[str, Any]:
    report = work / f"{name}.json"
    run_program(
        [sys.executable, "-P", "-m", _CHILD, llama.source, operation, folder, report, *words],
        what,
        log=work / "llama.log",
        environment=_ENVIRONMENT,
        hint="another llama.cpp can be named in LLAMA_CPP_DIR",
    )
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found
