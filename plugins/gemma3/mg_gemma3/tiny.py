"""The recipe of a random Gemma 3."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": 12,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        "mm_tokens_per_image": 4,
        "tie_word_embeddings": True,
    },
    processor=("Gemma3Processor", {"image_seq_length": 4}),
    image_processor=("Gemma3ImageProcessor", {"size": {"height": 56, "width": 56}}),
    template=tiny_template("<start_of_image>"),
    tokens={"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
    token_ids={
        "image_token_index": "<image_soft_token>",
        "boi_token_index": "<start_of_image>",
        "eoi_token_index": "<end_of_image>",
    },
)
