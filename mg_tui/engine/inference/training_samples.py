"""Samples during training: the current answers of the model to the same few examples."""

from collections.abc import Sequence
from typing import Any

import torch

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.core.text import first_line
from mg_tui.engine.inference.generation import Sampling, generate_answer
from mg_tui.families.collate import ExampleEncoder
from mg_tui.runs.journal import JournalWriter

_MAX_NEW_TOKENS = 64  # tokens: enough to judge an answer, few enough not to delay training


class SampleWriter:
    """Answers the prompts of `examples` and writes `sample` events. Greedy; does not change random states."""

    def __init__(self, journal: JournalWriter, encoder: ExampleEncoder | None, examples: Sequence[Example]):
        self._journal = journal
        self._encoder = encoder
        self._examples = examples if encoder is not None else ()

    def write_samples(self, trainer: Any, step: int) -> None:
        """Generate an answer to each example with the trainer's model at `step`."""
        if not self._examples or self._encoder is None:
            return
        from mg_tui.data.images import open_image

        model = trainer.accelerator.unwrap_model(trainer.model)
        was_training = model.training
        model.eval()
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        try:
            with torch.random.fork_rng(devices), trainer.accelerator.autocast():
                for example in self._examples:
                    trainer.stopper.poll()
                    images = [open_image(ref.path) for ref in example.images]
                    answer = generate_answer(
                        model, self._encoder, example.prompt, images, Sampling(max_new_tokens=_MAX_NEW_TOKENS)
                    )
                    self._journal.write(
                        "sample",
                        step=step,
                        row=example.row,
                        image=example.images[0].path if example.images else None,
                        prompt=example.prompt[-1].text,
                        answer=answer.text,
                        expected=example.response,
                    )
        except (GardenError, torch.OutOfMemoryError) as error:
            # A failed sample must not end the training.
            self._journal.write("warning", what="no sample could be generated", why=first_line(error))
        finally:
            model.train(was_training)


def choose_sample_examples(train: Sequence[Example], evaluation: Sequence[Example], count: int) -> list[Example]:
    """The examples for samples: held-out ones if there are any, with as many different images as possible."""
    chosen: dict[tuple[str, ...], Example] = {}
    pool = evaluation or train
    for example in pool:
        if len(chosen) >= count:
            break
        chosen.setdefault(tuple(ref.path for ref in example.images), example)
    return list(chosen.values())
