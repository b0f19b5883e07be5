"""The recipe of a random SmolVLM2: an image is up to four tiles and the whole image, four tokens each."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 56,
            "patch_size": 14,
        },
        "scale_factor": 2,
        "tie_word_embeddings": False,
    },
    processor=("SmolVLMProcessor", {"image_seq_len": 4}),
    image_processor=(
        "SmolVLMImageProcessor",
        {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}},
    ),
    others={"video_processor": ("SmolVLMVideoProcessor", {})},
    template=tiny_template("<image>"),
    tokens={
        "image_token": "<image>",
        "fake_image_token": "<fake_token_around_image>",
        "end_of_utterance_token": "<end_of_utterance>",
        "global_image_token": "<global-img>",
    },
    # More than its own images have: `--max-pixels` can ask for larger ones.
    added=tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)),
    token_ids={"image_token_id": "<image>"},
)
