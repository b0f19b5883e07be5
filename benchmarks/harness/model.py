"""A random Qwen2.5-VL of 134.7M parameters with the real vocabulary, laid out as the hub's checkpoints are.

Flat `config.json`, `visual.*` and `model.*` names, the older `rope_scaling: mrope`: so that old and new versions of
transformers, which the peers bring, load it alike. The tokenizer is trained on the spot on made-up words and filled up
with entries nothing reaches, so that the special tokens have the ids of the real one. Weights are stored in bfloat16,
and the configuration says float32, which is what every peer trains in.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
]
ADDED = [
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
]
TEXT_IDS = 151_643  # the real tokenizer's ids below its special tokens
VOCABULARY = 151_936
TRAINED_VOCABULARY = 4_000
PRETOKENIZER_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: "
    "{% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video {{ video_count.value }}: "
    "{% endif %}<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% endif %}"
)


def make_model(folder: Path) -> None:
    """Write the checkpoint and its processor, unless they are there already."""
    whole = folder / "whole"
    if whole.exists():
        return
    make_files(folder)
    _save_weights(folder)
    whole.touch()


def make_files(folder: Path, config: dict[str, Any] | None = None) -> None:
    """Write everything but the weights; `config` replaces the configuration by one with the same vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_byte_pairs(SPECIAL, ADDED)
    ids = {token: tokenizer.token_to_id(token) for token in (*SPECIAL, *ADDED)}
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder, "config.json", config or _config(ids))
    _write_json(folder, "generation_config.json", _generation(ids))
    _write_json(folder, "preprocessor_config.json", _preprocessor())
    _write_json(folder, "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    _write_json(folder, "tokenizer_config.json", _tokenizer_config(ids))
    supervised = json.loads((folder / "tokenizer.json").read_text())["model"]
    _write_json(folder, "vocab.json", supervised["vocab"])
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in supervised["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")


def _write_json(folder: Path, name: str, content: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False))


def generate_corpus(lines: int = 20_000) -> Iterator[str]:
    """Made-up sentences that a tokenizer is trained on."""
    chosen = random.Random(0)
    consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
    made_up = [
        "".join(chosen.choice(consonants) + chosen.choice(vowels) for _ in range(chosen.randint(1, 4)))
        for _ in range(3000)
    ]
    real = (
        "what colour color is the how many shapes are there in picture image which shape left right of top bottom "
        "large small red green blue yellow purple orange cyan magenta circle square triangle star background yes no "
        "one two three four five answer question user assistant system you helpful an briefly with a word"
    ).split()
    for _ in range(lines):
        words = chosen.randint(4, 14)
        line = [chosen.choice(real) if chosen.random() < 0.6 else chosen.choice(made_up) for _ in range(words)]
        yield " ".join(line) + chosen.choice("?.!") + "\n"


def train_byte_pairs(special: Sequence[str], added: Sequence[str], fill: int = TEXT_IDS) -> Any:
    """A tokenizer of byte pairs, trained on made-up sentences; entries that nothing reaches fill it up to `fill`.

    Args:
        special, added: further tokens, special ones first; they get the ids after those of text.
        fill: ids of text.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(models.BPE(byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZER_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(vocab_size=TRAINED_VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(generate_corpus(), trainer)
    described = json.loads(tokenizer.to_str())
    vocabulary = described["model"]["vocab"]
    for number in range(len(vocabulary), fill):
        vocabulary[f"<unused{number}>"] = number
    tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in added])
    return tokenizer


def _config(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": 512,
        "initializer_range": 0.02,
        "intermediate_size": 2752,
        "max_position_embeddings": 128_000,
        "max_window_layers": 8,
        "num_attention_heads": 8,
        "num_hidden_layers": 8,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1_000_000.0,
        "sliding_window": 32_768,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 8,
            "hidden_act": "silu",
            "hidden_size": 384,
            "intermediate_size": 1024,
            "num_heads": 6,
            "in_chans": 3,
            "out_hidden_size": 512,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [1, 3, 5, 7],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
            "model_type": "qwen2_5_vl",
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "vocab_size": VOCABULARY,
    }


def _generation(ids: dict[str, int]) -> dict[str, Any]:
    return {
        "bos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
    }


def _preprocessor() -> dict[str, Any]:
    return {
        "min_pixels": 3136,
        "max_pixels": 12_845_056,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }


def _tokenizer_config(ids: dict[str, int]) -> dict[str, Any]:
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(number): {"content": token, **plain, "special": token in SPECIAL} for token, number in ids.items()
        },
        "additional_special_tokens": SPECIAL[1:],
        "chat_template": CHAT_TEMPLATE,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131_072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def _save_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    torch.manual_seed(1234)
    model = Qwen2_5_VLForConditionalGeneration(AutoConfig.from_pretrained(folder))
    weights = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): tensor.detach()
        .to(torch.bfloat16)
        .contiguous()
        .clone()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embeddings
    }
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
