"""The files of a GGUF export beside the weights: a script and a README with the exact commands."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.engine.export.agreement import AnswerAgreement
from mg_tui.engine.export.gguf.llama_answers import ImageTokenLimits
from mg_tui.runs.result_metadata import ResultMetadata

SCRIPT: Final = "run.sh"


@dataclass(frozen=True, slots=True)
class GgufVariant:
    """A quantization of the text model: its file, size in bytes, and how far it answers like the model.

    `fallbacks` is the number of tensors that have another type because theirs does not fit their shape.
    """

    quantization: str
    file: str
    nbytes: int
    agreement: AnswerAgreement
    fallbacks: int = 0

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "quantization": self.quantization,
            "file": self.file,
            "bytes": self.nbytes,
            "fallback_tensors": self.fallbacks,
            **self.agreement.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class GgufFolder:
    """What an exported folder has: names of files, limits of images, how it was trained."""

    name: str
    projector: str
    variants: Sequence[GgufVariant]
    limits: ImageTokenLimits | None
    metadata: ResultMetadata
    adapter: str | None = None

    @property
    def preferred(self) -> GgufVariant:
        """The file that the script runs: Q8_0 where there is one."""
        return next((each for each in self.variants if each.quantization == "Q8_0"), self.variants[0])

    def words(self, program: str) -> list[str]:
        """A command's words, for a shell in the folder."""
        words = [program, "-m", self.preferred.file, "--mmproj", self.projector]
        if self.adapter is not None:
            words += ["--lora", self.adapter]
        if self.limits is not None:
            words += self.limits.options
        return [*words, "--jinja", "--temp", "0"]


def write_gguf_files(folder: Path, export: GgufFolder) -> None:
    """Write script and README.

    Raises:
        OSError: they cannot be written.
    """
    words = export.words("llama-mtmd-cli")
    if export.metadata.system_prompt:
        words += ["-sys", export.metadata.system_prompt]
    line = f'cd -- "$(dirname -- "$0")" || exit 1\nexec {shlex.join(words)} "$@"'
    (folder / SCRIPT).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(export), encoding="utf-8")


def _readme(export: GgufFolder) -> str:
    metadata = export.metadata
    rows = "\n".join(
        f"| `{each.file}` | {each.quantization} | {each.nbytes / 1e6:,.1f} MB | {each.agreement.alike} of "
        f"{each.agreement.rows} | {each.agreement.other_exact:.1%} |"
        for each in export.variants
    )
    first = export.variants[0].agreement
    adapter = f"The adapter is in `{export.adapter}`; the other files are its base model.\n\n" if export.adapter else ""
    return (
        f"# {export.name}\n\nGGUF files for llama.cpp, of a model fine-tuned from {metadata.base.name}. {adapter}"
        f"Each file answered the same {first.rows} rows as the model itself, greedily; the model's own exact match "
        f"with the references is {first.model_exact:.1%}.\n\n"
        "| file | quantization | size | answers alike | exact match |\n|---|---|--:|--:|--:|\n"
        f"{rows}\n| `{export.projector}` | F16 | | | |\n\n"
        "The last one is the vision tower with its projector; every other file needs it.\n\n"
        f"```sh\nsh {SCRIPT} --image page.png -p 'What is the total?'\n"
        f"{shlex.join(export.words('llama-server'))}\n```\n\n"
        f"{_limits(export)}{_system(metadata)}"
        "`--jinja` uses the chat template in the file, which is that of training. llama.cpp reads PNG and JPEG, and "
        "does not turn a photo as its EXIF data says.\n"
    )


def _limits(export: GgufFolder) -> str:
    if export.limits is None:
        return ""
    metadata = export.metadata
    note = (
        ""
        if export.limits.exact
        else " These pixels are no whole number of tokens: an image at a limit may be resized to another size."
    )
    return (
        f"`{' '.join(export.limits.options)}` are the limits of training, {metadata.min_pixels:,} to "
        f"{metadata.max_pixels:,} pixels, as llama.cpp counts them. Without them images have other sizes than in "
        f"training.{note}\n\n"
    )


def _system(metadata: ResultMetadata) -> str:
    if not metadata.system_prompt:
        return "It was trained without a system prompt; send none.\n\n"
    return f"It was trained with a system prompt, which the script sends:\n\n```text\n{metadata.system_prompt}\n```\n\n"
