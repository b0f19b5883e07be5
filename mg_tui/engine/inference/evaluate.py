"""`python -m mg_tui.engine.inference.evaluate`: answers of a result and its base model to held-out rows.

    {"op": "load", ...}                       as `mg_tui.engine.inference.generate`
    {"op": "exam", "max_new_tokens": 32, "batch_size": 32, "base_too": true, "limit": 100, "cwd", "cache",
     "dataset": "held_out.jsonl", "ignore_column": ["hint"]}
                                              without a dataset: the rows that the model's run held out
        -> notice, progress {"done", "total", "which", "rows"}, ...,
           exam {"rows": [{"row", "image", "images", "prompt", "expected", "answer", "base_answer"}], "total", "ended",
           "seconds"}

Answers are greedy. The base model is the same model with its adapter disabled. Rows are sent with the progress as soon
as both have answered; `cancel` ends the evaluation after the current batch, with the rows answered so far.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from pydantic import Field

from mg_tui.core.errors import UsageError
from mg_tui.core.example import Example
from mg_tui.engine.inference.channel import serve_stdio
from mg_tui.engine.inference.generate import ChannelRequest, InferenceSession, parse_request

if TYPE_CHECKING:
    from mg_tui.families.collate import ExampleEncoder


class EvaluateRequest(ChannelRequest):
    """The rows to evaluate, and how."""

    dataset: Path | None = None
    text_field: str = "text"
    image_field: str = "image"
    response_field: str = "response"
    ignore_column: tuple[str, ...] = ()
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    batch_size: Annotated[int, Field(ge=1)] = 32
    base_too: bool = True
    limit: Annotated[int, Field(ge=1)] | None = None
    cwd: Path | None = None
    cache: Path | None = None


class EvaluationSession(InferenceSession):
    """A loaded model that can be evaluated."""

    def evaluate(self, values: dict[str, Any]) -> None:
        """Answer the rows; replies `exam`."""
        request = parse_request(EvaluateRequest, values)
        if self._loaded is None:
            raise UsageError("no model is loaded")
        if request.base_too and not hasattr(self._loaded.model, "disable_adapter"):
            raise UsageError("this model has no adapter to disable", hint="leave base_too out")
        examples = self._examples(request)
        began = time.monotonic()
        rows: list[dict[str, Any]] = []
        for start in range(0, len(examples), request.batch_size):
            if self._channel.cancelled():
                break
            some = examples[start : start + request.batch_size]
            answered = self._generate_both(some, request)
            rows += answered
            self._channel.send("progress", which="rows", done=len(rows), total=len(examples), rows=answered)
        ended = "end" if len(rows) == len(examples) else "cancelled"
        seconds = round(time.monotonic() - began, 3)
        self._channel.send("exam", rows=rows, total=len(examples), ended=ended, seconds=seconds)

    def _examples(self, request: EvaluateRequest) -> Sequence[Example]:
        from mg_tui.data.dataset import FieldMap, load_dataset, require_no_bad_rows

        if request.cache is None:
            if request.dataset is None:
                raise UsageError("give a dataset, or a cache folder to read the held-out rows with")
            fields = FieldMap(
                text=request.text_field,
                image=request.image_field,
                response=request.response_field,
                ignored=frozenset(request.ignore_column),
            )
            dataset = load_dataset(request.dataset, fields)
            require_no_bad_rows(dataset)
            return dataset.examples[: request.limit]
        from mg_tui.engine.inference.held_out import load_held_out

        assert self._loaded is not None
        dataset_path = str(request.dataset) if request.dataset is not None else None
        held_out = load_held_out(
            self._loaded,
            cwd=request.cwd or Path.cwd(),
            cache=request.cache,
            dataset=dataset_path,
            ignored=request.ignore_column,
        )
        skipped = f"; unusable rows skipped: {held_out.skipped:,}" if held_out.skipped else ""
        self._channel.send_notice(f"{held_out.source}: {len(held_out.examples):,}{skipped}")
        return held_out.examples[: request.limit]

    def _generate_both(self, examples: Sequence[Example], request: EvaluateRequest) -> list[dict[str, Any]]:
        assert self._loaded is not None
        tuned = self._answers(examples, request)
        base: list[str | None] = [None] * len(tuned)
        if request.base_too:
            with self._loaded.model.disable_adapter():
                base = list(self._answers(examples, request))
        return [
            {
                "row": example.row,
                "image": example.images[0].path if example.images else None,
                "images": [ref.path for ref in example.images],
                "prompt": example.prompt[-1].text if example.prompt else "",
                "expected": example.response,
                "answer": answer,
                "base_answer": base_answer,
            }
            for example, answer, base_answer in zip(examples, tuned, base, strict=True)
        ]

    def _answers(self, examples: Sequence[Example], request: EvaluateRequest) -> list[str]:
        from mg_tui.engine.inference.generation import make_encoder

        loaded = self._loaded
        assert loaded is not None
        encoder = make_encoder(loaded.family, loaded.processor, loaded.metadata.preprocessing)
        return generate_answers(loaded.model, encoder, examples, max_new_tokens=request.max_new_tokens)


def generate_answers(
    model: Any, encoder: "ExampleEncoder", examples: Sequence[Example], *, max_new_tokens: int
) -> list[str]:
    """Greedy answers to the prompts of examples, generated together, stripped of surrounding whitespace.

    Raises:
        DataError: an image cannot be read.
        EnvironmentProblem: the device has no memory for one of them.
    """
    from mg_tui.engine.generation.generate import generate_rows
    from mg_tui.engine.generation.interface import GenerationModel
    from mg_tui.engine.inference.generation import Sampling

    sampling = Sampling(max_new_tokens=max_new_tokens)
    answers = {
        item.index: item.answer.text for item in generate_rows(GenerationModel(model, encoder), examples, sampling)
    }
    return [answers[index].strip() for index in range(len(examples))]


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    serve_stdio(lambda channel: {"load": (session := EvaluationSession(channel)).load, "exam": session.evaluate})


if __name__ == "__main__":
    main()
