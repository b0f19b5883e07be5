"""The recipe of a random GLM-4.1V."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [1, 1, 2],
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
            "image_size": 112,
        },
        "tie_word_embeddings": False,
    },
    processor=("Glm4vProcessor", {}),
    image_processor=("Glm4vImageProcessor", {"size": {"shortest_edge": 6_272, "longest_edge": 25_088}}),
    others={"video_processor": ("Glm4vVideoProcessor", {})},
    template=tiny_template("<|begin_of_image|><|image|><|end_of_image|>"),
    tokens={"image_token": "<|image|>", "video_token": "<|video|>"},
    added=("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
    token_ids={
        "image_token_id": "<|image|>",
        "video_token_id": "<|video|>",
        "image_start_token_id": "<|begin_of_image|>",
        "image_end_token_id": "<|end_of_image|>",
        "video_start_token_id": "<|begin_of_video|>",
        "video_end_token_id": "<|end_of_video|>",
    },
)
