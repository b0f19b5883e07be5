"""`--family auto`: any model of transformers that takes images and text, by what nearly all of them have in common.

Loading, processor and collator are the defaults; batches are padded and the processor counts tokens. Nothing about the
architecture is known but the names that most of them give their parts, so nothing that follows from more is promised.
"""

from typing import Final

from mg_tui.families.contract import CapabilityName, Experimental, Parts, Unsupported
from mg_tui.families.family import ModelFamily

AUTO_KEY: Final = "auto"
# Names of modules in the models of transformers 5.23, longest prefixes first to win; those that a model lacks are
# ignored.
_PARTS: Final = Parts(
    language=("model.language_model", "model.text_model", "language_model", "lm_head", "model.lm_head"),
    projector=(
        "model.multi_modal_projector",
        "model.connector",
        "model.aligner",
        "model.mm_projector",
        "model.visual.merger",
        "model.visual.deepstack_merger_list",
        "model.embed_vision",
        "multi_modal_projector",
    ),
    vision=(
        "model.vision_tower",
        "model.visual",
        "model.vision_model",
        "model.vision_encoder",
        "model.image_tower",
        "vision_tower",
        "visual",
    ),
)
_UNVERIFIED: Final = "no family declares this architecture, and no test of it has run"
_CAPABILITIES: Final[tuple[CapabilityName, ...]] = (
    "lora_language",
    "lora_projector",
    "lora_vision",
    "full",
    "nf4",
    "int8",
    "multi_image",
    "merge",
)
NOT_GUARANTEED: Final = (
    "which layers belong to which part is taken from their names; batches are padded, no tokens are shared and no "
    "features are kept; rows are answered one at a time; nothing of it was verified for this architecture"
)


def make_auto_family(model_type: str) -> ModelFamily:
    """The generic family of a model type."""
    why = f"--family auto knows nothing about {model_type}"
    return ModelFamily(
        key=AUTO_KEY,
        title=f"{model_type}, generic",
        model_types=(model_type,),
        parts=_PARTS,
        capabilities={
            **dict.fromkeys(_CAPABILITIES, Experimental(_UNVERIFIED)),
            **dict.fromkeys(("shared_prefixes", "packing", "kept_features", "batched_generation"), Unsupported(why)),
        },
    )
