"""From a spec to its memory estimate: the base model's shape and the dataset's row sizes, determined offline.

No model is loaded or downloaded; images given by URL are downloaded as for a run. The shape of a model that is not on
this machine comes from the checkpoints its family lists; otherwise it is reported as unknown.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.config import Settings
from mg_tui.core.errors import DataError, FamilyError
from mg_tui.core.named_datasets import resolve_named_datasets
from mg_tui.core.spec import TrainingSpec
from mg_tui.data.policy import ALLOW_ALL, ReadPolicy
from mg_tui.hardware.memory import ExampleSize, ImageTokenCount, MemoryAdvisor
from mg_tui.hardware.memory.training_setup import DeviceKind
from mg_tui.hardware.model_shape import ModelShape

if TYPE_CHECKING:
    from mg_tui.core.example import Example, Message
    from mg_tui.data.dataset import Dataset
    from mg_tui.families.registry import ResolvedModel

# Estimates of the tokens that a chat template adds: its own system message, and the markers of a turn and an image.
# `mg_tui.preflight.loaded_dataset_check` has upper bounds of the same three.
TEMPLATE_TOKENS: Final = 24
TURN_TEMPLATE_TOKENS: Final = 5
IMAGE_TEMPLATE_TOKENS: Final = 2
# Bytes of UTF-8 per token without a tokenizer on this machine: fewer than in most text, so that counts are not too low.
BYTES_PER_TOKEN: Final = 3


def make_advisor(
    spec: TrainingSpec,
    settings: Settings,
    *,
    cwd: Path,
    dataset: "Dataset | None" = None,
    rows: Sequence[ExampleSize] | None = None,
    read_dataset: bool = True,
    device: DeviceKind = "cuda",
) -> MemoryAdvisor:
    """The advisor for the memory of `spec`: it estimates the need and suggests changes that fit.

    Args:
        spec: the run; relative paths in it are resolved against `cwd`.
        dataset: the loaded dataset, if there is one.
        rows: its row sizes, if they have been measured (`example_sizes`).
        read_dataset: load the spec's dataset when neither is given; otherwise a typical row is assumed.
        device: the kind of device.

    Raises:
        FamilyError: no family supports the base model, or its size is unknown until it is downloaded.
        DataError: the dataset cannot be read, or no row can be trained on.
    """
    from mg_tui.families.registry import load_registry

    model = load_registry().resolve(spec.base_model, revision=spec.revision, choice=spec.family)
    if rows is None:
        if dataset is None and read_dataset:
            dataset = load_dataset_headers(spec, settings, cwd=cwd)
        rows = example_sizes(dataset, model, spec) if dataset is not None else ()
    return MemoryAdvisor(
        shape=model_shape(model),
        spec=spec,
        rows=tuple(rows),
        image_tokens=image_token_counter(model, spec),
        device=device,
        can_pack=model.family is not None and model.family.layout is not None,
    )


def process_count(spec: TrainingSpec, gpus: Sequence[str] = ()) -> int:
    """Training processes of a run on all machines: one for each named GPU, else as the spec says."""
    return (len(gpus) or spec.processes or 1) * spec.nodes


def model_shape(model: "ResolvedModel") -> ModelShape:
    """The shape of a base model.

    Raises:
        FamilyError: it cannot be determined on this machine.
        UsageError: its weight files are damaged, or its configuration lacks a size.
    """
    family, config, folder = model.family, model.config, _model_folder(model)
    if family is None:
        raise FamilyError(
            f"the size of {model.name} is unknown until it is downloaded",
            hint="download it, or use a local checkpoint folder",
        )
    if config is None:
        config = next((item.config for item in family.checkpoints if item.name == model.name), None)
    if config is not None and family.shape is not None:
        try:
            return family.shape(config)
        except KeyError as error:
            raise FamilyError(
                f"{family.title}: config.json is missing a size", where=model.source, why=f"no {error.args[0]}"
            ) from None
    if config is None or folder is None:
        raise FamilyError(
            f"the size of {model.name} is unknown until it is downloaded",
            why=f"{family.title} does not list its configuration",
            hint="download it, or use a local checkpoint folder",
        )
    from mg_tui.hardware.checkpoint_shape import infer_model_shape, read_tensor_shapes

    return infer_model_shape(config, read_tensor_shapes(folder), family.parts.part_of)


def image_token_counter(model: "ResolvedModel", spec: TrainingSpec) -> ImageTokenCount | None:
    """The family's counter of image tokens, 0 for sizes it does not support; None when the family has no counter."""
    from mg_tui.preflight import token_counter

    count = token_counter.family_image_tokens(model, spec.system_prompt)
    if count is None:
        return None

    def tokens(width: int, height: int, min_pixels: int, max_pixels: int) -> int:
        try:
            return count(width, height, min_pixels, max_pixels)
        except DataError:
            return 0

    return tokens


def load_dataset_headers(
    spec: TrainingSpec,
    settings: Settings,
    *,
    cwd: Path,
    progress: Callable[[int, int], None] | None = None,
    policy: ReadPolicy = ALLOW_ALL,
) -> "Dataset":
    """The spec's dataset with image sizes from their headers.

    Args:
        spec: the run; relative paths in it are resolved against `cwd`.
        progress: called with (images done, images); an exception it raises ends the loading.
        policy: where data may be read from.

    Raises:
        DataError: it cannot be read.
    """
    from mg_tui.data.from_spec import load_dataset_from_spec

    resolved = resolve_named_datasets(spec, settings.datasets, settings.train)
    return load_dataset_from_spec(
        resolved, cwd=cwd, cache=settings.cache, check_images="header", progress=progress, policy=policy
    )


def example_sizes(dataset: "Dataset", model: "ResolvedModel", spec: TrainingSpec) -> tuple[ExampleSize, ...]:
    """The sizes of a dataset's examples for the memory estimate, in the order of the dataset.

    Text is counted by the model's tokenizer if it is on this machine, else by its bytes; the template's own tokens are
    estimated. Image sizes come from the headers.

    Raises:
        DataError: no row can be trained on.
    """
    if not dataset.examples:
        raise DataError("no row can be trained on", where=str(dataset.path))
    count_tokens = _text_counter(model)
    answers = count_tokens(_supervised_text(example) for example in dataset.examples)
    prompts = count_tokens(_unsupervised_text(example) for example in dataset.examples)
    rows = []
    for example, answer, prompt in zip(dataset.examples, answers, prompts, strict=True):
        infos = [dataset.image_infos[ref.path] for ref in example.images]
        template = TEMPLATE_TOKENS + TURN_TEMPLATE_TOKENS * len(example.messages) + IMAGE_TEMPLATE_TOKENS * len(infos)
        text = answer + prompt + template
        supervised = text if spec.train_on_prompt else answer + 1  # plus the end-of-turn token
        rows.append(ExampleSize(text, supervised, tuple((info.width, info.height) for info in infos)))
    return tuple(rows)


def _supervised_text(example: "Example") -> str:
    return "\n".join(message.text for message in example.messages if _is_supervised(message))


def _unsupervised_text(example: "Example") -> str:
    return "\n".join(message.text for message in example.messages if not _is_supervised(message))


def _is_supervised(message: "Message") -> bool:
    return message.role == "assistant" and message.supervised


def _text_counter(model: "ResolvedModel") -> Any:
    file = _tokenizer_file(model)
    if file is None:
        return _count_by_bytes
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # loading the model reports what is wrong with it
        return _count_by_bytes

    def count(texts: Iterable[str]) -> list[int]:
        encodings: Sequence[Any] = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    return count


def _count_by_bytes(texts: Iterable[str]) -> list[int]:
    return [-(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN) for text in texts]


def _tokenizer_file(model: "ResolvedModel") -> Path | None:
    folder = _model_folder(model)
    file = folder / "tokenizer.json" if folder is not None else None
    return file if file is not None and file.is_file() else None


def _model_folder(model: "ResolvedModel") -> Path | None:
    if model.local:
        return Path(model.source)
    from mg_tui.families import hub

    return hub.cached_snapshot(model.source)
