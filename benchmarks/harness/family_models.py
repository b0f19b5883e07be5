"""The models that can be trained in the comparison: random, 100 to 200M parameters, each with its real vocabulary size.

Qwen2.5-VL is that of `model`. Qwen3-VL and Gemma 3 are made here from transformers' own configuration, model and
processor classes. Their tokenizers are trained on the spot; special tokens have the ids of the real ones, which
ms-swift has in its code. Weights are stored in bfloat16 and the configuration says float32, which is what everyone
trains in.

Their chat templates write the newline between turns before a turn, not after the last one: what is tokenized for one
question and its answer ends in the end of the turn, so that TRL supervises the tokens that we do and losses compare.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model import ADDED, SPECIAL, make_model, train_byte_pairs

_QWEN_TEMPLATE = (
    "{% for message in messages %}{% if not loop.first %}\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}\n<|im_start|>assistant\n{% endif %}"
)
_GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if not loop.first %}\n{% endif %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] | trim }}{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<start_of_image>"
    "{% elif content['type'] == 'text' %}{{ content['text'] | trim }}{% endif %}{% endfor %}{% endif %}<end_of_turn>"
    "{% endfor %}{% if add_generation_prompt %}\n<start_of_turn>model\n{% endif %}"
)
_GEMMA_IDS = {
    "<pad>": 0,
    "<eos>": 1,
    "<bos>": 2,
    "<unk>": 3,
    "<start_of_turn>": 105,
    "<end_of_turn>": 106,
    "<start_of_image>": 255_999,
    "<end_of_image>": 256_000,
    "<image_soft_token>": 262_144,
}
_GEMMA_FIRST_WORD = 3_000  # id of the first token of text; what lies between is never written


@dataclass(frozen=True, slots=True)
class BenchmarkModel:
    """A model of the comparison.

    Attributes:
        key: its `model_type`, and the value of `--model`.
        title: for the page.
        folder: name of its folder below `models`.
        make: writes the checkpoint into a folder, unless it is there.
        swift: what ms-swift calls its model type and its template.
        factory: LLaMA-Factory's template.
        first_aim, later_aim: samples per second over those of the best peer, 5 questions an image; first epoch, later.
        kinds, what, batches: what is measured unless asked otherwise.
    """

    key: str
    title: str
    folder: str
    make: Callable[[Path], None]
    swift: str
    factory: str
    first_aim: float
    later_aim: float
    kinds: tuple[str, ...] = ("vqa",)
    what: tuple[str, ...] = ("speed",)
    batches: tuple[int, ...] = (1, 2, 10)


def _make_once(folder: Path, config: Mapping[str, Any], tokenizer: Any, processor: Callable[[Any], Any]) -> None:
    """Write a random checkpoint of this configuration, unless it is there."""
    whole = folder / "whole"
    if whole.exists():
        return
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    folder.mkdir(parents=True, exist_ok=True)
    processor(tokenizer).save_pretrained(folder)
    torch.manual_seed(1234)
    made = AutoConfig.for_model(**config)
    model = AutoModelForImageTextToText.from_config(made, dtype=torch.float32).to(torch.bfloat16)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    _say_float32(folder / "config.json")
    whole.touch()


def _say_float32(file: Path) -> None:
    def changed(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: "float32" if k in ("dtype", "torch_dtype") else changed(inner) for k, inner in value.items()}

    file.write_text(json.dumps(changed(json.loads(file.read_text())), indent=2))


def make_qwen3_vl(folder: Path) -> None:
    """Qwen3-VL: 512 wide, 8 layers, a tower of 8 with features from three inner layers (deepstack)."""
    from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_byte_pairs(SPECIAL, ADDED), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    config = {
        "model_type": "qwen3_vl",
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "tie_word_embeddings": True,
        "text_config": {
            "hidden_size": 512,
            "intermediate_size": 2752,
            "num_hidden_layers": 8,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "vocab_size": 151_936,
            "max_position_embeddings": 262_144,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5_000_000.0, "mrope_section": [12, 10, 10]},
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        "vision_config": {
            "depth": 8,
            "hidden_size": 384,
            "intermediate_size": 1024,
            "num_heads": 6,
            "out_hidden_size": 512,
            "patch_size": 16,
            "deepstack_visual_indexes": [1, 3, 5],
        },
    }
    half = [0.5, 0.5, 0.5]
    images = Qwen2VLImageProcessor(
        min_pixels=3_136, max_pixels=12_845_056, patch_size=16, image_mean=half, image_std=half
    )

    def processor(made: Any) -> Any:
        return Qwen3VLProcessor(images, made, Qwen3VLVideoProcessor(patch_size=16), chat_template=_QWEN_TEMPLATE)

    _make_once(folder, config, tokenizer, processor)


def make_gemma3(folder: Path) -> None:
    """Gemma 3: 512 wide, 6 layers, five of them with a window; 256 tokens an image, as the published ones have.

    Images are 448 pixels a side, not 896, and the tower is 288 wide: so that tower and language model share the work of
    an example about as those of the 4B do.
    """
    from transformers import Gemma3ImageProcessor, Gemma3Processor, PreTrainedTokenizerFast

    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_gemma_tokenizer(),
        bos_token="<bos>",
        eos_token="<end_of_turn>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=named,
    )
    config = {
        "model_type": "gemma3",
        "mm_tokens_per_image": 256,
        "boi_token_index": _GEMMA_IDS["<start_of_image>"],
        "eoi_token_index": _GEMMA_IDS["<end_of_image>"],
        "image_token_index": _GEMMA_IDS["<image_soft_token>"],
        "tie_word_embeddings": True,
        "text_config": {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "query_pre_attn_scalar": 128,
            "sliding_window": 1_024,
            "vocab_size": 262_208,
            "max_position_embeddings": 131_072,
            "tie_word_embeddings": True,
        },
        "vision_config": {
            "hidden_size": 288,
            "intermediate_size": 1_152,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "image_size": 448,
            "patch_size": 14,
            "vision_use_head": False,
        },
    }
    images = Gemma3ImageProcessor(size={"height": 448, "width": 448}, image_seq_length=256)

    def processor(made: Any) -> Any:
        return Gemma3Processor(images, made, chat_template=_GEMMA_TEMPLATE, image_seq_length=256)

    _make_once(folder, config, tokenizer, processor)


def _gemma_tokenizer() -> Any:
    """Byte pairs at ids above the special tokens', which are the real ones."""
    from tokenizers import AddedToken, Tokenizer

    described = json.loads(train_byte_pairs((), (), fill=0).to_str())
    words = sorted(described["model"]["vocab"], key=described["model"]["vocab"].__getitem__)
    vocabulary = {token: number for token, number in _GEMMA_IDS.items() if number < 262_144}
    taken = set(vocabulary.values())
    vocabulary |= {word: _GEMMA_FIRST_WORD + number for number, word in enumerate(words)}
    taken |= set(vocabulary.values())
    vocabulary |= {f"<unused{number}>": number for number in range(262_144) if number not in taken}
    described["model"]["vocab"] = vocabulary
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _GEMMA_IDS])
    assert all(tokenizer.token_to_id(token) == number for token, number in _GEMMA_IDS.items())
    return tokenizer


MODELS = {
    model.key: model
    for model in (
        BenchmarkModel(
            "qwen2_5_vl",
            "Qwen2.5-VL",
            "mid-float32",
            make_model,
            "qwen2_5_vl",
            "qwen2_vl",
            first_aim=5.0,
            later_aim=7.0,
            kinds=("vqa", "captions", "single"),
            what=("speed", "memory"),
            batches=(1, 2),
        ),
        BenchmarkModel(
            "qwen3_vl", "Qwen3-VL", "qwen3-vl-float32", make_qwen3_vl, "qwen3_vl", "qwen3_vl_nothink", 3.0, 3.0
        ),
        BenchmarkModel("gemma3", "Gemma 3", "gemma3-float32", make_gemma3, "gemma3_vision", "gemma3", 3.0, 3.0),
    )
}
