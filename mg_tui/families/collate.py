"""Conversations and pictures to model input, by the family's own processor.

Every face and program that feeds a model goes through here: training, evaluation, samples, chat. The processor sees the
whole batch, since image keys differ from family to family; whatever it returns is passed on.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import DataError, FamilyError, GardenError
from mg_tui.core.example import Example, Message
from mg_tui.families.contract import Batch, ModelFamily, Preprocessing
from mg_tui.families.conversation import ChatTemplate, with_system_prompt
from mg_tui.families.marks import CannotCut, MarkedTokenizer, unmarked

if TYPE_CHECKING:
    from PIL import Image

    Pictures = Sequence[Image.Image]

IGNORED: Final = -100  # the label of a token that is not learned, as torch's cross entropy has it


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One example as model input, without padding.

    Attributes:
        input_ids, labels: integers of shape (tokens,); a label is its token's id where it is learned, else -100.
        per_token: everything else the processor returns a number a token for (`mm_token_type_ids`, ...): (tokens,).
        vision: what it returns for the pictures (`pixel_values`, `image_grid_thw`, ...), in its own shapes.
    """

    input_ids: Any
    labels: Any
    per_token: Mapping[str, Any]
    vision: Mapping[str, Any]


class ExampleEncoder:
    """Makes batches (it is the default `Collator`), single examples without padding, and prompts to generate from.

    Holds no state between calls; may be copied into worker processes.

    Raises:
        FamilyError: from the constructor, when the checkpoint has no chat template.
    """

    def __init__(
        self, family: ModelFamily, processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
    ):
        self.family = family
        self.processor = processor
        self.preprocessing = preprocessing
        self.train_on_prompt = train_on_prompt
        self.template = ChatTemplate(processor, family.title)
        _ = self.template.source
        tokenizer = processor.tokenizer
        self._never = sorted(tokenizer.convert_tokens_to_ids(token) for token in self.template.picture_tokens)

    def __call__(self, examples: Sequence[Example], images: Sequence["Pictures"]) -> Batch:
        """A padded batch with `labels`; padding is on the right.

        Raises:
            DataError: a row cannot be encoded, and is named.
            FamilyError: the processor does something that labels cannot follow.
        """
        texts = [self._training_text(example) for example in examples]
        batch, learned = self._process(texts, images, [example.row for example in examples], side="right")
        batch["labels"] = self._labels(batch["input_ids"], learned)
        for example, row in zip(examples, batch["labels"], strict=True):
            if not bool((row != IGNORED).any()):
                raise DataError(f"row {example.row}: there is no token to learn in it", hint="give it an answer")
        return batch

    def encode(self, example: Example, images: "Pictures") -> EncodedExample:
        """One example without padding. Raises as a call does."""
        batch = self([example], [images])
        ids, labels = batch.pop("input_ids"), batch.pop("labels")
        batch.pop("attention_mask", None)
        per_token = {name: value[0] for name, value in batch.items() if getattr(value, "shape", None) == ids.shape}
        vision = {name: value for name, value in batch.items() if name not in per_token}
        return EncodedExample(ids[0], labels[0], per_token, vision)

    def prompts(self, conversations: Sequence[Sequence[Message]], images: Sequence["Pictures"]) -> Batch:
        """Input to generate answers to `conversations` from; padding is on the left, where generation wants it."""
        whole = [with_system_prompt(messages, self.preprocessing.system_prompt) for messages in conversations]
        texts = [self.template.prompt(messages) for messages in whole]
        return self._process(texts, images, [None] * len(texts), side="left")[0]

    def length(self, example: Example, sizes: Sequence[tuple[int, int]]) -> int | None:
        """Tokens of an example by the sizes (width, height) of its pictures, without looking into them.

        None when the family cannot tell a picture's tokens from its size. Raises DataError as a call does.
        """
        if self.family.image_tokens is None:
            return None
        if len(sizes) != len(example.images):
            raise ValueError(f"{len(sizes)} sizes for {len(example.images)} pictures")
        ids, _learned = self.marked_tokens(example)
        try:
            # The template has one token in the place of each picture.
            return len(ids) + sum(self.family.image_tokens(*size, self.preprocessing) - 1 for size in sizes)
        except GardenError as error:
            raise DataError(f"row {example.row}: {error.what}", why=error.why, hint=error.hint) from error

    def marked_tokens(self, example: Example) -> tuple[list[int], list[bool]]:
        """Token ids of an example with one token in the place of each picture, and whether each is learned.

        Raises DataError as a call does.
        """
        text = self._training_text(example)
        try:
            ids, learned = MarkedTokenizer(self.processor.tokenizer).encode_marked(text, special=self._special([text]))
        except CannotCut:
            raise self._uncuttable([example.row]) from None
        never = set(self._never)
        return ids, [learn and token not in never for token, learn in zip(ids, learned, strict=True)]

    def prompt_tokens(self, messages: Sequence[Message], *, row: int | None = None) -> list[int]:
        """Token ids to generate an answer to `messages` from, with one token in the place of each image.

        Raises:
            DataError: the conversation cannot be encoded; `row` is named.
        """
        text = self.template.prompt(with_system_prompt(messages, self.preprocessing.system_prompt), row=row)
        try:
            return MarkedTokenizer(self.processor.tokenizer).encode_marked(text, special=self._special([text]))[0]
        except CannotCut:
            raise self._uncuttable([row]) from None

    def _training_text(self, example: Example) -> str:
        messages = with_system_prompt(example.messages, self.preprocessing.system_prompt)
        return self.template.training(messages, row=example.row, on_prompt=self.train_on_prompt)

    def _special(self, texts: Sequence[str]) -> bool:
        """Whether the tokenizer shall add its own special tokens: not when the template already wrote them."""
        beginning = self.processor.tokenizer.bos_token
        return not (beginning and all(unmarked(text).startswith(beginning) for text in texts))

    def _process(
        self, texts: list[str], images: Sequence["Pictures"], rows: Sequence[int | None], *, side: str
    ) -> tuple[Batch, list[list[bool]]]:
        marked = MarkedTokenizer(self.processor.tokenizer)
        processor = copy.copy(self.processor)
        processor.tokenizer = marked
        options = {"add_special_tokens": self._special(texts), "padding": True, "padding_side": side}
        pictures = [list(some) for some in images] if any(len(some) for some in images) else None
        try:
            batch = processor(text=texts, images=pictures, return_tensors="pt", **options)
        except CannotCut:
            raise self._uncuttable(rows) from None
        except GardenError:
            raise
        except (ValueError, TypeError, RuntimeError) as error:
            self._find_culprit(texts, images, rows, side)
            raise DataError(
                f"{_named(rows)}: the processor of {self.family.title} refuses it", why=_first_line(error)
            ) from error
        found = dict(batch)
        self._check(found, marked, side)
        return found, marked.learned

    def _find_culprit(
        self, texts: list[str], images: Sequence["Pictures"], rows: Sequence[int | None], side: str
    ) -> None:
        """Try the rows of a failed batch one by one, so that the error names the right one."""
        if len(texts) > 1:
            for text, some, row in zip(texts, images, rows, strict=True):
                self._process([text], [some], [row], side=side)

    def _check(self, batch: Batch, marked: MarkedTokenizer, side: str) -> None:
        """See that the processor kept the tokens it was given: labels are placed by them."""
        rows = batch["input_ids"].tolist()
        kept = len(rows) == len(marked.ids) and all(
            (row[: len(ids)] if side == "right" else row[len(row) - len(ids) :]) == ids
            for row, ids in zip(rows, marked.ids, strict=True)
        )
        if not kept:
            raise FamilyError(
                f"{self.family.title}: labels cannot be placed",
                why="its processor changes tokens after the tokenizer made them",
                hint="the family needs a make_collator of its own",
            )

    def _labels(self, input_ids: Any, learned: list[list[bool]]) -> Any:
        import torch

        labels = torch.full_like(input_ids, IGNORED)
        for row, flags in enumerate(learned):
            mask = torch.tensor(flags, dtype=torch.bool)
            labels[row, : len(flags)][mask] = input_ids[row, : len(flags)][mask]
        labels[torch.isin(input_ids, torch.tensor(self._never, dtype=input_ids.dtype))] = IGNORED
        return labels

    def _uncuttable(self, rows: Sequence[int | None]) -> DataError:
        return DataError(
            f"{_named(rows)}: it has text that looks like a control token of {self.family.title}",
            why="with this tokenizer such text cannot be told from the token itself",
            hint=f"remove it from the row; control tokens are {', '.join(self.template.control_tokens)}",
        )


def _named(rows: Sequence[int | None]) -> str:
    known = [str(row) for row in rows if row is not None]
    if not known:
        return "the conversation"
    return ("row " if len(known) == 1 else "rows ") + ", ".join(known)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
