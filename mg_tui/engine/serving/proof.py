"""Whether a served model answers rows as the trained one does: asked through HTTP, as clients ask.

The answers that are expected come from the model itself: greedily, one row at a time, by the code of `generate-vision`,
before the server begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.engine.evaluation.answerer import ModelAnswer
from mg_tui.engine.export.agreement import compare_answers
from mg_tui.engine.export.questions import ask_server, load_rows
from mg_tui.engine.generation.prompts import image_refs
from mg_tui.engine.inference.generation import Sampling, generate_answer
from mg_tui.engine.inference.loading import LoadedModel
from mg_tui.engine.serving.served_models import ServedModel, ServedModels

MAX_PROOF_TOKENS: Final = 64  # of an answer
_MAX_DIFFERENCES: Final = 5  # in the journal


@dataclass(frozen=True, slots=True)
class ExpectedAnswers:
    """What one served model has to answer.

    Attributes:
        model: its name.
        examples: the rows; none where they could not be had.
        answers: of the trained model.
        base: of its base model without the adapter; None for a whole model.
        source: where the rows are from.
        why: why there are none.
        max_new_tokens: of an answer.
    """

    model: str
    examples: Sequence[Example] = ()
    answers: Sequence[ModelAnswer] = ()
    base: Sequence[ModelAnswer] | None = None
    source: str = ""
    why: str | None = None
    max_new_tokens: int = MAX_PROOF_TOKENS


def expect_answers(
    models: ServedModels,
    served: ServedModel,
    *,
    count: int,
    dataset: str | None,
    cwd: Path,
    cache: Path,
    max_new_tokens: int = MAX_PROOF_TOKENS,
    policy: ReadPolicy = ALLOW_ALL,
) -> ExpectedAnswers:
    """Ask a model its first held-out rows, or those of a dataset, read within `policy`.

    What keeps rows from being had becomes `why`.
    """
    loaded = _as_loaded(models, served)
    try:
        examples, source = load_rows(loaded, cwd=cwd, cache=cache, dataset=dataset, count=count, policy=policy)
        models.activate(served)
        answers = [_answer(models.model, served, example, max_new_tokens) for example in examples]
        base = None
        if served.adapter is not None:
            models.activate(replace(served, adapter=None))
            base = [_answer(models.model, served, example, max_new_tokens) for example in examples]
    except GardenError as error:
        return ExpectedAnswers(served.name, why="; ".join(part for part in (error.what, error.why) if part))
    return ExpectedAnswers(served.name, examples, answers, base, source, max_new_tokens=max_new_tokens)


def prove(expected: ExpectedAnswers, url: str) -> dict[str, Any]:
    """Ask the server, and compare; returns the fields of the event `proof`."""
    head = {"model": expected.model, "source": expected.source}
    if expected.why is not None:
        return {**head, "outcome": "none", "rows": 0, "alike": 0, "why": expected.why}
    try:
        answers = ask_server(url, expected.model, expected.examples, expected.max_new_tokens)
    except GardenError as error:
        why = "; ".join(part for part in (error.what, error.why) if part)
        return {**head, "outcome": "none", "rows": 0, "alike": 0, "why": why}
    agreement = compare_answers(expected.answers, answers, expected.base)
    record = agreement.as_dict()
    record["differences"] = record["differences"][:_MAX_DIFFERENCES]
    return {**head, "outcome": "alike" if agreement.agrees else "different", **record, "why": None}


def describe_proof(record: dict[str, Any]) -> str:
    """A proof in one sentence."""
    name, rows = record["model"], record["rows"]
    if record["outcome"] == "none":
        return f"{name}: not compared with the trained model: {record['why']}"
    if record["outcome"] == "different":
        return f"{name}: {record['alike']} of {rows} answers are those of the trained model: it answers differently"
    shown = ""
    if record.get("adapter_changes") == 0:
        shown = "; its adapter changes none of them, so they do not show that it is applied"
    return f"{name}: {rows} of {rows} answers are those of the trained model{shown}"


def _answer(model: Any, served: ServedModel, example: Example, max_new_tokens: int) -> ModelAnswer:
    from mg_tui.data.images import open_image

    images = [open_image(ref.path) for ref in image_refs(example)]
    answer = generate_answer(model, served.encoder, example.prompt, images, Sampling(max_new_tokens))
    return ModelAnswer(example, answer.text.strip())


def _as_loaded(models: ServedModels, served: ServedModel) -> LoadedModel:
    return LoadedModel(
        models.model,
        served.encoder.processor,
        models.family,
        served.metadata,
        served.located,
        models.device,
        models.dtype,  # type: ignore[arg-type]
        models.quantization,  # type: ignore[arg-type]
    )
