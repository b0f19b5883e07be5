"""`python -m mg_tui.engine.evaluation.batch`: a loaded model answers many prompts.

    {"op": "load", ...}         as `mg_tui.engine.inference.generate`
    {"op": "batch", "rows": [{"row": 1, "prompt": "...", "images": ["/a.png"]}, ...], "system_prompt",
     "max_new_tokens", "temperature", "top_p", "seed", "batch_size"}
        -> progress {"row", "answer", "error", "seconds", "done", "total"}, ..., answers {"done", "ended"}

A row whose images cannot be read has an error and no answer. `cancel` ends after the rows being answered.
"""

from typing import Annotated, Any, NoReturn

from pydantic import Field

from mg_tui.core.errors import UsageError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.engine.evaluation.answerer import AnswerSampling, ModelAnswer
from mg_tui.engine.evaluation.backend import answer_rows
from mg_tui.engine.generation.interface import GenerationModel
from mg_tui.engine.inference.channel import serve_stdio
from mg_tui.engine.inference.generate import ChannelRequest, InferenceSession, parse_request


class BatchRow(ChannelRequest):
    """One prompt; its images are shown before its text, as in training."""

    row: int
    prompt: str
    images: tuple[str, ...] = ()


class BatchRequest(ChannelRequest):
    """Many prompts, and how answers are drawn; a row is drawn with the seed plus its number."""

    rows: tuple[BatchRow, ...]
    system_prompt: str | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 512
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None

    def examples(self) -> list[Example]:
        """The prompts as conversations."""
        system = [] if self.system_prompt is None else [Message("system", (TextPart(self.system_prompt),))]
        return [
            Example(
                row.row,
                (
                    *system,
                    Message("user", (*(ImagePart(ImageRef(path, path)) for path in row.images), TextPart(row.prompt))),
                ),
            )
            for row in self.rows
        ]


class _Cancelled(Exception):
    """Nobody wants more answers."""


class BatchSession(InferenceSession):
    """A loaded model that answers many prompts."""

    def batch(self, values: dict[str, Any]) -> None:
        """Answer them; replies `answers`."""
        request = parse_request(BatchRequest, values)
        if self._loaded is None:
            raise UsageError("no model is loaded")
        done = 0

        def take(answer: ModelAnswer) -> None:
            nonlocal done
            done += 1
            self._channel.send(
                "progress",
                row=answer.example.row,
                answer=answer.text,
                error=answer.error,
                seconds=answer.timing.get("seconds"),
                done=done,
                total=len(request.rows),
            )

        def poll() -> None:
            if self._channel.cancelled():
                raise _Cancelled

        sampling = AnswerSampling(request.max_new_tokens, request.temperature, request.top_p, request.seed or 0)
        ended = "end"
        try:
            model = GenerationModel.from_loaded(self._loaded)
            answer_rows(model, request.examples(), sampling, request.batch_size, frozenset(), take, poll)
        except _Cancelled:
            ended = "cancelled"
        self._channel.send("answers", done=done, ended=ended)


def main() -> NoReturn:
    """Serve requests on standard input until it closes."""
    serve_stdio(lambda channel: {"load": (session := BatchSession(channel)).load, "batch": session.batch})


if __name__ == "__main__":
    main()
