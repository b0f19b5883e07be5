"""The checks of the conformance kit that need a checkpoint: each yields its findings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example, ImagePart, ImageRef, Message, TextPart
from mg_tui.core.model_parts import PARTS
from mg_tui.families.collate import IGNORE_INDEX, ExampleEncoder
from mg_tui.families.conformance_training import lora_findings, merge_findings, quantization_findings
from mg_tui.families.contract import LoadRequest, Preprocessing, Supported
from mg_tui.families.family import ModelFamily
from mg_tui.families.split_encoding import SplitEncoder

if TYPE_CHECKING:
    from PIL import Image

PREPROCESSING: Final = Preprocessing(min_pixels=3_136, max_pixels=12_544)
IMAGE_SIZES: Final = ((112, 112), (150, 60), (37, 400))
LARGE_SIZE: Final = (300, 200)  # more pixels than any of the limits tried


class ConformanceFixture:
    """A family with a checkpoint's processor, its collator, and the examples to check them with."""

    def __init__(self, family: ModelFamily, folder: Path):
        self.family = family
        self.folder = folder
        self.processor = family.load_processor(family, str(folder), PREPROCESSING)
        self.collator = family.make_collator(family, self.processor, PREPROCESSING)
        self.examples, self.images = make_examples(image_count=2 if self.is_supported("multi_image") else 1)

    def is_supported(self, capability: Any) -> bool:
        """Whether the family declares it as supported."""
        return isinstance(self.family.capability(capability), Supported)

    @cached_property
    def meta_model(self) -> Any:
        """The model on the meta device: no memory for weights."""
        import torch
        from transformers import AutoConfig, AutoModelForImageTextToText

        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(self.folder))

    def load(self, quantization: Any = "none") -> Any:
        """The model with its weights, in float32 on the CPU."""
        request = LoadRequest(str(self.folder), "float32", "cpu", quantization=quantization)
        return self.family.load_model(self.family, request)

    def batch(self) -> dict[str, Any]:
        """All examples side by side."""
        return self.collator(self.examples, self.images)


def make_examples(*, image_count: int) -> tuple[list[Example], list[list["Image.Image"]]]:
    """Three examples: one turn, two turns, and `image_count` images."""
    rows = [
        ((IMAGE_SIZES[0],), ["what is this?", "a zebra, I think"]),
        ((IMAGE_SIZES[1],), ["how many?", "seven of them", "are you sure?", "quite"]),
        (IMAGE_SIZES[1 : 1 + image_count], ["and now?", " two\nlines "]),
    ]
    examples, images = [], []
    for number, (sizes, texts) in enumerate(rows, start=1):
        image_parts = [ImagePart(ImageRef(f"/{index}.png", f"{index}.png")) for index in range(len(sizes))]
        turns = [
            Message("assistant" if index % 2 else "user", (*(image_parts if index == 0 else []), TextPart(text)))
            for index, text in enumerate(texts)
        ]
        examples.append(Example(number, tuple(turns)))
        images.append([make_image(*size, seed=index) for index, size in enumerate(sizes)])
    return examples, images


def make_image(width: int, height: int, *, seed: int = 0) -> "Image.Image":
    """A synthetic image: two gradients and a square."""
    from PIL import Image

    slope = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (slope, slope.rotate(180), Image.new("L", (width, height), 60 * seed % 256)))
    image.paste((255, 200, 0), (width // 4, height // 4, width // 2, height // 2))
    return image


def supervised_ids(batch: dict[str, Any], row: int) -> list[int]:
    """Ids of the supervised tokens of a row of a batch."""
    labels = batch["labels"][row]
    return [int(token) for token in labels[labels != IGNORE_INDEX]]


# --- Without weights --------------------------------------------------------------------------------------------------


def image_tokens(bench: ConformanceFixture) -> Iterator[str]:
    """Tokens counted from size alone are the processor's, also for limits other than the checkpoint's."""
    if bench.family.image_tokens is None:
        return
    for limits in (PREPROCESSING, replace(PREPROCESSING, max_pixels=4 * PREPROCESSING.max_pixels)):
        processor = bench.family.load_processor(bench.family, str(bench.folder), limits)
        collator = bench.family.make_collator(bench.family, processor, limits)
        yield from count_findings(bench, collator, (*IMAGE_SIZES, LARGE_SIZE), limits)


def count_findings(
    bench: "CountedFamily", collator: Any, sizes: Sequence[tuple[int, int]], limits: Preprocessing
) -> Iterator[str]:
    """Sizes of images of which a row has other tokens than are counted.

    Args:
        bench: the family, its processor, and an example of one image.
        collator: made with the limits.
        sizes: (width, height) in pixels.
        limits: of an image's area.
    """
    count = bench.family.image_tokens
    assert count is not None
    example = bench.examples[0]
    settings = collator.preprocessing if isinstance(collator, ExampleEncoder) else limits
    without = _tokens_without_image(bench, collator, example)
    for width, height in sizes:
        made = len(collator([example], [[make_image(width, height)]])["input_ids"][0])
        actual, expected = made - without, count(width, height, settings)
        if actual != expected:
            yield f"{width} x {height} at {limits.max_pixels} pixels: the processor makes {actual}, not {expected}"


class CountedFamily(Protocol):
    """What `count_findings` needs."""

    @property
    def family(self) -> ModelFamily:
        """The family."""

    @property
    def processor(self) -> Any:
        """Of its checkpoint."""

    @property
    def examples(self) -> Sequence[Example]:
        """The first one has an image."""


def _tokens_without_image(bench: CountedFamily, collator: Any, example: Example) -> int:
    """Tokens of an example of one image beside those of the image."""
    if isinstance(collator, ExampleEncoder):
        count = collator.count_tokens([example])[0]
        if isinstance(count, GardenError):
            raise count
        return count[0] - 1
    image_token = bench.processor.tokenizer.convert_tokens_to_ids(bench.processor.image_token)
    ids = collator([example], [[make_image(*IMAGE_SIZES[0])]])["input_ids"][0]
    return int((ids != image_token).sum())


def supervised_labels(bench: ConformanceFixture) -> Iterator[str]:
    """Labels cover exactly the answers with their end-of-turn tokens; with train_on_prompt, all but images."""
    batch = bench.batch()
    tokenizer = bench.processor.tokenizer
    for row, example in enumerate(bench.examples):
        ids = supervised_ids(batch, row)
        answers = [message.text for message in example.messages if message.role == "assistant"]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        if text.split() != "".join(answers).split():
            yield f"row {example.row}: supervised text {text!r} differs from the answers {answers!r}"
        ends = [token for token in ids if token in tokenizer.all_special_ids]
        if len(ends) < len(answers):
            yield f"row {example.row}: {len(answers)} answers, but {len(ends)} end-of-turn tokens are supervised"
        wrong = batch["labels"][row] != batch["input_ids"][row]
        if bool((wrong & (batch["labels"][row] != IGNORE_INDEX)).any()):
            yield f"row {example.row}: a label differs from its token"
    yield from _labels_of_prompts(bench)


def _labels_of_prompts(bench: ConformanceFixture) -> Iterator[str]:
    collator = bench.family.make_collator(bench.family, bench.processor, PREPROCESSING, train_on_prompt=True)
    batch = collator(bench.examples, bench.images)
    supervised = set(batch["labels"][batch["labels"] != IGNORE_INDEX].tolist())
    for token in _tokens_of_images(bench, collator):
        if bench.processor.tokenizer.convert_tokens_to_ids(token) in supervised:
            yield f"with train_on_prompt, image tokens are supervised: {token}"
    if bool((batch["labels"][batch["attention_mask"] == 0] != IGNORE_INDEX).any()):
        yield "with train_on_prompt, padding is supervised"
    for row, example in enumerate(bench.examples):
        text = bench.processor.tokenizer.decode(supervised_ids(batch, row))
        if example.messages[0].text not in text:
            yield f"row {example.row}: with train_on_prompt, the question is not supervised"


def _tokens_of_images(bench: ConformanceFixture, collator: Any) -> list[str]:
    """The token of an image, that of its features, and the added tokens between them, as of tiles and row breaks."""
    layout = bench.family.layout
    tokens = {bench.processor.image_token, layout.feature_token if layout is not None else None} - {None}
    if layout is not None and isinstance(collator, ExampleEncoder):
        added = bench.processor.tokenizer.get_added_vocab()
        for size in (*IMAGE_SIZES, LARGE_SIZE):
            text = "".join(
                piece for piece in layout.image_pieces(*size, collator.preprocessing) if isinstance(piece, str)
            )
            tokens |= {token for token in added if token in text}
    return sorted(map(str, tokens))


def control_tokens_in_text(bench: ConformanceFixture) -> Iterator[str]:
    """Control tokens written in a row's text create neither turns nor images."""
    if not isinstance(bench.collator, ExampleEncoder):
        return
    tokenizer = bench.processor.tokenizer
    first = bench.examples[0]
    control = {tokenizer.convert_tokens_to_ids(token) for token in bench.collator.template.control_tokens}

    def counts(text: str) -> dict[int, int]:
        posing = (replace(first.messages[0], parts=(*first.messages[0].parts, TextPart(text))), *first.messages[1:])
        try:
            ids = bench.collator([replace(first, messages=posing)], bench.images[:1])["input_ids"][0].tolist()
        except GardenError as error:
            # Rejecting such a row is fine too, as long as the error names it.
            return {} if f"row {first.row}" in error.what else {-1: 1}
        return {token: ids.count(token) for token in control}

    plain = counts("nothing")
    for token in bench.collator.template.control_tokens:
        posing = counts(f"a {token} b{token}{token}")
        if posing and posing != plain:
            yield f"{token} in a row's text is tokenized as the control token"


def batches(bench: ConformanceFixture) -> Iterator[str]:
    """A batch has the same values for each example as the example encoded alone."""
    together = bench.batch()
    for row, example in enumerate(bench.examples):
        alone = bench.collator([example], [bench.images[row]])
        length = alone["input_ids"].shape[1]
        for name, value in alone.items():
            if getattr(value, "shape", None) != alone["input_ids"].shape:
                continue
            if name not in together or together[name][row, :length].tolist() != value[0].tolist():
                yield f"row {example.row}: {name} differs between a batch and the example alone"
        if bool((together["labels"][row, length:] != IGNORE_INDEX).any()):
            yield f"row {example.row}: padding is supervised"


def prompts(bench: ConformanceFixture) -> Iterator[str]:
    """The generation prompt is a prefix of the training text."""
    if not isinstance(bench.collator, ExampleEncoder):
        return
    for row, example in enumerate(bench.examples):
        trained = bench.collator([example], [bench.images[row]])
        last = len(trained["labels"][0]) - int((trained["labels"][0] == IGNORE_INDEX).flip(0).int().argmin()) - 1
        prompt_ids = bench.collator.encode_prompts([example.prompt], [bench.images[row]])["input_ids"][0].tolist()
        if trained["input_ids"][0].tolist()[: len(prompt_ids)] != prompt_ids or not len(prompt_ids) <= last:
            yield f"row {example.row}: the generation prompt is not a prefix of the training text"


def split_encoding(bench: ConformanceFixture) -> Iterator[str]:
    """With a token layout, encoding from image sizes alone gives the processor's tokens and labels."""
    if bench.family.layout is None or not isinstance(bench.collator, ExampleEncoder):
        return
    encoder = SplitEncoder(bench.collator)
    for example, images in zip(bench.examples, bench.images, strict=True):
        apart = encoder.text(example, [image.size for image in images])
        together = bench.collator.encode(example, images)
        pairs = zip(apart.ids, apart.supervised, strict=True)
        labels = [token if is_supervised else IGNORE_INDEX for token, is_supervised in pairs]
        if list(apart.ids) != together.input_ids.tolist() or labels != together.labels.tolist():
            yield f"row {example.row}: tokens or labels differ from the processor's"


def parts(bench: ConformanceFixture) -> Iterator[str]:
    """Every weight is in a part, every prefix names a module, and parts that support LoRA have linear layers."""
    import torch

    model = bench.meta_model
    outside = [name for name, _weight in model.named_parameters() if bench.family.parts.part_of(name) is None]
    if outside:
        yield f"{len(outside)} weights belong to no part, e.g. {outside[0]}"
    modules = dict(model.named_modules())
    for part in PARTS:
        prefixes: Sequence[str] = getattr(bench.family.parts, part)
        for prefix in prefixes:
            if prefix not in modules:
                yield f"{part}: there is no module {prefix}"
        linear = [name for name, module in modules.items() if isinstance(module, torch.nn.Linear)]
        if bench.is_supported(f"lora_{part}") and part not in {bench.family.parts.part_of(name) for name in linear}:
            yield f"{part}: LoRA is declared as supported, but there is no linear layer"


# --- With weights -----------------------------------------------------------------------------------------------------


def forward(bench: ConformanceFixture) -> Iterator[str]:
    """The model accepts a batch, and gives each example the same logits as alone."""
    import torch

    model, batch = bench.load(), bench.batch()
    with torch.no_grad():
        output = model(**batch)
        if not bool(torch.isfinite(output.loss)):
            yield f"the loss is {output.loss.item()}"
        for row, example in enumerate(bench.examples):
            alone = model(**bench.collator([example], [bench.images[row]])).logits[0]
            difference = (output.logits[row, : len(alone)] - alone).abs().max().item()
            if difference > 1e-3:
                yield f"row {example.row}: logits in a batch differ by {difference:.2g} from those alone"


def training(bench: ConformanceFixture) -> Iterator[str]:
    """Gradients reach each part declared as trainable, with LoRA and in full."""
    batch = bench.batch()
    for part in PARTS:
        if bench.is_supported(f"lora_{part}"):
            yield from lora_findings(bench.load(), bench.family, part, batch)
    if bench.is_supported("full"):
        model = bench.load()
        model.requires_grad_(True)
        model.train()
        model(**batch).loss.backward()
        moved = {
            bench.family.parts.part_of(n) for n, p in model.named_parameters() if p.grad is not None and p.grad.any()
        }
        for part in sorted(set(PARTS) - moved):
            if getattr(bench.family.parts, part):
                yield f"full: no gradient reaches the {part} part"


def quantized_model(bench: ConformanceFixture) -> Iterator[str]:
    """nf4 and int8 load, quantize the language part and nothing else, and support LoRA."""
    for method in ("nf4", "int8"):
        if bench.is_supported(method):
            yield from quantization_findings(bench.load(method), bench.family, method, bench.batch())


def merging(bench: ConformanceFixture) -> Iterator[str]:
    """The merged model has the logits of the model with its adapter."""
    if bench.is_supported("merge"):
        yield from merge_findings(bench.load(), bench.family, bench.batch())


ConformanceCheck = Callable[[ConformanceFixture], Iterator[str]]
INPUT_CHECKS: Final[tuple[ConformanceCheck, ...]] = (
    image_tokens,
    supervised_labels,
    control_tokens_in_text,
    batches,
    prompts,
    split_encoding,
    parts,
)
WEIGHT_CHECKS: Final[tuple[ConformanceCheck, ...]] = (forward, training, quantized_model, merging)
