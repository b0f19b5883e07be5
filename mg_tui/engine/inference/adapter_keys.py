"""Why the keys of an adapter do not match its base model: renames that programs and versions differ by."""

from collections.abc import Collection
from typing import Final

# Where the language model and the vision tower stand: transformers before 4.52, and since.
_RENAMES: Final = (
    (".model.language_model.layers.", ".model.layers."),
    (".model.language_model.", ".language_model.model."),
    (".model.language_model.", ".language_model."),
    (".model.visual.", ".visual."),
)


def find_rename(missing: Collection[str], unknown: Collection[str]) -> str | None:
    """The rename that would make the keys of the file those of the model, in words; None when none of those tried does.

    Args:
        missing: keys that the model has and the file lacks.
        unknown: keys that the file has and the model lacks.
    """
    wanted = set(missing)
    if not unknown or not wanted:
        return None
    for now, then in _RENAMES:
        for old, new in ((then, now), (now, then)):
            if {key.replace(old, new, 1) for key in unknown} == wanted:
                return f"{old.strip('.')} renamed to {new.strip('.')}"
    return None


def tried_renames() -> str:
    """The renames that `find_rename` tries, in words."""
    return ", ".join(f"{then.strip('.')} ↔ {now.strip('.')}" for now, then in _RENAMES)
