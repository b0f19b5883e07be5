"""Defaults for any model that transformers loads by its Auto class for images and text.

Weights are read from safetensors files only, and a checkpoint's own code runs only with `trust_remote_code`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mg_tui.core.errors import EnvironmentProblem, FamilyError, GardenError, UsageError
from mg_tui.core.spec import TrainingSpec
from mg_tui.core.text import first_few, first_line
from mg_tui.families import hub
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import FamilyInfo, LoadRequest, Preprocessing
from mg_tui.families.processor_settings import processor_settings

_LIMITS = ("min_pixels", "max_pixels")


def load_model(family: FamilyInfo, request: LoadRequest) -> Any:
    """The model with its weights, in evaluation mode, on the requested device.

    With `quantization` the linear layers of the language part are quantized (nf4 with double quantization, or int8);
    vision, projector and output layer keep the compute dtype: a 4-bit vision tower answers nonsense.

    Raises:
        EnvironmentProblem: the Hub is unreachable, or a dependency is not installed.
        UsageError: files are missing or damaged.
        FamilyError: the checkpoint does not fit the family or the request.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    arguments = {"revision": request.revision, "trust_remote_code": request.trust_remote_code}
    source, options = hub.resolve_source(request.source, arguments)
    try:
        if (quantization := _quantization_config(family, request, source, options)) is not None:
            # Left out otherwise: None would hide that the checkpoint itself is quantized.
            options["quantization_config"] = quantization
        model, report = AutoModelForImageTextToText.from_pretrained(
            source,
            dtype=getattr(torch, request.dtype),
            device_map={"": request.device},
            attn_implementation=request.attention,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except ImportError as error:
        raise EnvironmentProblem(
            "missing dependency of this model", where=request.source, why=first_line(error)
        ) from error
    except (OSError, ValueError) as error:
        raise hub.to_garden_error(error, request.source) from error
    except GardenError:
        raise
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise hub.to_garden_error(error, request.source) from error
    if missing := sorted(report.get("missing_keys", ())):
        raise FamilyError(
            f"{len(missing)} weights are missing from the checkpoint",
            where=request.source,
            why=first_few(missing, 3),
        )
    if request.quantization != "none":
        _check_quantized(model, family)
    return model.eval()


def load_processor(family: FamilyInfo, source: str, preprocessing: Preprocessing, **hub_arguments: Any) -> Any:
    """Tokenizer and image processor; one that resizes by area gets `min_pixels` and `max_pixels`.

    The image processor is the one transformers takes by default, which with torchvision installed (we require it) is
    torchvision's: loading the result elsewhere gives the same one. Pillow's gives slightly different pixels, so that
    a change of backend would be a change of input.

    Raises:
        EnvironmentProblem: the Hub is unreachable, or a dependency is not installed.
        UsageError: files are missing or damaged.
        FamilyError: the checkpoint's processor cannot take images and text.
    """
    from transformers import AutoProcessor

    folder, options = hub.resolve_source(source, hub_arguments)
    try:
        processor = AutoProcessor.from_pretrained(folder, **options)
    except ImportError as error:
        raise EnvironmentProblem(
            "missing dependency of this model's processor",
            where=source,
            why=first_line(error),
        ) from error
    except (OSError, ValueError) as error:
        raise hub.to_garden_error(error, source) from error
    if getattr(processor, "image_processor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise FamilyError(
            f"{family.title}: the checkpoint's processor does not accept images",
            where=source,
            why="preprocessor_config.json is missing or has no image processor",
        )
    if not processor.tokenizer.encode("a", add_special_tokens=False):
        # Without its files a tokenizer still loads, empty, and drops every character.
        raise UsageError("the model's tokenizer is missing", where=source, why="tokenizer.json is missing or empty")
    limit_images(family, processor, preprocessing)
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def limit_images(family: FamilyInfo, processor: Any, preprocessing: Preprocessing) -> bool:
    """Set a processor's limits of an image's size from those of a run; False where it has others, which stay.

    Limits of a family with settings of its own are translated only if they differ from the defaults, which are those of
    an area: the checkpoint's own settings hold otherwise.
    """
    size = family.image_size
    if size is None:
        return limit_pixels(processor, preprocessing)
    if size.translate is None or not differing_limits(preprocessing):
        return False
    known = replace(preprocessing, settings=processor_settings(processor))
    for name, value in size.translate(known).items():
        setattr(processor.image_processor, name, _like(getattr(processor.image_processor, name, None), value))
    return True


def _like(present: Any, value: Any) -> Any:
    """A setting in the type of the present one: sizes have a class of their own."""
    return type(present)(**value) if isinstance(value, Mapping) and not isinstance(present, dict | None) else value


def default_limits() -> Preprocessing:
    """The limits that nobody asked for."""
    return Preprocessing(*(TrainingSpec.model_fields[name].default for name in _LIMITS))


def differing_limits(limits: Preprocessing, usual: Preprocessing | None = None) -> list[str]:
    """Which of `min_pixels` and `max_pixels` differ from `usual`, by default from the defaults."""
    usual = usual or default_limits()
    return [name for name in _LIMITS if getattr(limits, name) != getattr(usual, name)]


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
    names = differing_limits(limits, usual)
    size = family.image_size
    if not names or (size.translate is not None if size is not None else resizes_by_area(processor)):
        return
    own = f"change {size.knob}" if size is not None else "make the images smaller themselves"
    raise FamilyError(
        f"{' and '.join(names)} would have no effect on {family.title}",
        why=f"its {type(processor.image_processor).__name__} has other rules for the size of an image",
        hint=f"leave {' and '.join(names)} out; {own}",
    )


def make_collator(
    family: FamilyInfo, processor: Any, preprocessing: Preprocessing, *, train_on_prompt: bool = False
) -> ExampleEncoder:
    """The collator for training and evaluation; it also encodes single examples and prompts."""
    return ExampleEncoder(family, processor, preprocessing, train_on_prompt=train_on_prompt)


def _quantization_config(family: FamilyInfo, request: LoadRequest, source: str, options: Mapping[str, Any]) -> Any:
    if request.quantization == "none":
        return None
    import torch
    from transformers import AutoConfig, BitsAndBytesConfig

    config = AutoConfig.from_pretrained(source, **options)
    already = getattr(config, "quantization_config", None)
    if already is not None:
        method = already.get("quant_method") if isinstance(already, dict) else getattr(already, "quant_method", None)
        if method == "bitsandbytes":
            return None
        raise UsageError(
            f"the checkpoint is already quantized ({method})",
            where=request.source,
            hint="use the original checkpoint",
        )
    # Names of modules, matched from the start up to a dot. Naming some replaces the library's own choice, which is the
    # output layer: it is named again, by the name that nearly every model gives it.
    skipped = [*family.parts.vision, *family.parts.projector, "lm_head"]
    if request.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, request.dtype),
        llm_int8_skip_modules=skipped,
    )


def _check_quantized(model: Any, family: FamilyInfo) -> None:
    """Require that exactly the intended layers are quantized: skip names that match nothing raise no error."""
    quantized = [
        name for name, module in model.named_modules() if type(module).__name__ in ("Linear4bit", "Linear8bitLt")
    ]
    wrong = [name for name in quantized if family.parts.part_of(name) in ("vision", "projector")]
    if wrong or not quantized:
        raise FamilyError(
            f"{family.title}: quantization failed",
            why=f"unexpectedly quantized: {first_few(wrong, 3)}" if wrong else "no layer was quantized",
            hint="load without quantization, and check the family's parts with `model-garden plugins --check`",
        )
