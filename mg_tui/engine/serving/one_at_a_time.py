"""Answers of models that do not support batched generation: one after the other, by its own generate."""

from collections.abc import Callable
from typing import Any

from mg_tui.core.errors import GardenError
from mg_tui.engine.inference.generation import generate_answer
from mg_tui.engine.inference.loading import translate_out_of_memory
from mg_tui.engine.serving.answering import AnswerEnd, FinishReason, PendingAnswer, TaskRefused, TextPiece
from mg_tui.engine.serving.stop_strings import StopStrings
from mg_tui.families.collate import ExampleEncoder


def answer_alone(model: Any, encoder: ExampleEncoder, pending: PendingAnswer, cancelled: Callable[[], bool]) -> None:
    """Answer one request completely, or until `cancelled`; what comes of it is sent to whoever waits."""
    from mg_tui.data.images import open_image

    task, stop = pending.task, StopStrings(pending.task.stop)

    def on_text(piece: str) -> None:
        if text := stop.feed(piece):
            pending.send(TextPiece(text))

    try:
        images = [open_image(path) for path in task.images]
        with translate_out_of_memory("the request"):
            answer = generate_answer(
                model,
                encoder,
                task.messages,
                images,
                task.sampling,
                on_text=on_text,
                cancelled=lambda: stop.found or cancelled(),
            )
    except GardenError as error:
        pending.send(error if isinstance(error, TaskRefused) else TaskRefused(error.what, why=error.why))
        return
    if rest := stop.finish():
        pending.send(TextPiece(rest))
    reason: FinishReason = "length" if answer.finish_reason == "length" and not stop.found else "stop"
    pending.send(AnswerEnd(reason, answer.prompt_tokens, answer.tokens))
