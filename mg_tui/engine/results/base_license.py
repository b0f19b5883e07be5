"""The license of a base model, from the head of its own model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_KEYS: Final = ("license", "license_name", "license_link")


def folder_license(folder: str | Path | None) -> dict[str, str]:
    """`license`, `license_name` and `license_link` of the card in a model's folder; empty where it says none."""
    card = Path(folder) / "README.md" if folder else None
    if card is None or not card.is_file():
        return {}
    from huggingface_hub import metadata_load

    try:
        head = metadata_load(card)
    except Exception:  # a card that somebody else wrote: YAML raises many types
        return {}
    return pick_license(head)


def pick_license(head: Any) -> dict[str, str]:
    """The keys of a card's head that are about its license; a list of licenses is one only if it has one entry."""
    if not isinstance(head, Mapping):
        return {}
    known: dict[str, str] = {}
    for key in _KEYS:
        value = head.get(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str) and value.strip() and "\n" not in value:
            known[key] = value.strip()
    # A name without `license: other` is refused by the Hub.
    return known if "license" in known else {}
