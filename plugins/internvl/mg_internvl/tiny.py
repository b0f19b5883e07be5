"""The recipe of a random InternVL3.5: up to four tiles of four tokens, and a thumbnail."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "model_type": "qwen3",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": False,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "attention_bias": True,
        },
        "image_seq_length": 4,
        "tie_word_embeddings": False,
    },
    processor=("InternVLProcessor", {"image_seq_length": 4}),
    image_processor=("GotOcr2ImageProcessor", {"size": {"height": 56, "width": 56}, "max_patches": 4}),
    others={"video_processor": ("InternVLVideoProcessor", {})},
    template=tiny_template("<IMG_CONTEXT>"),
    tokens={
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
    token_ids={"image_token_id": "<IMG_CONTEXT>"},
)
