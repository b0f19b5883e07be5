"""The vLLM command of an exported folder, and the files beside it: a script and a section of the README."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mg_tui.engine.export.vllm_rules import VllmAdapter
from mg_tui.runs.result_metadata import ResultMetadata

SCRIPT: Final = "serve.sh"
_PORT: Final = 8000


@dataclass(frozen=True, slots=True)
class VllmCommand:
    """How vLLM serves an exported folder.

    Attributes:
        name: under which the model is asked for.
        base: an adapter's base model, a folder or a Hub name; None for a whole model.
        adapter: what vLLM has to be told of the adapter; None for a whole model.
        metadata: of the exported model.
        image_limits: of its image processor, by the names it has for them; {} for none.
        revision: of the base model on the Hub.
    """

    name: str
    base: str | None
    adapter: VllmAdapter | None
    metadata: ResultMetadata
    image_limits: Mapping[str, Any]
    revision: str | None = None

    def words(self, folder: str) -> list[str]:
        """The command's words, `folder` being the exported one as the server is to find it."""
        words = ["vllm", "serve", self.base or folder]
        if self.revision:
            words += ["--revision", self.revision]
        if self.adapter is not None:
            words += ["--enable-lora", "--max-lora-rank", str(self.adapter.max_lora_rank)]
            if self.adapter.tower:
                words.append("--enable-tower-connector-lora")
            words += ["--lora-modules", f"{self.name}={folder}"]
        else:
            words += ["--served-model-name", self.name]
        words += ["--dtype", self.metadata.dtype]
        if self.image_limits:
            words += ["--mm-processor-kwargs", json.dumps(dict(self.image_limits))]
        if self.metadata.trust_remote_code:
            words.append("--trust-remote-code")
        # Its --api-key leaves several addresses open, so it has no business beyond this machine.
        return [*words, "--host", "127.0.0.1", "--port", str(_PORT)]

    def text(self, folder: str) -> str:
        """The command for a shell, on one line."""
        return shlex.join(self.words(folder))


def served_name(metadata: ResultMetadata, folder: Path) -> str:
    """A name for requests: that of the run, or of the folder."""
    given = metadata.spec.get("name")
    text = given if isinstance(given, str) and given else folder.name
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "model"


def write_vllm_files(folder: Path, command: VllmCommand) -> None:
    """Write the script, and append to the README how the folder is served.

    Raises:
        OSError: they cannot be written.
    """
    script = folder / SCRIPT
    line = " \\\n  ".join(_grouped(command.words(".")))
    script.write_text(f'#!/bin/sh\ncd -- "$(dirname -- "$0")" || exit 1\nexec {line} "$@"\n', encoding="utf-8")
    readme = folder / "README.md"
    before = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {command.name}\n"
    readme.write_text(f"{before.rstrip()}\n\n{_section(command)}", encoding="utf-8")


def _grouped(words: list[str]) -> list[str]:
    """The words quoted, an option and its value together."""
    lines = [shlex.join(words[:3])]
    for word in words[3:]:
        if word.startswith("--"):
            lines.append(shlex.quote(word))
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return lines


def _section(command: VllmCommand) -> str:
    metadata = command.metadata
    system = (
        "It was trained with a system prompt; send it as the first message:\n\n"
        f"```text\n{metadata.system_prompt}\n```\n"
        if metadata.system_prompt
        else "It was trained without a system prompt; send none.\n"
    )
    tower = (
        "The adapter changes the vision tower: without `--enable-tower-connector-lora` vLLM drops that part.\n\n"
        if command.adapter is not None and command.adapter.tower
        else ""
    )
    return (
        f"## Serving with vLLM\n\n`sh {SCRIPT}` in this folder runs\n\n```sh\n{command.text('.')}\n```\n\n"
        f"{tower}The model is asked for as `{command.name}`, with temperature 0 as in the check. "
        "vLLM's `--api-key` does not protect all of its addresses: keep it on this machine, behind a proxy.\n\n"
        f"{system}\nWhether the served model answers like the trained one:\n\n```sh\n"
        f"model-garden verify . --against http://127.0.0.1:{_PORT}/v1 --name {shlex.quote(command.name)}\n```\n"
    )
