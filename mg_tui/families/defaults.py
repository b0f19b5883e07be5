"""Defaults for any model that transformers loads by its Auto class for images and text.

Weights are read from safetensors files only, and a checkpoint's own code runs only with `trust_remote_code`.
"""

from collections.abc import Mapping
from typing import Any

from mg_tui.core.errors import EnvironmentProblem, FamilyError, GardenError, UsageError
from mg_tui.core.text import first_few, first_line
from mg_tui.families import hub
from mg_tui.families.collate import ExampleEncoder
from mg_tui.families.contract import FamilyInfo, LoadRequest, Preprocessing
from mg_tui.families.image_limits import limit_images


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
