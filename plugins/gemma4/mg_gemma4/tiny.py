"""The recipe of a random Gemma 4: with per-layer embeddings, shared keys, and images whose tokens see each other."""

from typing import Final

from mg_tui.families import TinyCheckpoint
from mg_tui.families.tiny_checkpoints import tiny_template

_PATCHES: Final = {"patch_size": 4, "pooling_kernel_size": 3}

TINY: Final = TinyCheckpoint(
    config={
        "text_config": {
            # Narrow, with one layer in the tower: its many norms amplify the rounding of float32.
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "global_head_dim": 32,
            "sliding_window": 12,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "use_double_wide_mlp": True,
            "use_bidirectional_attention": "vision",
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": 480,
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "position_embedding_size": 256,
            **_PATCHES,
        },
        "tie_word_embeddings": True,
    },
    processor=("Gemma4Processor", {}),
    image_processor=("Gemma4ImageProcessor", {"max_soft_tokens": 70, **_PATCHES}),
    others={
        "video_processor": ("Gemma4VideoProcessor", {}),
        "feature_extractor": ("Gemma4AudioFeatureExtractor", {}),
    },
    template=tiny_template("<|image|>"),
    tokens={
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
        "audio_token": "<|audio|>",
    },
    added=("<|video|>",),
    token_ids={
        "boi_token_id": "<|image>",
        "eoi_token_id": "<image|>",
        "image_token_id": "<|image|>",
        "video_token_id": "<|video|>",
        "audio_token_id": "<|audio|>",
    },
)
