"""The recipe of a random Mistral 3: an image is up to four rows of up to four tokens."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "model_type": "mistral",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "sliding_window": None,
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "model_type": "pixtral",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "head_dim": 16,
            "image_size": 112,
            "patch_size": 14,
        },
        "spatial_merge_size": 2,
        "tie_word_embeddings": False,
    },
    processor=("PixtralProcessor", {"patch_size": 14, "spatial_merge_size": 2}),
    image_processor=(
        "PixtralImageProcessor",
        {"size": {"longest_edge": 112}, "patch_size": {"height": 14, "width": 14}},
    ),
    template=tiny_template("[IMG]"),
    tokens={"image_token": "[IMG]"},
    added=("[IMG_BREAK]", "[IMG_END]"),
    token_ids={"image_token_index": "[IMG]"},
)
