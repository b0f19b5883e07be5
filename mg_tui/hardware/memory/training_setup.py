"""The parts of a spec that determine memory, resolved for a kind of device as the engine resolves them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mg_tui.core.model_parts import PartName
from mg_tui.core.spec import TrainingMethod, TrainingSpec

DeviceKind = Literal["cuda", "cpu"]
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """How a run computes.

    Attributes:
        device: where.
        compute: bytes of a number in the compute dtype, `dtype` its name.
        quantization: of the language model's linear layers.
        methods: how each part is trained.
        rank, dora, dropout: of LoRA.
        checkpointing: activations are computed again in the backward pass.
        interval: of every so many blocks one is computed again; the others keep their activations.
        optimizer: which AdamW.
        packed: examples are packed into one sequence a forward pass; otherwise they are padded side by side.
        fused_attention: attention never holds the matrix of its weights.
    """

    device: DeviceKind
    compute: int
    dtype: str
    quantization: Literal["nf4", "int8", "none"]
    methods: Mapping[PartName, TrainingMethod]
    rank: int
    dora: bool
    dropout: bool
    checkpointing: bool
    interval: int
    optimizer: str
    packed: bool
    fused_attention: bool

    @property
    def autocast(self) -> bool:
        """Trained weights are in float32 and are cast whenever they are used."""
        return self.compute == 2

    @property
    def lora_anywhere(self) -> bool:
        """PEFT wraps the model: parts trained in full alongside it are copies."""
        return "lora" in self.methods.values()

    @property
    def fused_cross_entropy(self) -> bool:
        """Output layer and loss are one function, and the last block is computed at supervised positions only."""
        return self.methods["language"] != "full"

    @property
    def vision_frozen(self) -> bool:
        """Images are encoded separately, without autograd."""
        return self.methods["vision"] == "none" and self.methods["projector"] == "none"

    def count_recomputed(self, depth: int) -> int:
        """How many of `depth` blocks are recomputed: the first of every interval."""
        return -(-depth // self.interval) if self.checkpointing else 0

    def is_recomputed(self, place: int) -> bool:
        """Whether the block at index `place` of its stack is recomputed."""
        return self.checkpointing and place % self.interval == 0

    def count_after_recomputed(self, depth: int) -> int:
        """How many blocks follow the last recomputed one."""
        return (depth - 1) % self.interval if self.checkpointing and depth else 0

    def copies_inputs(self, part: PartName) -> bool:
        """PEFT casts the input of each adapted layer to float32 and autocast casts it back, into a copy of its own.

        Quantized layers do not: they use the input as it is.
        """
        return self.autocast and not (part == "language" and self.quantization != "none")


def resolve_setup(spec: TrainingSpec, *, device: DeviceKind, can_pack: bool = True) -> TrainingSetup:
    """Resolve `spec` for a CUDA device with bitsandbytes installed, or for the CPU.

    Args:
        spec: the run.
        device: the kind of device.
        can_pack: the family has a token layout (`ModelFamily.layout`).
    """
    dtype: str = spec.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device == "cuda" else "float32"
    quantization = spec.quantization
    if quantization == "auto":
        quantization = "nf4" if device == "cuda" and spec.train_language != "full" else "none"
    packs = can_pack and spec.attention in ("auto", "sdpa", "flex") and spec.backend != "unsloth"
    return TrainingSetup(
        device=device,
        compute=_DTYPE_BYTES[dtype],
        dtype=dtype,
        quantization=quantization,
        methods={"language": spec.train_language, "projector": spec.train_projector, "vision": spec.train_vision},
        rank=spec.lora_r,
        dora=spec.use_dora,
        dropout=spec.lora_dropout > 0,
        checkpointing=spec.gradient_checkpointing,
        interval=spec.checkpointing_interval,
        optimizer=spec.optimizer,
        packed=packs and spec.layout != "padded",
        fused_attention=spec.attention != "eager",
    )
