"""Problems in a family's declared data, found without weights, torch or a network."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from mg_tui.families.capabilities import derive, widened
from mg_tui.families.contract import (
    Attention,
    AttentionKind,
    CapabilityName,
    Checkpoint,
    Experimental,
    Parts,
    Preprocessing,
    Supported,
    Unsupported,
)
from mg_tui.families.family import ModelFamily
from mg_tui.families.image_contract import ImageSize, TokenLayout, Vision

CAPABILITIES: Final = frozenset(get_args(CapabilityName))
_KEY_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]*")
_IMAGE_SIZES: Final = ((224, 224), (640, 480), (480, 640), (1920, 1080), (33, 33))


def declaration_problems(family: ModelFamily) -> list[str]:
    """All problems in what the family declares, as sentences that begin with its key.

    Types are checked too: a plugin need not be type-checked.
    """
    name = str(family.key)
    return [f"{name}: {problem}" for problem in _declaration_problems(family)]


def _declaration_problems(family: Any) -> Iterator[str]:
    if not isinstance(family.key, str) or not _KEY_PATTERN.fullmatch(family.key):
        yield f"key {family.key!r} is not an identifier in lower case"
    if not isinstance(family.title, str) or not family.title.strip():
        yield "title is empty"
    yield from _text_tuple_problems("model_types", family.model_types, empty="the family can never be selected")
    yield from _part_problems(family.parts)
    yield from _checkpoint_problems(family.checkpoints)
    yield from _capability_problems(family.capabilities)
    for name in ("load_model", "load_processor", "make_collator"):
        if not callable(getattr(family, name)):
            yield f"{name} cannot be called"
    if family.image_tokens is not None and not callable(family.image_tokens):
        yield "image_tokens cannot be called"
    if not isinstance(family.llama_tokenizers, Mapping):
        yield "llama_tokenizers is not a mapping"
    yield from _image_problems(family)
    yield from _derived_problems(family)


def _image_problems(family: Any) -> Iterator[str]:
    layout = family.layout
    if layout is not None and not isinstance(layout, TokenLayout):
        yield f"layout is {type(layout).__name__}, not TokenLayout"
    elif layout is not None and (layout.grid is None) == (layout.pieces is None):
        yield "layout has both grid and pieces" if layout.grid else "layout has neither grid nor pieces"
    if not isinstance(family.attention, Attention):
        yield f"attention is {type(family.attention).__name__}, not Attention"
    elif family.attention.kind not in get_args(AttentionKind):
        yield f"attention.kind {family.attention.kind!r} is none of {', '.join(get_args(AttentionKind))}"
    if not isinstance(family.vision, Vision):
        yield f"vision is {type(family.vision).__name__}, not Vision"
    if family.image_size is not None and not isinstance(family.image_size, ImageSize):
        yield f"image_size is {type(family.image_size).__name__}, not ImageSize"


def _derived_problems(family: Any) -> Iterator[str]:
    """Capabilities that are promised although something declared rules them out."""
    if not (
        isinstance(family.capabilities, Mapping)
        and isinstance(family.attention, Attention)
        and (family.layout is None or isinstance(family.layout, TokenLayout))
    ):
        return
    for name, declared in family.capabilities.items():
        if name not in CAPABILITIES or not isinstance(declared, Supported | Experimental | Unsupported):
            continue
        derived = derive(name, str(family.title), family.layout, family.attention)
        if isinstance(derived, Unsupported) and widened(derived, declared):
            yield f"capability {name} is declared as {type(declared).__name__}, and cannot be: {derived.why}"


def _text_tuple_problems(name: str, value: Any, *, empty: str) -> Iterator[str]:
    if isinstance(value, str):
        yield f'{name} is a string; write ("{value}",)'
    elif not isinstance(value, tuple) or not all(isinstance(item, str) and item for item in value):
        yield f"{name} is not a tuple of texts"
    elif not value:
        yield f"{name} is empty: {empty}"
    elif len(set(value)) < len(value):
        yield f"{name} has duplicates: {', '.join(value)}"


def _part_problems(parts: Any) -> Iterator[str]:
    if not isinstance(parts, Parts):
        yield f"parts is {type(parts).__name__}, not Parts"
        return
    owners: dict[str, str] = {}
    for part in ("language", "projector", "vision"):
        prefixes = getattr(parts, part)
        problems = list(_text_tuple_problems(f"parts.{part}", prefixes, empty="name the modules"))
        # A model may have no projector of its own.
        yield from (problem for problem in problems if not (part == "projector" and prefixes == ()))
        for prefix in prefixes if not problems else ():
            if prefix in owners and owners[prefix] != part:
                yield f"{prefix} is in two parts, {owners[prefix]} and {part}"
            owners[prefix] = part


def _checkpoint_problems(checkpoints: Any) -> Iterator[str]:
    if not isinstance(checkpoints, tuple) or not all(isinstance(item, Checkpoint) for item in checkpoints):
        yield "checkpoints is not a tuple of Checkpoint"
        return
    names = [checkpoint.name for checkpoint in checkpoints]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"checkpoint {name} is listed twice"
    for checkpoint in checkpoints:
        if checkpoint.parameters <= 0:
            yield f"checkpoint {checkpoint.name} has {checkpoint.parameters} parameters"


def _capability_problems(capabilities: Any) -> Iterator[str]:
    if not isinstance(capabilities, Mapping):
        yield "capabilities is not a mapping"
        return
    for name, value in capabilities.items():
        if name not in CAPABILITIES:
            yield f"capability {name!r} is unknown; expected one of {', '.join(sorted(CAPABILITIES))}"
        if not isinstance(value, Supported | Experimental | Unsupported):
            yield f"capability {name} is {value!r}, not Supported(), Experimental(why) or Unsupported(why)"


def offline_problems(family: ModelFamily) -> list[str]:
    """Problems that need file access or a call to find, still without weights or torch.

    Bundled checkpoints exist and belong to the family; `image_tokens` returns plausible counts.
    """
    return [
        f"{family.key}: {problem}" for problem in (*_checkpoint_file_problems(family), *_image_token_problems(family))
    ]


def _checkpoint_file_problems(family: ModelFamily) -> Iterator[str]:
    from mg_tui.core.errors import GardenError
    from mg_tui.families.base_models import read_config

    for checkpoint in family.checkpoints:
        if checkpoint.path is None:
            continue
        try:
            model_type = read_config(checkpoint.path).get("model_type")
        except GardenError as error:
            yield f"checkpoint {checkpoint.name}: {error.what} ({checkpoint.path})"
            continue
        if model_type not in family.model_types:
            yield f"checkpoint {checkpoint.name} is of model type {model_type}, not {' or '.join(family.model_types)}"


def _image_token_problems(family: ModelFamily) -> Iterator[str]:
    if family.image_tokens is None:
        return
    small, large = Preprocessing(3_136, 200_704), Preprocessing(3_136, 1_003_520)
    for width, height in _IMAGE_SIZES:
        try:
            few, many = (family.image_tokens(width, height, limits) for limits in (small, large))
        except Exception as error:
            yield f"image_tokens({width}, {height}) raises {type(error).__name__}: {error}"
            return
        if not (isinstance(few, int) and isinstance(many, int) and 0 < few <= many):
            yield f"image_tokens({width}, {height}) is {few} at 200,704 pixels and {many} at 1,003,520"
