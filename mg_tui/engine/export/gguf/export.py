"""A result as GGUF files, which answer rows like the result.

The model answers rows first. It is merged, converted to 16 bit by llama.cpp's own converter and asked by
llama-mtmd-cli. Only if these answers are the model's is it quantized, and the folder gets its name; where they are not,
the conversion is at fault and not quantization. Files in between are removed as soon as they are not needed.
"""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import RunFailed
from mg_tui.core.text import pluralize
from mg_tui.data.policy import read_policy
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.export.agreement import AnswerAgreement, compare_answers
from mg_tui.engine.export.export import refused_error
from mg_tui.engine.export.gguf.asking import GgufAsker, choose_questions
from mg_tui.engine.export.gguf.convert import (
    ConvertedFiles,
    convert_lora,
    convert_model,
    quantize,
    require_same_template,
)
from mg_tui.engine.export.gguf.files import GgufFolder, GgufVariant, write_gguf_files
from mg_tui.engine.export.gguf.job import GgufJob, GgufRequest, prepare_gguf
from mg_tui.engine.export.gguf.llama_answers import LlamaFiles, LlamaQuestion
from mg_tui.engine.export.questions import ask_model, ask_without_adapter, error_of_first, load_rows
from mg_tui.engine.export.vllm_files import served_name
from mg_tui.engine.inference.channel import ProgressChannel
from mg_tui.engine.inference.generate import parse_request, silence_libraries
from mg_tui.engine.inference.loading import LoadedModel, load_located, translate_out_of_memory
from mg_tui.engine.results.base_files import copy_licenses
from mg_tui.engine.results.merge import merged_metadata, write_merged
from mg_tui.engine.results.publish import publish_folder
from mg_tui.families.chat_template import ChatTemplate
from mg_tui.runs.result_metadata import (
    METADATA_FILE,
    write_result_metadata,
)

_F16: Final = "F16"
_WORK: Final = ".work"


@dataclass(frozen=True, slots=True)
class _Expected:
    """What the model itself answers."""

    questions: list[LlamaQuestion]
    model: list[ModelAnswer]
    base: list[ModelAnswer] | None

    def compare(self, answers: list[ModelAnswer], required: float) -> AnswerAgreement:
        return compare_answers(self.model, answers, self.base, required=required)


class GgufExporter:
    """Does exports to GGUF, one at a time, without state between them."""

    def __init__(self, channel: ProgressChannel) -> None:
        self._channel = channel
        self._done = self._phases = 0

    def export(self, values: dict[str, Any]) -> None:
        """Check, answer, convert, ask, quantize, ask, publish; replies `exported` with the table."""
        request = parse_request(GgufRequest, values)
        began = time.monotonic()
        job = prepare_gguf(request, self._channel.send_notice)
        for note in job.located.notes:
            self._channel.send_notice(note)
        silence_libraries()
        self._done, self._phases = 0, (12 if job.merges else 7) + 2 * len(job.quantizations)
        with translate_out_of_memory("exporting"):
            folder = self._export(job)
        preferred = folder.preferred
        self._channel.send(
            "exported",
            output=str(job.target),
            format="gguf",
            model=job.located.label,
            base_model=job.located.base.name,
            merged=job.merges or not job.located.is_adapter,
            command=f"cd {job.target} && sh run.sh --image IMAGE -p QUESTION",
            agreement=preferred.agreement.as_dict(),
            variants=[each.as_dict() for each in folder.variants],
            projector=folder.projector,
            llama_cpp=job.llama.origin,
            max_new_tokens=request.max_new_tokens,
            seconds=round(time.monotonic() - began, 2),
        )

    def _at(self, what: str) -> None:
        self._channel.send("progress", what=what, done=self._done, total=self._phases)
        self._done += 1

    def _export(self, job: GgufJob) -> GgufFolder:
        request, located = job.request, job.located
        dtype = located.metadata.dtype if request.dtype == "auto" and job.merges else request.dtype
        self._at(f"loading {located.label}")
        loaded = load_located(located, job.registry, device=request.device, dtype=dtype, quantization="none")
        expected = self._ask_model(job, loaded)
        metadata = merged_metadata(loaded) if located.is_adapter else loaded.metadata
        template = ChatTemplate(loaded.processor, loaded.family.title).source
        asker = GgufAsker(job.llama, loaded.processor, metadata, request.max_new_tokens)
        name = served_name(metadata, job.target)
        with publish_folder(job.target, tag=f"export-{os.getpid()}", last=METADATA_FILE) as staging:
            work = staging / _WORK
            work.mkdir()
            folder = self._merge(job, loaded, work)
            del loaded
            self._at("converting to 16 bit by llama.cpp's own converter")
            projector = staging / f"mmproj-{name}-F16.gguf"
            files = convert_model(job.llama, folder, work / f"{name}-F16.gguf", projector, work)
            require_same_template(files.text_head, template)
            adapter = None
            if request.adapter:
                adapter = staging / f"{name}-adapter.gguf"
                assert located.folder is not None
                convert_lora(job.llama, located.folder, folder, adapter, work)
            if folder.is_relative_to(work):
                shutil.rmtree(folder)
            variants = self._variants(job, expected, asker, files, staging, adapter)
            shutil.rmtree(work)
            exported = GgufFolder(
                name, projector.name, variants, asker.limits, metadata, adapter.name if adapter else None
            )
            write_gguf_files(staging, exported)
            copy_licenses(job.source, staging)
            side = asker.limits.side if asker.limits is not None else None
            write_result_metadata(staging, metadata.model_copy(update={"image_token_side": side}))
        return exported

    def _ask_model(self, job: GgufJob, loaded: LoadedModel) -> _Expected:
        request = job.request
        examples, source = load_rows(
            loaded,
            cwd=request.cwd,
            cache=request.cache,
            dataset=request.dataset,
            count=request.rows,
            policy=read_policy(request.bounds),
        )
        questions = choose_questions(examples, loaded.metadata, self._channel.send_notice)
        asked = [question.example for question in questions]
        self._at(f"asking the model {pluralize(len(asked), 'row')}: {source}")
        answers = ask_model(loaded, asked, request.max_new_tokens)
        if (error := error_of_first(answers)) is not None:
            raise error
        return _Expected(questions, answers, ask_without_adapter(loaded, asked, request.max_new_tokens))

    def _merge(self, job: GgufJob, loaded: LoadedModel, work: Path) -> Path:
        """The folder to convert: the merged model, or the one that is there."""
        if not job.merges:
            return job.source
        merged = work / "merged"
        merged.mkdir()
        write_merged(loaded, merged, job.target, lambda _done, what: self._at(what))
        return merged

    def _ask_resized(self, asker: GgufAsker, files: LlamaFiles, expected: _Expected, found: list[ModelAnswer]) -> int:
        """How many of the rows that were answered otherwise are answered alike if llama.cpp has nothing to resize."""
        pairs = zip(expected.questions, expected.model, found, strict=True)
        differing = [(question, mine) for question, mine, theirs in pairs if mine.text != theirs.text]
        resized = [
            replace(question, sizes=tuple(size or original for original, size in mine.image_sizes))
            for question, mine in differing
        ]
        answers = asker.ask(files, resized, self._channel)
        return sum(mine.text == theirs.text for (_, mine), theirs in zip(differing, answers, strict=True))

    def _variants(
        self,
        job: GgufJob,
        expected: _Expected,
        asker: GgufAsker,
        files: ConvertedFiles,
        staging: Path,
        adapter: Path | None,
    ) -> list[GgufVariant]:
        """16 bit first: if its answers are others, nothing is quantized."""
        required = job.request.min_agreement
        self._at("asking the file in 16 bit the same rows")
        sixteen = LlamaFiles(files.text, files.projector, adapter)
        found = asker.ask(sixteen, expected.questions, self._channel)
        agreement = expected.compare(found, required)
        if not agreement.agrees:
            self._at("asking these rows again, with images resized as in training")
            raise _refused(agreement, self._ask_resized(asker, sixteen, expected, found))
        variants = [GgufVariant(_F16, files.text.name, files.text.stat().st_size, agreement)]
        for kind in job.quantizations:
            if kind == _F16:
                continue
            target = staging / files.text.name.replace("-F16.gguf", f"-{kind}.gguf")
            self._at(f"quantizing to {kind}")
            log = files.text.parent / "llama.log"
            fallbacks = quantize(job.llama, files.text, target, kind, log, asker.threads)
            self._at(f"asking the file in {kind} the same rows")
            found = asker.ask(LlamaFiles(target, files.projector, adapter), expected.questions, self._channel)
            agreement = expected.compare(found, required)
            variants.append(GgufVariant(kind, target.name, target.stat().st_size, agreement, fallbacks))
        if _F16 in job.quantizations:
            files.text.rename(staging / files.text.name)
            return variants
        # What is not kept is told nevertheless.
        self._channel.send_notice(
            f"16 bit: {variants[0].agreement.alike} of {variants[0].agreement.rows} answers alike; the file is not kept"
        )
        return variants[1:] or variants


def _refused(agreement: AnswerAgreement, resized: int) -> RunFailed:
    """The error for a 16-bit file that answers differently; `resized` rows do not if images are resized beforehand."""
    error = refused_error(agreement, "float32")
    if resized:
        cause = (
            f"{resized} of the {len(agreement.differences)} rows are answered alike if their images are resized as in "
            "training before: llama.cpp resizes images in another way"
        )
    else:
        cause = "it is not how llama.cpp resizes images: the conversion is at fault, not quantization"
    return RunFailed(
        "the GGUF file in 16 bit does not answer like the model, and was deleted",
        why=f"{cause}; {error.why}",
        hint=f"allow for {'it' if resized else 'rounding in long answers'} with --min-agreement",
    )
