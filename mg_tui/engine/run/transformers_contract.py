"""The names of transformers that the engine depends on although they may change in any release.

Private names that are overridden, called or set, and public ones whose parameters have to match an override. All of
them are listed here, and `find_differences` compares the list with the installed version: a test does so in CI, for
the versions that pyproject allows. Nothing is checked while a run starts, since unsloth replaces some of these methods.

Versions: 5.23 is what the group `current` installs; the extra `unsloth` needs 5.17, which has no input for image
features (see `image_features_problem`).
"""

import importlib
import importlib.metadata
import inspect
from dataclasses import dataclass
from typing import Any, Final, Literal

_FIRST_WITH_IMAGE_FEATURES: Final = (5, 18)  # the first release whose models take `mm_encoder_outputs`


@dataclass(frozen=True, slots=True)
class LibraryName:
    """A name the engine depends on.

    Attributes:
        path: module and attributes, e.g. "transformers:Trainer.evaluate". Several separated by "|" are alternatives:
            which one exists depends on the version.
        use: what the engine does with it.
        where: the module of `mg_tui.engine` that uses it.
        parameters: names of its parameters, `self` left out; None when it is no function or any will do. Of an
            overridden method all of them in order, of a called one those that are given.
    """

    path: str
    use: Literal["overridden", "called", "set", "read"]
    where: str
    parameters: tuple[str, ...] | None = None


NAMES: Final = (
    # The Trainer's methods that `GardenTrainer` overrides.
    LibraryName("transformers:Trainer._get_grad_norm", "overridden", "run.trainer", ("model", "grad_norm")),
    LibraryName("transformers:Trainer._save_checkpoint", "overridden", "run.trainer", ("model", "trial")),
    LibraryName(
        "transformers:Trainer._load_from_checkpoint", "overridden", "run.trainer", ("resume_from_checkpoint", "model")
    ),
    LibraryName("transformers:Trainer.create_optimizer", "overridden", "run.trainer", ("model",)),
    LibraryName(
        "transformers:Trainer.evaluate",
        "overridden",
        "run.trainer",
        ("eval_dataset", "ignore_keys", "metric_key_prefix"),
    ),
    LibraryName("transformers:Trainer.floating_point_ops", "overridden", "run.trainer", ("inputs",)),
    LibraryName(
        "transformers:Trainer.get_batch_samples",
        "overridden",
        "run.trainer",
        ("epoch_iterator", "num_batches", "device"),
    ),
    LibraryName("transformers:Trainer.get_train_dataloader", "overridden", "run.trainer", ()),
    LibraryName("transformers:Trainer.num_examples", "overridden", "run.trainer", ("dataloader",)),
    LibraryName(
        "transformers:Trainer.training_step", "overridden", "run.trainer", ("model", "inputs", "num_items_in_batch")
    ),
    # What the engine calls or sets on the Trainer.
    LibraryName("transformers:Trainer._save_optimizer_and_scheduler", "called", "run.trainer", ("output_dir",)),
    LibraryName("transformers:Trainer._save_scaler", "called", "run.trainer", ("output_dir",)),
    LibraryName("transformers:Trainer._save_rng_state", "called", "run.trainer", ("output_dir",)),
    LibraryName("transformers:Trainer._get_learning_rate", "called", "run.reporter", ()),
    LibraryName("transformers:Trainer.get_decay_parameter_names", "called", "run.trainer", ("model",)),
    LibraryName("transformers:Trainer.get_optimizer_cls_and_kwargs", "called", "run.trainer", ("args", "model")),
    LibraryName("transformers:Trainer.__init__(optimizer_cls_and_kwargs)", "set", "run.trainer"),
    # Attention and gradient checkpointing.
    LibraryName("transformers:PretrainedConfig._attn_implementation", "set", "compute.attention"),
    LibraryName("transformers.masking_utils:sdpa_mask", "read", "compute.attention"),
    LibraryName(
        "transformers.integrations.sdpa_attention:sdpa_attention_forward",
        "called",
        "compute.attention",
        ("module", "query", "key", "value", "attention_mask", "dropout", "scaling"),
    ),
    LibraryName(
        "transformers:PreTrainedModel.activation_checkpointing_enable|gradient_checkpointing_enable",
        "called",
        "compute.activation_checkpointing",
    ),
    LibraryName(
        "transformers.modeling_layers:GradientCheckpointingLayer.gradient_checkpointing",
        "set",
        "compute.activation_checkpointing",
    ),
)


def supported_range() -> str:
    """The versions of transformers that this package allows, as its metadata say it: ">=5.17,<5.24"."""
    for line in importlib.metadata.requires("model-garden-tui") or ():
        requirement, _, marker = line.partition(";")
        if requirement.startswith("transformers") and not marker:
            return requirement.removeprefix("transformers").strip()
    return ""


def image_features_problem() -> str | None:
    """Why models cannot be given the features of images in place of pixels; None when they can."""
    version = importlib.metadata.version("transformers")
    if tuple(int(part) for part in version.split(".")[:2]) >= _FIRST_WITH_IMAGE_FEATURES:
        return None
    first = ".".join(map(str, _FIRST_WITH_IMAGE_FEATURES))
    return f"transformers {version} takes no image features in place of pixels ({first} does)"


def find_differences(names: tuple[LibraryName, ...] = NAMES) -> list[str]:
    """What of the list is missing in the installed libraries, or has other parameters; empty when nothing is."""
    differences = []
    for name in names:
        value = _resolve(name.path)
        if value is None:
            differences.append(f"{name.path} is missing")
        elif name.parameters is not None:
            actual = tuple(p for p in inspect.signature(value).parameters if p != "self")
            expected = name.parameters
            if actual != expected if name.use == "overridden" else not set(expected) <= set(actual):
                differences.append(f"{name.path} has the parameters {actual}, not {expected}")
    return differences


def _resolve(path: str) -> Any:
    """The object a path means, the first alternative that exists; None for none."""
    module, _, names = path.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = names.split(".")
    for name in outer:
        owner = getattr(owner, name, None)
    if last.endswith(")"):  # a parameter that is kept as an attribute of the same name
        function, _, parameter = last[:-1].partition("(")
        return inspect.signature(getattr(owner, function)).parameters.get(parameter)
    return next((value for name in last.split("|") if (value := getattr(owner, name, None)) is not None), None)
