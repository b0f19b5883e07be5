"""The recipe of a random LLaVA-OneVision."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

_GRIDS: Final = [[56, 56], [56, 112], [112, 56], [112, 112]]

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "model_type": "qwen2",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
            "vision_use_head": False,
        },
        "image_grid_pinpoints": _GRIDS,
        "tie_word_embeddings": False,
    },
    processor=("LlavaOnevisionProcessor", {"num_image_tokens": 16, "vision_feature_select_strategy": "full"}),
    image_processor=(
        "LlavaOnevisionImageProcessor",
        {"size": {"height": 56, "width": 56}, "image_grid_pinpoints": _GRIDS},
    ),
    others={"video_processor": ("LlavaOnevisionVideoProcessor", {})},
    template=tiny_template("<image>"),
    tokens={"image_token": "<image>", "video_token": "<video>"},
    token_ids={"image_token_index": "<image>", "video_token_index": "<video>"},
)
