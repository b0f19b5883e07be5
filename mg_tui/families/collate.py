"""Conversations and images to model input, by the family's own processor.

Everything that feeds a model uses this module: training, evaluation, samples, chat. The processor gets the whole batch,
since image keys differ between families; all its outputs are passed on.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import DataError, FamilyError, GardenError
from mg_tui.core.example import Example, Message, with_system_prompt
from mg_tui.core.text import first_line
from mg_tui.families.chat_template import ChatTemplate
from mg_tui.families.contract import Batch, FamilyInfo, Preprocessing
from mg_tui.families.image_contract import ImagePiece
from mg_tui.families.processor_settings import processor_settings
from mg_tui.families.supervision_marks import IMAGE_END, IMAGE_START, CannotSplitText, MarkedTokenizer, strip_marks

if TYPE_CHECKING:
    from PIL import Image

    Images = Sequence[Image.Image]

_NOMINAL_SIZE: Final = (336, 336)  # pixels: any size does, as the text around an image's tokens does not depend on it
IGNORE_INDEX: Final = -100  # label of a token that is not supervised; the default of torch's cross entropy


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """One example as model input, without padding.

    Attributes:
        input_ids, labels: integers of shape (tokens,); a label is its token's id where it is supervised, else -100.
        per_token: the processor's other outputs of one number per token (`mm_token_type_ids`, ...): (tokens,).
        vision: its outputs for the images (`pixel_values`, ...), in its own shapes.
    """

    input_ids: Any
    labels: Any
    per_token: Mapping[str, Any]
    vision: Mapping[str, Any]


class ExampleEncoder:
    """Encodes batches (it is the default `Collator`), single examples without padding, and generation prompts.

    Holds no state between calls; may be copied into worker processes.

    Raises:
        FamilyError: from the constructor, when the checkpoint has no chat template.
    """

    def __init__(
        self, family: FamilyInfo, processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
    ):
        self.family = family
        self.processor = processor
        self.preprocessing = replace(preprocessing, settings=processor_settings(processor))
        self.train_on_prompt = train_on_prompt
        self.template = ChatTemplate(processor, family.title)
        _ = self.template.source
        tokenizer = processor.tokenizer
        self._never = sorted(tokenizer.convert_tokens_to_ids(token) for token in self.template.image_tokens)

    def __call__(self, examples: Sequence[Example], images: Sequence["Images"]) -> Batch:
        """A padded batch with `labels`; padding is on the right.

        Raises:
            DataError: a row cannot be encoded, and is named.
            FamilyError: the processor changes tokens, so that labels cannot be assigned.
        """
        texts = [self._training_text(example) for example in examples]
        batch, supervised = self._process(texts, images, [example.row for example in examples], side="right")
        batch["labels"] = self._labels(batch["input_ids"], supervised)
        for example, row in zip(examples, batch["labels"], strict=True):
            if not bool((row != IGNORE_INDEX).any()):
                raise DataError(f"row {example.row}: it has no supervised tokens", hint="add an answer")
        return batch

    def encode(self, example: Example, images: "Images") -> EncodedExample:
        """One example without padding. Raises as a call does."""
        batch = self([example], [images])
        ids, labels = batch.pop("input_ids"), batch.pop("labels")
        batch.pop("attention_mask", None)
        per_token = {name: value[0] for name, value in batch.items() if getattr(value, "shape", None) == ids.shape}
        vision = {name: value for name, value in batch.items() if name not in per_token}
        return EncodedExample(ids[0], labels[0], per_token, vision)

    def encode_prompts(self, conversations: Sequence[Sequence[Message]], images: Sequence["Images"]) -> Batch:
        """Generation inputs for `conversations`; padding is on the left, as generation requires."""
        whole = [with_system_prompt(messages, self.preprocessing.system_prompt) for messages in conversations]
        texts = [self.template.prompt(messages) for messages in whole]
        return self._process(texts, images, [None] * len(texts), side="left")[0]

    @property
    def feature_token_id(self) -> int:
        """Id of the token that stands for a feature of an image; the template's own, unless the layout names one."""
        named = self.family.layout.feature_token if self.family.layout is not None else None
        if named is not None:
            return int(self.processor.tokenizer.convert_tokens_to_ids(named))
        return int(self.processor.image_token_id)

    def length(self, example: Example, sizes: Sequence[tuple[int, int]]) -> int | None:
        """Number of tokens of an example from the sizes (width, height) of its images, without decoding them.

        None when the family cannot derive an image's tokens from its size. Raises DataError as a call does.
        """
        if self.family.image_tokens is None:
            return None
        if len(sizes) != len(example.images):
            raise ValueError(f"{len(sizes)} sizes for {len(example.images)} images")
        (count,) = self.count_tokens([example])
        if isinstance(count, GardenError):
            raise count
        try:
            # The template writes one token per image.
            return count[0] + sum(self.family.image_tokens(*size, self.preprocessing) - 1 for size in sizes)
        except GardenError as error:
            raise DataError(f"row {example.row}: {error.what}", why=error.why, hint=error.hint) from error

    def tokenize_with_supervision(
        self, example: Example, images: Sequence[Sequence[ImagePiece]] | None = None
    ) -> tuple[list[int], list[bool]]:
        """Token ids of an example with one token per image, and whether each is supervised.

        Args:
            example: the conversation.
            images: the pieces of its images; with them, ids have one token for each run of feature tokens.

        Raises DataError as a call does.
        """
        text = self._with_pieces(self._training_text(example), images, example.row)
        try:
            tokenizer = MarkedTokenizer(self.processor.tokenizer)
            ids, supervised = tokenizer.encode_marked(text, special=self._special([text]))
        except CannotSplitText:
            raise self._uncuttable([example.row]) from None
        never = set(self._never)
        return ids, [is_supervised and token not in never for token, is_supervised in zip(ids, supervised, strict=True)]

    def count_tokens(self, examples: Sequence[Example]) -> list[tuple[int, int] | GardenError]:
        """For each example its tokens, one for each image, and how many are supervised; or the error of the row.

        As `tokenize_with_supervision`, for many examples at once, which is faster.
        """
        results: list[tuple[int, int] | GardenError | None] = [None] * len(examples)
        by_special: dict[bool, list[tuple[int, str]]] = {}
        pieces, more = self._nominal_pieces()
        for index, example in enumerate(examples):
            try:
                text = self._with_pieces(self._training_text(example), [pieces] * len(example.images), example.row)
            except GardenError as error:
                results[index] = error
            else:
                by_special.setdefault(self._special([text]), []).append((index, text))
        tokenizer, never = MarkedTokenizer(self.processor.tokenizer), frozenset(self._never)
        for special, texts in by_special.items():
            try:
                counts = tokenizer.count_marked([text for _index, text in texts], never, special=special)
            except CannotSplitText:  # by one of them
                for index, _text in texts:
                    results[index] = self._count_one(examples[index])
            else:
                for (index, _text), (tokens, supervised) in zip(texts, counts, strict=True):
                    results[index] = tokens - more * len(examples[index].images), supervised
        return [result for result in results if result is not None]

    def _count_one(self, example: Example) -> tuple[int, int] | GardenError:
        pieces, more = self._nominal_pieces()
        try:
            ids, supervised = self.tokenize_with_supervision(example, [pieces] * len(example.images))
        except GardenError as error:
            return error
        return len(ids) - more * len(example.images), sum(supervised)

    def tokenize_prompt(
        self,
        messages: Sequence[Message],
        images: Sequence[Sequence[ImagePiece]] | None = None,
        *,
        row: int | None = None,
    ) -> list[int]:
        """Token ids of the prompt for an answer to `messages`, with one token per image; `images` as above.

        Raises:
            DataError: the conversation cannot be encoded; `row` is named.
        """
        text = self.template.prompt(with_system_prompt(messages, self.preprocessing.system_prompt), row=row)
        text = self._with_pieces(text, images, row)
        try:
            return MarkedTokenizer(self.processor.tokenizer).encode_marked(text, special=self._special([text]))[0]
        except CannotSplitText:
            raise self._uncuttable([row]) from None

    def _training_text(self, example: Example) -> str:
        messages = with_system_prompt(example.messages, self.preprocessing.system_prompt)
        text = self.template.training(messages, row=example.row, on_prompt=self.train_on_prompt)
        if self.train_on_prompt and (token := getattr(self.processor, "image_token", None)):
            # What the processor writes around an image's tokens (tile markers, row breaks) is not to be learned.
            text = text.replace(token, IMAGE_START + token + IMAGE_END)
        return text

    def _nominal_pieces(self) -> tuple[tuple[ImagePiece, ...], int]:
        """The pieces of some image, and how many tokens more than one they have where a run of features is one."""
        layout = self.family.layout
        if layout is None or layout.pieces is None:
            return (), 0
        pieces = layout.image_pieces(*_NOMINAL_SIZE, self.preprocessing)
        return pieces, sum(layout.count_text(piece) if isinstance(piece, str) else 1 for piece in pieces) - 1

    def _with_pieces(self, text: str, images: Sequence[Sequence[ImagePiece]] | None, row: int | None) -> str:
        """The text with the pieces of its images in place of the template's tokens, a run of features as one token.

        Unchanged without `images`, and where feature tokens alone replace the template's, of which one is there.
        """
        layout = self.family.layout
        if images is None or layout is None or layout.pieces is None:
            return text
        before, *after = text.split(self.processor.image_token)
        if len(after) != len(images):
            raise FamilyError(
                f"{self.family.title}: {_name_rows([row])} shows {len(images)} images, and its text has "
                f"{len(after)} places for them"
            )
        token = layout.feature_token or self.processor.image_token
        shown = ["".join(piece if isinstance(piece, str) else token for piece in pieces) for pieces in images]
        return before + "".join(image + rest for image, rest in zip(shown, after, strict=True))

    def _special(self, texts: Sequence[str]) -> bool:
        """Whether the tokenizer adds its own special tokens: not when the template already wrote them."""
        beginning = self.processor.tokenizer.bos_token
        return not (beginning and all(strip_marks(text).startswith(beginning) for text in texts))

    def _process(
        self, texts: list[str], images: Sequence["Images"], rows: Sequence[int | None], *, side: str
    ) -> tuple[Batch, list[list[bool]]]:
        marked = MarkedTokenizer(self.processor.tokenizer)
        processor = copy.copy(self.processor)
        processor.tokenizer = marked
        options = {"add_special_tokens": self._special(texts), "padding": True, "padding_side": side}
        lists = [list(row_images) for row_images in images]
        try:
            batch = processor(text=texts, images=lists if any(lists) else None, return_tensors="pt", **options)
        except CannotSplitText:
            raise self._uncuttable(rows) from None
        except GardenError:
            raise
        except (ValueError, TypeError, RuntimeError) as error:
            self._find_culprit(texts, images, rows, side)
            raise DataError(
                f"{_name_rows(rows)}: rejected by the processor of {self.family.title}", why=first_line(error)
            ) from error
        inputs = dict(batch)
        self._check(inputs, marked, side)
        return inputs, marked.supervised

    def _find_culprit(
        self, texts: list[str], images: Sequence["Images"], rows: Sequence[int | None], side: str
    ) -> None:
        """Encode the rows of a failed batch one by one, so that the error names the right row."""
        if len(texts) > 1:
            for text, row_images, row in zip(texts, images, rows, strict=True):
                self._process([text], [row_images], [row], side=side)

    def _check(self, batch: Batch, marked: MarkedTokenizer, side: str) -> None:
        """Require that the processor kept the tokenizer's output: labels are assigned by it."""
        rows = batch["input_ids"].tolist()
        unchanged = len(rows) == len(marked.ids) and all(
            (row[: len(ids)] if side == "right" else row[len(row) - len(ids) :]) == ids
            for row, ids in zip(rows, marked.ids, strict=True)
        )
        if not unchanged:
            raise FamilyError(
                f"{self.family.title}: cannot assign labels",
                why="its processor modifies the tokenizer's output",
                hint="the family must provide make_collator",
            )

    def _labels(self, input_ids: Any, supervised: list[list[bool]]) -> Any:
        import torch

        labels = torch.full_like(input_ids, IGNORE_INDEX)
        for row, flags in enumerate(supervised):
            mask = torch.tensor(flags, dtype=torch.bool)
            labels[row, : len(flags)][mask] = input_ids[row, : len(flags)][mask]
        labels[torch.isin(input_ids, torch.tensor(self._never, dtype=input_ids.dtype))] = IGNORE_INDEX
        return labels

    def _uncuttable(self, rows: Sequence[int | None]) -> DataError:
        return DataError(
            f"{_name_rows(rows)}: its text contains a control token of {self.family.title}",
            why="this tokenizer cannot distinguish such text from the token",
            hint=f"remove it from the row; control tokens are {', '.join(self.template.control_tokens)}",
        )


def _name_rows(rows: Sequence[int | None]) -> str:
    known = [str(row) for row in rows if row is not None]
    if not known:
        return "the conversation"
    return ("row " if len(known) == 1 else "rows ") + ", ".join(known)
