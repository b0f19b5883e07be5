"""The recipe of a random Qwen3.5."""

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
            "head_dim": 32,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"] * 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 3, 3],
            },
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": 64,
            "patch_size": 14,
            "num_position_embeddings": 64,
        },
        "tie_word_embeddings": False,
    },
    processor=("Qwen3VLProcessor", {}),
    image_processor=("Qwen2VLImageProcessor", {"min_pixels": 3_136, "max_pixels": 12_544}),
    others={"video_processor": ("Qwen3VLVideoProcessor", {})},
    template=tiny_template("<|vision_start|><|image_pad|><|vision_end|>"),
    tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    added=("<|vision_start|>", "<|vision_end|>"),
    token_ids={
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    },
)
