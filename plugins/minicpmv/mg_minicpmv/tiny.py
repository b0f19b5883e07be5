"""The recipe of a random MiniCPM-V 4.6."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "model_type": "qwen3_5_text",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "layer_types": ["linear_attention", "full_attention"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [2, 3, 3],
            },
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 112,
            "patch_size": 14,
        },
        "insert_layer_id": 0,
        "image_size": 112,
        "tie_word_embeddings": False,
    },
    processor=("MiniCPMV4_6Processor", {}),
    image_processor=("MiniCPMV4_6ImageProcessor", {"scale_resolution": 112, "max_slice_nums": 2}),
    others={"video_processor": ("MiniCPMV4_6VideoProcessor", {})},
    template=tiny_template("<|image_pad|>"),
    tokens={
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    },
    token_ids={"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"},
)
