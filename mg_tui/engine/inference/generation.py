"""Generation: a conversation in, text out while it is generated. Greedy by default."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mg_tui.core.errors import UsageError
from mg_tui.core.example import ImagePart, Message
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import Batch, Preprocessing
from mg_tui.families.family import ModelFamily

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. `temperature` 0 is greedy: the same answer every time. Without `seed` one is drawn."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None

    @property
    def greedy(self) -> bool:
        """Whether decoding is deterministic."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """An answer with its token counts and times.

    Attributes:
        text: the answer without special tokens.
        tokens: generated, the end token included.
        prompt_tokens: of the prompt, image tokens included; `image_tokens` of them are images (None when not known).
        seconds: prefill and decoding; `first_token_seconds` until the first token.
        finish_reason: "end" token, "length" (max_new_tokens) or "cancelled" by the user.
        image_sizes: for each image its original size and its processed size (None when not known): (width, height).
        seed: of sampling; None when greedy.
    """

    text: str
    tokens: int
    prompt_tokens: int
    image_tokens: int | None
    seconds: float
    first_token_seconds: float
    finish_reason: Literal["end", "length", "cancelled"]
    image_sizes: tuple[tuple[tuple[int, int], tuple[int, int] | None], ...]
    seed: int | None

    @property
    def tokens_per_second(self) -> float:
        """Tokens decoded per second, without the prefill."""
        writing = self.seconds - self.first_token_seconds
        return (self.tokens - 1) / writing if self.tokens > 1 and writing > 0 else 0.0


def make_encoder(family: ModelFamily, processor: Any, preprocessing: Preprocessing) -> ExampleEncoder:
    """The encoder for prompts as in training: the family's own collator if it is an `ExampleEncoder`."""
    collator = family.make_collator(family, processor, preprocessing)
    return collator if isinstance(collator, ExampleEncoder) else ExampleEncoder(family, processor, preprocessing)


def generate_answer(
    model: Any,
    encoder: ExampleEncoder,
    messages: Sequence[Message],
    images: Sequence["Image.Image"],
    sampling: Sampling | None = None,
    *,
    on_text: Callable[[str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> GeneratedAnswer:
    """Continue the conversation `messages`, which ends with the user's turn.

    Args:
        model: in evaluation mode.
        encoder: see `make_encoder`; it prepends the system prompt of training to a conversation without one.
        images: RGB images in the order the messages show them.
        on_text: called with each piece of text; joined they are the answer.
        cancelled: called before each token; true ends the answer.

    Raises:
        DataError: the model's processor or chat template refuses the conversation.
        UsageError: the number of images in the conversation differs from `images`.
    """
    import torch

    sampling = sampling or Sampling()
    shown_images = sum(isinstance(part, ImagePart) for message in messages for part in message.parts)
    if shown_images != len(images):
        raise UsageError(f"the conversation has {shown_images} images, but {len(images)} were passed")
    processor = encoder.processor
    inputs = encoder.encode_prompts([messages], [images])
    prompt_tokens = int(inputs["input_ids"].shape[1])
    seed = None if sampling.greedy else random.randrange(2**31) if sampling.seed is None else sampling.seed
    if seed is not None:
        torch.manual_seed(seed)
    config = generation_config(model, processor.tokenizer, sampling)
    stream = _make_streamer(processor.tokenizer, on_text or (lambda _text: None))
    with torch.inference_mode():
        output = model.generate(
            **{name: value.to(model.device) if torch.is_tensor(value) else value for name, value in inputs.items()},
            generation_config=config,
            streamer=stream,
            stopping_criteria=[_make_stopping_criteria(cancelled)] if cancelled else None,
        )
    seconds = time.monotonic() - stream.began
    written = output[0, prompt_tokens:].tolist()
    return GeneratedAnswer(
        text=processor.tokenizer.decode(written, skip_special_tokens=True),
        tokens=len(written),
        prompt_tokens=prompt_tokens,
        image_tokens=_count_image_tokens(inputs),
        seconds=seconds,
        first_token_seconds=(stream.first or time.monotonic()) - stream.began,
        finish_reason=_finish_reason(written, config.eos_token_id, sampling.max_new_tokens),
        image_sizes=tuple(zip([image.size for image in images], processed_sizes(encoder, inputs, images), strict=True)),
        seed=seed,
    )


def generation_config(model: Any, tokenizer: Any, sampling: Sampling) -> Any:
    """transformers' GenerationConfig for `sampling`, with the model's own end and padding tokens."""
    from transformers import GenerationConfig

    own = model.generation_config
    chance: dict[str, Any] = {"do_sample": False}
    if not sampling.greedy:
        chance = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        # A checkpoint may set a penalty, which would change greedy answers, those of trained models most.
        repetition_penalty=1.0,
        num_beams=1,
        eos_token_id=own.eos_token_id,
        bos_token_id=own.bos_token_id,
        pad_token_id=own.pad_token_id if own.pad_token_id is not None else tokenizer.pad_token_id,
        **chance,
    )


def processed_sizes(
    encoder: ExampleEncoder, inputs: Batch, images: Sequence["Image.Image"]
) -> list[tuple[int, int] | None]:
    """Width and height of each image as processed, in pixels; None where neither the family's layout nor the shape of
    the pixels (images, channels, height, width) tells it."""
    resized = encoder.family.layout.resized if encoder.family.layout is not None else None
    if resized is not None:
        return [resized(*image.size, encoder.preprocessing) for image in images]
    pixels = inputs.get("pixel_values")
    if pixels is not None and pixels.ndim == 4 and len(pixels) == len(images):
        return [(int(pixels.shape[3]), int(pixels.shape[2]))] * len(images)
    return [None] * len(images)


def _count_image_tokens(inputs: Batch) -> int | None:
    kinds = inputs.get("mm_token_type_ids")
    return None if kinds is None else int((kinds == 1).sum())


def _finish_reason(
    written: list[int], eos: int | list[int] | None, limit: int
) -> Literal["end", "length", "cancelled"]:
    ends = {eos} if isinstance(eos, int) else set(eos or ())
    if written and written[-1] in ends:
        return "end"
    return "length" if len(written) >= limit else "cancelled"


def _make_streamer(tokenizer: Any, on_text: Callable[[str], None]) -> Any:
    """A streamer that passes on complete characters, and records the time of the first token."""
    from transformers.generation.streamers import BaseStreamer

    class Stream(BaseStreamer):  # type: ignore[misc]
        def __init__(self) -> None:
            self.began = time.monotonic()
            self.first: float | None = None
            self.ids: list[int] | None = None
            # Text up to `read` has been passed on; decoding begins a little earlier, at `context`, because a token's
            # text depends on the one before.
            self.context = self.read = 0

        def put(self, value: Any) -> None:
            if self.ids is None:  # the first call has the prompt
                self.ids = []
                return
            self.first = self.first or time.monotonic()
            self.ids += value.flatten().tolist()
            self._give(last=False)

        def end(self) -> None:
            self._give(last=True)

        def _give(self, *, last: bool) -> None:
            ids = self.ids or []
            before = tokenizer.decode(ids[self.context : self.read], skip_special_tokens=True)
            text = tokenizer.decode(ids[self.context :], skip_special_tokens=True)
            # An incomplete character decodes to a replacement character: wait for the rest.
            if len(text) > len(before) and (last or not text.endswith("\N{REPLACEMENT CHARACTER}")):
                on_text(text[len(before) :])
                self.context, self.read = self.read, len(ids)

    return Stream()


def _make_stopping_criteria(cancelled: Callable[[], bool]) -> Any:
    import torch
    from transformers import StoppingCriteria

    class Stop(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            return torch.full((input_ids.shape[0],), cancelled(), dtype=torch.bool, device=input_ids.device)

    return Stop()
