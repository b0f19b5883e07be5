"""A result as a folder for other programs, which answers rows like the result.

The model answers rows first; then its export is written, loaded and asked the same rows. Only an export that answers
alike gets its name; anything else is deleted. An export that is terminated leaves no files.
"""

import gc
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mg_tui.core.errors import RunFailed, UsageError
from mg_tui.core.paths import expand_user
from mg_tui.core.precision import DTypeName
from mg_tui.core.text import one_line, pluralize
from mg_tui.data.policy import read_policy
from mg_tui.engine.export.agreement import AnswerAgreement, compare_answers
from mg_tui.engine.export.asking_request import AskingRequest
from mg_tui.engine.export.questions import ask_model, ask_without_adapter, error_of_first, load_rows
from mg_tui.engine.export.vllm_files import VllmCommand, served_name, write_vllm_files
from mg_tui.engine.export.vllm_rules import VllmAdapter, require_vllm_adapter
from mg_tui.engine.inference.channel import ProgressChannel
from mg_tui.engine.inference.generate import parse_request, silence_libraries
from mg_tui.engine.inference.loading import LoadedModel, load_located, resolve_family, translate_out_of_memory
from mg_tui.engine.inference.locator import LocatedModel, locate_model
from mg_tui.engine.results.base_files import copy_base_files, find_base_folder
from mg_tui.engine.results.merge import require_disk_space, require_mergeable, write_merged
from mg_tui.engine.results.publish import publish_folder
from mg_tui.engine.results.saving import write_result_files
from mg_tui.families.image_limits import limit_images
from mg_tui.families.registry import Registry, load_registry
from mg_tui.runs.output_folder import require_empty_target
from mg_tui.runs.result_metadata import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    METADATA_FILE,
    ResultMetadata,
    read_result_metadata,
)

_PHASE_COUNT = 7
_SHOWN_ROWS = 3


class ExportRequest(AskingRequest):
    """What to export, as what, where to, and the rows that both are asked."""

    format: Literal["merged", "vllm"]
    output: Path
    merged: bool = False
    dtype: DTypeName | Literal["auto"] = "auto"
    device: Literal["auto", "cuda", "cpu"] = "cpu"

    @property
    def merges(self) -> bool:
        """Whether an adapter is merged into its base model."""
        return self.format == "merged" or self.merged


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export that can be done: everything that files alone tell has been checked."""

    request: ExportRequest
    target: Path
    located: LocatedModel
    registry: Registry
    adapter: VllmAdapter | None

    @property
    def merges(self) -> bool:
        """Whether an adapter is merged into its base model."""
        return self.located.is_adapter and self.request.merges


class Exporter:
    """Does exports, one at a time, without state between them."""

    def __init__(self, channel: ProgressChannel) -> None:
        self._channel = channel

    def export(self, values: dict[str, Any]) -> None:
        """Check, answer, write, load, answer again, publish; replies `exported` with folder, command and agreement."""
        request = parse_request(ExportRequest, values)
        began = time.monotonic()
        job = prepare_export(request)
        for note in job.located.notes:
            self._channel.send_notice(note)
        silence_libraries()
        with translate_out_of_memory("exporting"):
            agreement, command = self._export(job)
        self._channel.send(
            "exported",
            output=str(job.target),
            format=request.format,
            model=job.located.label,
            base_model=job.located.base.name,
            merged=job.merges or not job.located.is_adapter,
            command=command,
            agreement=agreement.as_dict(),
            max_new_tokens=request.max_new_tokens,
            seconds=round(time.monotonic() - began, 2),
        )

    def _at(self, done: int, what: str) -> None:
        self._channel.send("progress", what=what, done=done, total=_PHASE_COUNT)

    def _export(self, job: ExportJob) -> tuple[AnswerAgreement, str | None]:
        request, located = job.request, job.located
        dtype = located.metadata.dtype if request.dtype == "auto" and job.merges else request.dtype
        self._at(0, f"loading {located.label}")
        how: dict[str, Any] = {"device": request.device, "quantization": "none"}
        loaded = load_located(located, job.registry, dtype=dtype, **how)
        examples, source = load_rows(
            loaded,
            cwd=request.cwd,
            cache=request.cache,
            dataset=request.dataset,
            count=request.rows,
            policy=read_policy(request.bounds),
        )
        self._at(1, f"asking the model {pluralize(len(examples), 'row')}: {source}")
        expected = ask_model(loaded, examples, request.max_new_tokens)
        if (error := error_of_first(expected)) is not None:
            raise error
        base = ask_without_adapter(loaded, examples, request.max_new_tokens)
        number = loaded.dtype
        limits = limit_images(loaded.family, loaded.processor, loaded.metadata.preprocessing)
        with publish_folder(job.target, tag=f"export-{os.getpid()}", last=METADATA_FILE) as staging:
            self._write(job, loaded, staging)
            command = self._write_command(job, staging, limits)
            del loaded
            gc.collect()
            self._at(6, "loading what was written, and asking it the same rows")
            base_model = request.base_model if not job.merges and located.is_adapter else None
            written = locate_model(str(staging), home=request.home, registry=job.registry, base_model=base_model)
            answers = ask_model(
                load_located(written, job.registry, dtype=number, **how), examples, request.max_new_tokens
            )
            agreement = compare_answers(expected, answers, base, required=request.min_agreement)
            if not agreement.agrees:
                raise refused_error(agreement, number)
        return agreement, command

    def _write(self, job: ExportJob, loaded: LoadedModel, staging: Path) -> None:
        folder = job.located.folder
        assert folder is not None  # `prepare_export` has seen to it
        if job.merges:
            write_merged(loaded, staging, job.target, lambda done, what: self._at(done + 1, what))
            return
        self._at(2, "copying")
        if job.located.is_adapter:
            for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                shutil.copyfile(folder / name, staging / name)
            metadata = loaded.metadata.model_copy(
                update={"family": loaded.family.key, "model_type": str(loaded.model.config.model_type)}
            )
            write_result_files(staging, loaded.processor, metadata, family=loaded.family, target=job.target)
            if (base := find_base_folder(job.located)) is not None:
                copy_base_files(base, staging, loaded.processor)
            return
        for path in _model_files(folder):
            shutil.copyfile(path, staging / path.name)

    def _write_command(self, job: ExportJob, staging: Path, limits: Mapping[str, Any]) -> str | None:
        """Write what vLLM needs; returns its command with the final folder, or None where it is not exported for it."""
        if job.request.format != "vllm":
            return None
        metadata: ResultMetadata = read_result_metadata(staging)
        command = VllmCommand(
            name=served_name(metadata, job.target),
            base=job.located.base.source if job.adapter is not None else None,
            adapter=job.adapter,
            metadata=metadata,
            image_limits={} if metadata.assumed else limits,
            revision=job.located.revision if job.adapter is not None else None,
        )
        write_vllm_files(staging, command)
        return command.text(str(job.target))


def prepare_export(request: ExportRequest) -> ExportJob:
    """Check what files alone tell, before a model is loaded and anything is written.

    Raises:
        UsageError: the output is not empty, the model is a base model, or vLLM cannot serve the adapter.
        EnvironmentProblem: there is no room.
    """
    target = expand_user(request.output).resolve()
    require_empty_target(target)
    registry = load_registry()
    located = locate_model(request.model, home=request.home, registry=registry, base_model=request.base_model)
    if located.folder is None:
        raise UsageError(
            "there is nothing to export",
            where=located.label,
            why="this is a base model, not the result of a run",
            hint="name a result folder or a run (`model-garden runs` lists them)",
        )
    if request.merged:
        require_mergeable(located)
    adapter = None
    if located.is_adapter and not request.merges:
        family = resolve_family(located, registry)
        config = located.base.config or {}
        model_type = str(config.get("model_type") or located.metadata.model_type)
        adapter = require_vllm_adapter(located.folder, family, model_type)
    if not (located.is_adapter and request.merges):  # merging knows better how much it writes
        copied = _model_files(located.folder)
        require_disk_space(sum(path.stat().st_size for path in copied), target, "the export")
    return ExportJob(request, target, located, registry, adapter)


def _model_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]


def refused_error(agreement: AnswerAgreement, dtype: str) -> RunFailed:
    """The error for an export that answers differently."""
    rows = "; ".join(
        f"row {each.row}: {one_line(each.model, limit=60)!r} became {one_line(each.error or each.other, limit=60)!r}"
        for each in agreement.differences[:_SHOWN_ROWS]
    )
    hint = "try --dtype float32" if dtype != "float32" else None
    return RunFailed(
        "the export does not answer like the model, and was deleted",
        why=f"{agreement.alike} of {agreement.rows} answers are alike, {agreement.as_base} are the base model's; "
        + rows,
        hint=f"{hint}, or allow for rounding in long answers with --min-agreement" if hint else None,
    )
