"""Memory allocated for the whole run: weights by part, the adapter, gradients and optimizer state."""

from dataclasses import dataclass

from mg_tui.core.model_parts import PARTS, PartName
from mg_tui.hardware.memory.assumptions import (
    ADAMW_8BIT_BYTES,
    ADAMW_BYTES,
    FLOAT32_BYTES,
    NF4_BLOCK,
    NF4_SCALE_BLOCK,
    NF4_TABLES,
)
from mg_tui.hardware.memory.training_setup import TrainingSetup
from mg_tui.hardware.model_shape import LinearLayers, ModelShape, lora_parameters


@dataclass(frozen=True, slots=True)
class TrainableCounts:
    """Trained parameters of a part: `adapter` of LoRA, `whole` of the part itself."""

    adapter: int = 0
    whole: int = 0

    @property
    def numbers(self) -> int:
        """All of them."""
        return self.adapter + self.whole


def linears_of(shape: ModelShape, part: PartName) -> tuple[LinearLayers, ...]:
    """The linear layers of a part that LoRA is applied to: all but the output layer."""
    return {"language": shape.language.linears, "vision": shape.vision.linears, "projector": shape.projector}[part]


def parameters_of(shape: ModelShape, part: PartName) -> int:
    """Parameters of a part; the output layer is the language part's."""
    counts = {
        "language": shape.language_parameters,
        "vision": shape.vision.parameters,
        "projector": shape.projector_parameters,
    }
    return counts[part]


def trainable_counts(shape: ModelShape, setup: TrainingSetup) -> dict[PartName, TrainableCounts]:
    """Trained parameters, by part."""
    counts: dict[PartName, TrainableCounts] = {}
    for part in PARTS:
        if setup.methods[part] == "lora":
            adapter = lora_parameters(linears_of(shape, part), setup.rank, dora=setup.dora)
            counts[part] = TrainableCounts(adapter=adapter)
        elif setup.methods[part] == "full":
            counts[part] = TrainableCounts(whole=parameters_of(shape, part))
        else:
            counts[part] = TrainableCounts()
    return counts


def quantized_bytes(linears: tuple[LinearLayers, ...], method: str) -> float:
    """Bytes of the matrices of quantized layers, with their scales and tables, without biases."""
    weights = sum(linear.times * linear.weights for linear in linears)
    if method == "int8":
        return weights + FLOAT32_BYTES * sum(linear.times * linear.outputs for linear in linears)
    return weights / 2 + quantized_scale_bytes(linears)


def quantized_scale_bytes(linears: tuple[LinearLayers, ...]) -> float:
    """Bytes of the scales and tables of layers in 4 bits."""
    scales = sum(linear.times * linear.weights for linear in linears) / NF4_BLOCK
    layers = sum(linear.times for linear in linears)
    return scales + FLOAT32_BYTES * scales / NF4_SCALE_BLOCK + NF4_TABLES * layers


def base_bytes(shape: ModelShape, setup: TrainingSetup) -> dict[str, float]:
    """Bytes of the model as loaded: "language" (its blocks), "embedding" (with the output layer), vision, projector.

    A part trained in full is in float32; alongside LoRA it keeps its dtype, and a copy is trained (PEFT's
    `modules_to_save`).
    """

    def each(part: PartName) -> int:
        whole = setup.methods[part] == "full" and not setup.lora_anywhere
        return FLOAT32_BYTES if whole else setup.compute

    language = shape.language
    blocks: float = each("language") * language.parameters
    if setup.quantization != "none":
        blocks = quantized_bytes(language.linears, setup.quantization)
        blocks += setup.compute * (language.parameters - language.matrix_weights)
    return {
        "language": blocks,
        "embedding": each("language") * (shape.embedding_parameters + shape.head_parameters),
        "vision": each("vision") * shape.vision.parameters,
        "projector": each("projector") * shape.projector_parameters,
    }


def trainable_bytes(shape: ModelShape, setup: TrainingSetup) -> float:
    """Bytes of trained parameters outside the model: adapters, and copies of parts trained in full alongside them."""
    trainable = trainable_counts(shape, setup).values()
    copied = sum(counts.whole for counts in trainable) if setup.lora_anywhere else 0
    return FLOAT32_BYTES * (sum(counts.adapter for counts in trainable) + copied)


def optimizer_bytes(numbers: int, setup: TrainingSetup) -> float:
    """Bytes of the optimizer's state that must be on the device; a paged one may go to the host."""
    if setup.optimizer == "paged_adamw_8bit":
        return 0.0
    return numbers * (ADAMW_8BIT_BYTES if setup.optimizer == "adamw_8bit" else ADAMW_BYTES)


def autocast_bytes(shape: ModelShape, setup: TrainingSetup) -> dict[PartName, float]:
    """Bytes of the copies in the compute dtype that autocast makes of trained matrices, once in a forward pass.

    The output layer's copy is not part of the language part's (`head_autocast_bytes`).
    """
    copies: dict[PartName, float] = dict.fromkeys(PARTS, 0.0)
    if not setup.autocast:
        return copies
    for part, counts in trainable_counts(shape, setup).items():
        whole = sum(linear.parameters for linear in linears_of(shape, part)) if counts.whole else 0
        copies[part] = setup.compute * (counts.adapter + whole)
    return copies


def head_autocast_bytes(shape: ModelShape, setup: TrainingSetup) -> float:
    """Bytes of the copy that autocast makes of a trained output layer; embedding lookups need none."""
    return setup.compute * shape.embedding_parameters if setup.autocast and setup.methods["language"] == "full" else 0.0
