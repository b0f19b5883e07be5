"""The hook a plugin implements, and the entry-point group that plugins register in."""

from collections.abc import Iterable
from typing import Final

import pluggy

from mg_tui.families.family import ModelFamily

PROJECT_NAME: Final = "mg_tui"
ENTRY_POINT_GROUP: Final = "mg_tui.families"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def mg_model_families() -> Iterable[ModelFamily]:
    """Yield the model families of the plugin.

    A complete plugin is one module, e.g. `garden_smolvlm.py`, for a model that transformers loads by its Auto classes:

        from collections.abc import Iterator

        from mg_tui.families import Checkpoint, Experimental, ModelFamily, Parts, Supported, hookimpl

        SMOLVLM = ModelFamily(
            key="smolvlm",
            title="SmolVLM",
            model_types=("smolvlm",),
            parts=Parts(
                language=("model.text_model", "lm_head"),
                projector=("model.connector",),
                vision=("model.vision_model",),
            ),
            checkpoints=(
                Checkpoint("HuggingFaceTB/SmolVLM2-2.2B-Instruct", title="SmolVLM2 2.2B", parameters=2_246_784_880),
            ),
            capabilities={"lora_language": Supported(), "nf4": Experimental("not measured yet")},
        )


        @hookimpl
        def mg_model_families() -> Iterator[ModelFamily]:
            yield SMOLVLM

    and its distribution names the module in `pyproject.toml`:

        [project.entry-points."mg_tui.families"]
        smolvlm = "garden_smolvlm"

    A plugin must not import torch or transformers while it is imported or its hook is called; only
    `load_model`, `load_processor` and `make_collator` may, when they are called. `mg_tui.families.testing` checks what
    a family promises, and `model-garden plugins --check` runs it.
    """
    raise NotImplementedError
