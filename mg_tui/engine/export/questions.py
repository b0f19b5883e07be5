"""Asks rows of a model in this process, or of a server, greedily: one answer to each row, in order."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mg_tui.core.errors import EnvironmentProblem, GardenError, UsageError
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.example import Example
from mg_tui.core.text import one_line
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.engine.evaluation.answerer import AnswerSampling, ModelAnswer
from mg_tui.engine.evaluation.endpoint import Endpoint
from mg_tui.engine.evaluation.protocol import models_url

if TYPE_CHECKING:
    from mg_tui.engine.inference.loading import LoadedModel

_RETRIES: Final = 3  # somebody waits in front of the terminal


def load_rows(
    loaded: "LoadedModel",
    *,
    cwd: Path,
    cache: Path,
    dataset: str | None,
    count: int,
    policy: ReadPolicy = ALLOW_ALL,
) -> tuple[Sequence[Example], str]:
    """The first `count` rows to ask, and where they are from: those the model's run held out, or a dataset's,
    which is read within `policy`.

    Raises:
        UsageError: the run held no rows out, or is not known.
        DataError: the dataset cannot be read, or has no good row.
    """
    from mg_tui.engine.inference.held_out import load_held_out

    try:
        held_out = load_held_out(loaded, cwd=cwd, cache=cache, dataset=dataset, policy=policy)
    except UsageError as error:
        if dataset is not None:
            raise
        raise UsageError(
            "there are no rows to ask the model", why=error.what, where=error.where, hint="name some with --dataset"
        ) from error
    return held_out.examples[:count], held_out.source


def ask_model(loaded: "LoadedModel", examples: Sequence[Example], max_new_tokens: int) -> list[ModelAnswer]:
    """The greedy answers of a loaded model.

    Raises:
        EnvironmentProblem: one row alone does not fit into memory.
    """
    from mg_tui.engine.evaluation.backend import answer_rows
    from mg_tui.engine.generation.interface import GenerationModel

    answers: dict[int, ModelAnswer] = {}
    answer_rows(
        GenerationModel.from_loaded(loaded),
        examples,
        AnswerSampling(max_new_tokens),
        None,
        frozenset(),
        lambda answer: answers.__setitem__(id(answer.example), answer),
        lambda: None,
    )
    return [answers[id(example)] for example in examples]


def ask_without_adapter(
    loaded: "LoadedModel", examples: Sequence[Example], max_new_tokens: int
) -> list[ModelAnswer] | None:
    """The greedy answers of an adapter's base model; None for a whole model."""
    if not loaded.located.is_adapter:
        return None
    with loaded.model.disable_adapter():
        return ask_model(loaded, examples, max_new_tokens)


def ask_server(url: str, name: str | None, examples: Sequence[Example], max_new_tokens: int) -> list[ModelAnswer]:
    """The greedy answers of a server's model; without a name, of the only one it lists.

    Raises:
        UsageError: the URL is none, or the server lists several models and none was named.
        EnvironmentProblem: the server cannot be reached, or refuses.
    """
    values = {"model": name or "-", "dataset": "-", "endpoint": url, "max_new_tokens": max_new_tokens}
    spec = EvaluationSpec.parse({**values, "retries": _RETRIES})
    endpoint = Endpoint(spec, name or asyncio.run(_only_model(Endpoint(spec, "-"), url)))
    answers: dict[int, ModelAnswer] = {}
    endpoint.answer(examples, frozenset(), lambda answer: answers.__setitem__(id(answer.example), answer), lambda: None)
    return [answers[id(example)] for example in examples]


async def _only_model(endpoint: Endpoint, url: str) -> str:
    import httpx

    try:
        async with endpoint.client() as client:
            response = await client.get(models_url(url))
        names = [str(item["id"]) for item in response.json()["data"]] if response.status_code == 200 else []
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EnvironmentProblem("the server cannot be reached", where=url, why=one_line(str(error))) from None
    except (ValueError, KeyError, TypeError):
        names = []
    if len(names) == 1:
        return names[0]
    listed = ", ".join(one_line(name, limit=80) for name in names[:8])
    raise UsageError(
        "which of the server's models to ask is not clear",
        where=url,
        why=f"it has {listed}" if listed else "it lists none",
        hint="name one with --name",
    )


def error_of_first(answers: Sequence[ModelAnswer]) -> GardenError | None:
    """An error when no row at all was answered, for its own reason; None otherwise."""
    if any(answer.error is None for answer in answers):
        return None
    return EnvironmentProblem("no row could be answered", why=answers[0].error)
