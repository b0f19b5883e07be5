"""`python -m mg_tui.engine.exam`: what a result and its base model answer to the rows of a dataset, side by side.

    {"op": "load", ...}                       as `mg_tui.engine.generate`
    {"op": "exam", "dataset": "held_out.jsonl", "max_new_tokens": 32, "batch_size": 32, "base_too": true}
        -> progress {"done", "total", "which"}, ..., exam {"rows": [{"row", "image", "prompt", "expected", "answer",
           "base_answer"}], "seconds"}

Answers are greedy. The base model's are the same model's with its adapter switched off.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mg_tui.core.errors import DataError, UsageError
from mg_tui.core.example import Example
from mg_tui.engine.channel import Channel, serve
from mg_tui.engine.generate import Request, Session, parse


class ExamRequest(Request):
    """Which rows, and how they are answered."""

    dataset: Path
    text_field: str = "text"
    image_field: str = "image"
    response_field: str = "response"
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    batch_size: Annotated[int, Field(ge=1)] = 32
    base_too: bool = True


class ExamSession(Session):
    """A loaded model that can be examined."""

    def exam(self, values: dict[str, Any]) -> None:
        """Answer every row of a dataset; replies `exam`."""
        request = parse(ExamRequest, values)
        if self._loaded is None:
            raise UsageError("no model is loaded")
        from mg_tui.data.dataset import FieldMap, load_dataset, require_clean

        dataset = load_dataset(
            request.dataset,
            FieldMap(text=request.text_field, image=request.image_field, response=request.response_field),
        )
        require_clean(dataset)
        began = time.monotonic()
        model = self._loaded.model
        tuned = self._answers(dataset.examples, request, "tuned")
        base: list[str | None] = [None] * len(tuned)
        if request.base_too:
            if not hasattr(model, "disable_adapter"):
                raise UsageError("this model has no adapter to switch off", hint="ask without base_too")
            with model.disable_adapter():
                base = list(self._answers(dataset.examples, request, "base"))
        rows = [
            {
                "row": example.row,
                "image": example.images[0].path if example.images else None,
                "prompt": example.prompt[-1].text,
                "expected": example.response,
                "answer": answer,
                "base_answer": before,
            }
            for example, answer, before in zip(dataset.examples, tuned, base, strict=True)
        ]
        self._channel.send("exam", rows=rows, seconds=round(time.monotonic() - began, 3))

    def _answers(self, examples: Sequence[Example], request: ExamRequest, which: str) -> list[str]:
        import torch

        from mg_tui.data.images import open_image
        from mg_tui.engine.answer import Sampling, generation_config, make_encoder

        loaded = self._loaded
        assert loaded is not None
        encoder = make_encoder(loaded.family, loaded.processor, loaded.contract.preprocessing)
        tokenizer = loaded.processor.tokenizer
        config = generation_config(loaded.model, tokenizer, Sampling(max_new_tokens=request.max_new_tokens))
        found: list[str] = []
        for start in range(0, len(examples), request.batch_size):
            if self._channel.cancelled():
                raise DataError("the examination was called off")
            some = examples[start : start + request.batch_size]
            pictures = [[open_image(ref.path) for ref in example.images] for example in some]
            inputs = encoder.prompts([example.prompt for example in some], pictures)
            moved = {n: v.to(loaded.model.device) if torch.is_tensor(v) else v for n, v in inputs.items()}
            with torch.inference_mode():
                output = loaded.model.generate(**moved, generation_config=config)
            written = output[:, inputs["input_ids"].shape[1] :]
            found += [str(text).strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
            self._channel.send("progress", which=which, done=len(found), total=len(examples))
        return found


def main() -> None:
    """Serve requests on standard input until it closes."""
    channel = Channel.on_stdio()
    session = ExamSession(channel)
    serve(channel, {"load": session.load, "exam": session.exam})


if __name__ == "__main__":
    main()
