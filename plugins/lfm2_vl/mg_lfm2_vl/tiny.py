"""The recipe of a random LFM2-VL: an image is encoded whole, or as up to four tiles of four tokens and a thumbnail."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "hidden_size": 64,
            "intermediate_size": 96,
            "block_ff_dim": 96,
            "block_auto_adjust_ff_dim": False,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "layer_types": ["conv", "full_attention"] * 2,
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "model_type": "siglip2_vision_model",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": 14,
            "num_patches": 16,
            "vision_use_head": False,
        },
        "projector_hidden_size": 48,
        "downsample_factor": 2,
        "tie_word_embeddings": True,
    },
    processor=("Lfm2VlProcessor", {}),
    image_processor=(
        "Lfm2VlImageProcessor",
        {
            "tile_size": 56,
            "encoder_patch_size": 14,
            "min_image_tokens": 2,
            # An image of 1 to 31 is one column of tokens, which have to fit; one of 13 tokens is cut already.
            "max_image_tokens": 32,
            "max_pixels_tolerance": 0.4,
            "max_tiles": 4,
        },
    ),
    template=tiny_template("<image>"),
    tokens={
        "image_token": "<image>",
        "image_start_token": "<|image_start|>",
        "image_end_token": "<|image_end|>",
        "image_thumbnail_token": "<|img_thumbnail|>",
    },
    added=tuple(f"<|img_row_{row}_col_{column}|>" for row in range(1, 5) for column in range(1, 5)),
    token_ids={"image_token_id": "<image>"},
)
