"""Random checkpoints with a family's real classes at a small size, made on this machine from its recipe.

Configuration, model, processor and tokenizer are those that transformers has for the architecture; the tokenizer is
trained on the spot. For the conformance kit, the demo and tests: such a model knows nothing.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mg_tui.core.errors import FamilyError
from mg_tui.families.family import ModelFamily
from mg_tui.families.image_contract import TinyCheckpoint

_END: Final = "<|im_end|>"
_PAD: Final = "<pad>"
_LINES: Final = (
    "what is this? a zebra, I think. how many? seven of them. are you sure? quite. and now? two lines follow.",
    "what shape is it? what color is the large one? how many shapes are there? is it red, blue, green or yellow?",
    "the quick brown fox jumps over the lazy dog, and then describes the image in one short sentence.",
    "user assistant model system\n\n\n one two three four five six seven eight nine ten\n\n circle square triangle",
)
_VOCABULARY: Final = 420  # 256 bytes, and some merges


def tiny_template(image: str) -> str:
    """A chat template with turns of its own tokens; `image` is what it writes for an image."""
    return (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content %}{% if c.type == 'image' %}" + image + "{% else %}{{ c.text }}{% endif %}{% endfor %}"
        "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def make_tiny_checkpoint(family: ModelFamily, folder: Path, *, seed: int = 0) -> Path:
    """Write a random checkpoint of `family` into `folder`; returns the folder.

    Args:
        family: has a recipe, `tiny`.
        folder: created if missing.
        seed: of the weights.

    Raises:
        FamilyError: the family has no recipe, or its classes refuse it.
    """
    recipe = _recipe_of(family)
    tokenizer = make_tiny_processor(family, folder).tokenizer
    model = _make_model(family, recipe, tokenizer, seed)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    return folder


def make_tiny_processor(family: ModelFamily, folder: Path) -> Any:
    """Write what `make_tiny_checkpoint` writes beside the model, raising as it does; returns the processor."""
    recipe = _recipe_of(family)
    folder.mkdir(parents=True, exist_ok=True)
    processor = _make_processor(recipe, _make_tokenizer(recipe))
    processor.save_pretrained(folder)
    return processor


def _recipe_of(family: ModelFamily) -> TinyCheckpoint:
    if family.tiny is None:
        raise FamilyError(f"{family.title} has no recipe for a tiny checkpoint", hint="give the path of a small one")
    return family.tiny


def tiny_config(family: ModelFamily, tokenizer: Any) -> dict[str, Any]:
    """The keys of the recipe's `config.json`, with the tokenizer's ids filled in."""
    recipe = family.tiny
    assert recipe is not None
    config: dict[str, Any] = copy.deepcopy(json.loads(json.dumps(recipe.config)))
    ids = {key: tokenizer.convert_tokens_to_ids(token) for key, token in recipe.token_ids.items()}
    text = f"{recipe.text_config}." if recipe.text_config else ""
    filled = {f"{text}vocab_size": len(tokenizer), **ids}
    for name in ("pad", "eos", "bos"):
        filled[f"{text}{name}_token_id"] = getattr(tokenizer, f"{name}_token_id")
    for key, value in filled.items():
        *outer, last = key.split(".")
        inner = config
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return config


def _make_model(family: ModelFamily, recipe: TinyCheckpoint, tokenizer: Any, seed: int) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.for_model(family.model_types[0], **tiny_config(family, tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        _randomize(model)
    return model.eval()


def _randomize(model: Any) -> None:
    """Weights of a size at which every part matters: initial ones are zeros or so small that mistakes hide."""
    import torch

    with torch.no_grad():
        for _name, weight in sorted(model.named_parameters()):
            if weight.dim() > 1:
                weight.normal_(std=min(0.5, weight.shape[-1] ** -0.5))
            elif not bool(weight.any()):
                weight.normal_(std=0.1)


def _make_tokenizer(recipe: TinyCheckpoint) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    named = dict(recipe.tokens)
    special = list(dict.fromkeys([_PAD, _END, "<|im_start|>", *named.values(), *recipe.added]))
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY + len(special),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_LINES * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=_END, pad_token=_PAD, extra_special_tokens={**named}, padding_side="right"
    )


def _make_processor(recipe: TinyCheckpoint, tokenizer: Any) -> Any:
    import transformers

    def build(part: tuple[str, Mapping[str, Any]], **more: Any) -> Any:
        name, options = part
        return getattr(transformers, name)(**{**options, **more})

    others = {argument: build(part) for argument, part in recipe.others.items()}
    return build(
        recipe.processor,
        image_processor=build(recipe.image_processor),
        tokenizer=tokenizer,
        chat_template=recipe.template,
        **others,
    )
