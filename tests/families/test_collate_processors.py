"""The default collator with processors of other families, made on the spot around the tiny checkpoint's tokenizer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessor,
    Gemma3ImageProcessor,
    Gemma3Processor,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from mg_tui.core.errors import FamilyError
from mg_tui.core.example import Example
from mg_tui.families import ModelFamily, Parts, Preprocessing
from mg_tui.families.collate import IGNORE_INDEX, ExampleEncoder
from mg_tui.families.image_limits import limit_pixels, require_effective_limits

LIMITS = Preprocessing(min_pixels=3_136, max_pixels=200_704)
OTHER = ModelFamily("other", "Other", ("other",), Parts(("model.language_model",), (), ("model.vision_tower",)))
IMAGE = Image.new("RGB", (200, 100), "red")


def template(shown: str) -> str:
    return (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
        + shown
        + "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer(tiny: Path, **named: str) -> Any:
    made = AutoTokenizer.from_pretrained(tiny)
    made.add_special_tokens({"additional_special_tokens": list(named.values())}, replace_extra_special_tokens=False)
    for name, token in named.items():
        setattr(made, name, token)
        setattr(made, f"{name}_id", made.convert_tokens_to_ids(token))
    return made


def llava(tiny: Path) -> Any:
    return LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=28),
        tokenizer(tiny, image_token="<image>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )


def llava_onevision(tiny: Path) -> Any:
    return LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size={"height": 28, "width": 28}, image_grid_pinpoints=[[28, 28], [28, 56]]),
        tokenizer(tiny, image_token="<image>", video_token="<video>"),
        LlavaOnevisionVideoProcessor(size={"height": 28, "width": 28}),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=template("<image>"),
    )


def gemma3(tiny: Path) -> Any:
    return Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer(tiny, boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>"),
        chat_template=template("<start_of_image>"),
        image_seq_length=4,
    )


def qwen3_vl(tiny: Path) -> Any:
    return Qwen3VLProcessor(
        AutoProcessor.from_pretrained(tiny).image_processor,
        tokenizer(tiny),
        Qwen3VLVideoProcessor(),
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )


@pytest.mark.parametrize("written_by", ["the template", "the tokenizer"])
def test_a_text_begins_with_one_token_that_begins_texts(
    tiny: Path, talk: Callable[..., Example], written_by: str
) -> None:
    """As Gemma's and Llama's do: the tokenizer adds it to every text, and most templates write it too."""
    processor = llava(tiny)
    begins = "<begins>"
    processor.tokenizer.add_special_tokens({"bos_token": begins})
    number = processor.tokenizer.convert_tokens_to_ids(begins)
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{begins} $A", special_tokens=[(begins, number)]
    )
    assert processor.tokenizer("a")["input_ids"][0] == number
    if written_by == "the template":
        processor.chat_template = "{{ bos_token }}" + template("<image>")
    encoder = ExampleEncoder(OTHER, processor, LIMITS)
    examples = [talk("what?", "blue", images=1), talk("a longer question?", "no", "sure?", "yes")]
    batch = encoder(examples, [[IMAGE], []])
    assert batch["input_ids"][:, 0].tolist() == [number, number]
    assert (batch["input_ids"] == number).sum(-1).tolist() == [1, 1]
    prompts = encoder.encode_prompts([example.prompt for example in examples], [[IMAGE], []])["input_ids"]
    assert (prompts == number).sum(-1).tolist() == [1, 1]
    for example in examples:
        assert encoder.tokenize_with_supervision(example)[0].count(number) == 1
        assert encoder.tokenize_prompt(example.prompt).count(number) == 1


@pytest.mark.parametrize(
    ("make", "by_area"), [(llava, False), (llava_onevision, False), (gemma3, False), (qwen3_vl, True)]
)
def test_labels_cover_the_answers(
    tiny: Path, talk: Callable[..., Example], make: Callable[[Path], Any], by_area: bool
) -> None:
    processor = make(tiny)
    assert limit_pixels(processor, LIMITS) is by_area
    encoder = ExampleEncoder(OTHER, processor, LIMITS)
    shown = processor.image_token
    assert shown in encoder.template.control_tokens

    examples = [
        talk(f"and {shown}?", "blue", images=1),
        talk("these?", f"ok {shown}", images=2),
        talk("none?", "right"),
    ]
    images = [[IMAGE], [IMAGE, IMAGE], []]
    batch = encoder(examples, images)
    answers = [processor.tokenizer.decode(row[row != IGNORE_INDEX]) for row in batch["labels"]]
    assert answers == ["blue<|im_end|>", f"ok {shown}<|im_end|>", "right<|im_end|>"]

    number = processor.tokenizer.convert_tokens_to_ids(shown)
    counts = (batch["input_ids"] == number).sum(-1).tolist()
    assert [count > 0 for count in counts] == [True, True, False]
    for row, example in enumerate(examples):
        alone = encoder.encode(example, images[row])
        length = len(alone.input_ids)
        assert batch["input_ids"][row, :length].tolist() == alone.input_ids.tolist()
        assert batch["labels"][row, :length].tolist() == alone.labels.tolist()


@pytest.mark.parametrize(("make", "by_area"), [(llava, False), (gemma3, False), (qwen3_vl, True)])
def test_limits_without_effect_are_refused(tiny: Path, make: Callable[[Path], Any], by_area: bool) -> None:
    processor, smaller = make(tiny), replace(LIMITS, max_pixels=LIMITS.max_pixels // 2)
    require_effective_limits(OTHER, processor, LIMITS, LIMITS)
    if by_area:
        require_effective_limits(OTHER, processor, smaller, LIMITS)
        return
    with pytest.raises(FamilyError, match=r"^max_pixels would have no effect") as caught:
        require_effective_limits(OTHER, processor, smaller, LIMITS)
    assert type(processor.image_processor).__name__ in str(caught.value)
