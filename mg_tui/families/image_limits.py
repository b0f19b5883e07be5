"""Limits of an image's size: `--min-pixels` and `--max-pixels` as each family's processor has them, or refused.

A processor that resizes by area takes them as they are. A family with other rules (`ModelFamily.image_size`) translates
them into settings of its own, or names its own setting. No torch at import.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mg_tui.core.errors import FamilyError
from mg_tui.core.spec import TrainingSpec
from mg_tui.families import hub
from mg_tui.families.contract import FamilyInfo, Preprocessing
from mg_tui.families.processor_settings import processor_settings

_LIMITS: Final = ("min_pixels", "max_pixels")


def default_limits() -> Preprocessing:
    """The limits that nobody asked for."""
    return Preprocessing(*(TrainingSpec.model_fields[name].default for name in _LIMITS))


def differing_limits(limits: Preprocessing, usual: Preprocessing | None = None) -> list[str]:
    """Which of `min_pixels` and `max_pixels` differ from `usual`, by default from the defaults."""
    usual = usual or default_limits()
    return [name for name in _LIMITS if getattr(limits, name) != getattr(usual, name)]


def translated_settings(family: FamilyInfo, limits: Preprocessing) -> Mapping[str, Any]:
    """Settings of the image processor, by name, that the limits of a run become; {} where the checkpoint's own hold.

    Args:
        family: may translate limits (`ImageSize.translate`).
        limits: with the settings of the checkpoint's image processor.

    Raises:
        FamilyError: the family cannot keep images within these limits.
    """
    size = family.image_size
    if size is None or size.translate is None:
        return {}
    asked = {name: getattr(limits, name) for name in differing_limits(limits) if name in size.translated}
    return size.translate(asked, limits.settings) if asked else {}


def limit_images(family: FamilyInfo, processor: Any, limits: Preprocessing) -> Mapping[str, Any]:
    """Set a processor's limits of an image's size from those of a run; returns them by the names it has for them.

    {} where nothing was set, since it has other rules.

    Limits of a family with settings of its own are translated only if they differ from the defaults, which are those of
    an area: the checkpoint's own settings hold otherwise.

    Raises:
        FamilyError: see `translated_settings`.
    """
    if family.image_size is None:
        names = _LIMITS if limit_pixels(processor, limits) else ()
        return {name: getattr(limits, name) for name in names}
    settings = translated_settings(family, replace(limits, settings=processor_settings(processor)))
    for name, value in settings.items():
        setattr(processor.image_processor, name, _like(getattr(processor.image_processor, name, None), value))
    return settings


def known_limits(family: FamilyInfo, limits: Preprocessing) -> Mapping[str, Any]:
    """What `limit_images` would set, told without a processor: of a family without rules of its own, an area."""
    if family.image_size is None:
        return {name: getattr(limits, name) for name in _LIMITS}
    return translated_settings(family, limits)


def _like(present: Any, value: Any) -> Any:
    """A setting in the type of the present one: sizes have a class of their own."""
    return type(present)(**value) if isinstance(value, Mapping) and not isinstance(present, dict | None) else value


def limit_pixels(processor: Any, preprocessing: Preprocessing) -> bool:
    """Set the limits of a processor that resizes by area; returns False for other processors."""
    if not resizes_by_area(processor):
        return False
    images = processor.image_processor
    size = images.size
    # These are areas in pixels, whatever their names say. What is saved with a result has them too.
    images.size = type(size)(shortest_edge=preprocessing.min_pixels, longest_edge=preprocessing.max_pixels)
    for name in ("min_pixels", "max_pixels"):
        if getattr(images, name, None) is not None:
            setattr(images, name, getattr(preprocessing, name))
    return True


def own_pixel_limits(source: str, **hub_arguments: Any) -> tuple[int, int] | None:
    """The least and the most pixels that a checkpoint's own processor resizes images to.

    None where it has other rules, or cannot be loaded: `load_processor` says why.

    Raises:
        EnvironmentProblem: the Hub is unreachable, and the model is not cached.
    """
    from transformers import AutoImageProcessor

    folder, options = hub.resolve_source(source, hub_arguments)
    try:
        images = AutoImageProcessor.from_pretrained(folder, **options)
    except (ImportError, OSError, ValueError):
        return None
    if not _takes_areas(images):
        return None
    return int(images.size["shortest_edge"]), int(images.size["longest_edge"])


def resizes_by_area(processor: Any) -> bool:
    """Whether a processor keeps to limits of an image's area in pixels."""
    return _takes_areas(processor.image_processor)


def _takes_areas(images: Any) -> bool:
    accepted = getattr(getattr(images, "valid_kwargs", None), "__annotations__", {})
    return {"min_pixels", "max_pixels"} <= accepted.keys() and getattr(images, "size", None) is not None


def refuse_ignored_limits(family: FamilyInfo, limits: Preprocessing, usual: Preprocessing | None = None) -> None:
    """Refuse limits of an image's area that a family with other rules has no setting for. Needs no processor.

    Args:
        family: nothing is refused where it has no rules of its own.
        limits: those of the run.
        usual: those that nobody asked for; by default the defaults.

    Raises:
        FamilyError: naming the options, and the family's own setting.
    """
    size = family.image_size
    if size is None:
        return
    names = differing_limits(limits, usual)
    ignored = [name for name in names if size.translate is None or name not in size.translated]
    if ignored:
        raise _ignored_error(family, ignored, f"change {size.knob}", "its images follow other rules than an area")


def require_effective_limits(
    family: FamilyInfo, processor: Any, limits: Preprocessing, usual: Preprocessing | None = None
) -> None:
    """Refuse limits of an image's area that a processor with other rules would ignore.

    Args:
        family: knows what limits the size of its images instead.
        processor: from `load_processor`.
        limits: those of the run.
        usual: those that nobody asked for; by default the defaults.

    Raises:
        FamilyError: naming the options, and the family's own setting.
    """
    refuse_ignored_limits(family, limits, usual)
    names = differing_limits(limits, usual)
    if names and family.image_size is None and not resizes_by_area(processor):
        why = f"its {type(processor.image_processor).__name__} has other rules for the size of an image"
        raise _ignored_error(family, names, "make the images smaller themselves", why)


def _ignored_error(family: FamilyInfo, names: list[str], own: str, why: str) -> FamilyError:
    return FamilyError(
        f"{' and '.join(names)} would have no effect on {family.title}",
        why=why,
        hint=f"leave {' and '.join(names)} out; {own}",
    )
