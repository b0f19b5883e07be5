"""Activation memory of a forward and backward pass, by operation: bytes per token (or patch) of each block.

Derived from the operations of a pre-norm decoder with RMSNorm, rotary positions, grouped-query attention and a
gated MLP, as transformers computes it with PEFT's LoRA under autocast, and from what autograd saves of each:

- a norm saves its input in float32 (the input itself where that is the compute dtype); with a trained scale also the
  normalized value, for the scale's gradient;
- rotary positions save nothing of the token: sine and cosine are shared by all blocks;
- fused attention saves its inputs (queries, keys, values), its output, and one float32 per head. With a mask
  keys and values are repeated for every query head first, and the mask becomes numbers to add, rows x length x length
  of them in each block. Where queries, keys and values are one matrix, all of it stays;
- a linear layer whose weights are trained saves its input, one whose weights are frozen nothing. LoRA's first matrix
  is such a layer: under autocast PEFT casts its input to float32 and autocast casts it back, so every adapted layer
  saves a copy of its own; quantized layers need no cast, and those that read the same tensor share it;
- a gated MLP saves both branches and the activated one; LoRA's second matrix saves the rank's worth of features.

What is alive only while an operation runs is largest in the MLP's last layer, whose input is widest: the product of
the branches, its float32 copy on the way into LoRA (or, going back, its gradients), and the hidden states around.
"""

from dataclasses import dataclass

from mg_tui.core.model_parts import PartName
from mg_tui.core.spec import TrainingMethod
from mg_tui.hardware.memory.assumptions import (
    DEQUANTIZED_MATRICES,
    DORA_MATRIX_BYTES,
    FLOAT32_BYTES,
    INT8_INPUT_BYTES,
    NF4_BLOCK,
)
from mg_tui.hardware.memory.training_setup import TrainingSetup
from mg_tui.hardware.memory.workload import Workload
from mg_tui.hardware.model_shape import TransformerStack

BOOL_BYTES = 1


@dataclass(frozen=True, slots=True)
class BlockMemory:
    """One block of a stack, in bytes.

    Attributes:
        saved: saved for the backward pass.
        transient: in addition to that, at the peak of the forward pass.
        backward_transient: in addition to that, at the peak of the backward pass.
        input: the block's input, all that is saved of it with checkpointing.
        shared: the part of `saved` that is the input itself.
        last: `saved` of the stack's last block, where that is computed for supervised positions only.
    """

    saved: float
    transient: float
    backward_transient: float
    input: float
    shared: float
    last: float

    @property
    def recompute_bytes(self) -> float:
        """Bytes, in addition to the input, of recomputing the block and its backward pass."""
        return self.saved - self.shared + max(self.transient, self.backward_transient)


def block_memory(
    stack: TransformerStack,
    part: PartName,
    setup: TrainingSetup,
    positions: int,
    *,
    mask: int = 0,
    masked: bool = False,
    supervised: int | None = None,
) -> BlockMemory:
    """One block of `stack`.

    Args:
        stack, part: the blocks, and the model part they belong to.
        setup: how the run computes.
        positions: tokens or patches.
        mask: total entries of the attention mask.
        masked: keys and values are repeated for every query head.
        supervised: number of positions that the last block is computed for; None for all.
    """
    if not stack.depth:
        return BlockMemory(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    method = setup.methods[part]
    residual = FLOAT32_BYTES if _residual_in_float32(part, method, setup) else setup.compute
    mlp = (3 if stack.gated else 2) * setup.compute * stack.intermediate
    saved = (
        _norm_bytes(stack, method, residual)
        + _attention_bytes(stack, setup, masked=masked)
        + _linear_input_bytes(stack, part, method, setup)
        + mlp
    )
    rotary = _rotary_bytes(stack, setup) - mlp  # freed before the MLP starts
    inner = setup.compute * stack.intermediate * positions  # the gradient of the MLP's product
    backward_transient = max(2 * inner, inner + _weight_gradient_bytes(stack, part, method, setup))
    transient = max(rotary, _widest_input_bytes(stack, part, method, setup, residual)) * positions
    if method == "lora" and setup.dora:
        transient += DORA_MATRIX_BYTES * stack.largest_matrix_weights
    input_bytes = residual * stack.width * positions
    whole = saved * positions + setup.compute * mask
    last = whole
    if supervised is not None and supervised < positions:
        everywhere = _norm_bytes(stack, method, residual) + _unsupervised_bytes(
            stack, part, method, setup, masked=masked
        )
        # Few queries attend to all keys, with a mask of their own.
        last = everywhere * positions + (saved - everywhere) * supervised + setup.compute * supervised * positions
    return BlockMemory(
        saved=whole,
        transient=transient,
        backward_transient=backward_transient,
        input=input_bytes,
        shared=input_bytes if residual == FLOAT32_BYTES else 0.0,
        last=last,
    )


def _residual_in_float32(part: PartName, method: TrainingMethod, setup: TrainingSetup) -> bool:
    """The hidden state is in float32: the token embedding is, when it is trained, and everything is added to it."""
    return part == "language" and method == "full" and setup.autocast


def _norm_bytes(stack: TransformerStack, method: TrainingMethod, residual: int) -> float:
    """Two norms: the input in float32; if their scales are trained, the normalized value too."""
    return 2 * stack.width * (FLOAT32_BYTES + (residual if method == "full" else 0))


def _attention_bytes(stack: TransformerStack, setup: TrainingSetup, *, masked: bool) -> float:
    keys = stack.queries if masked or not setup.fused_attention else stack.keys
    inputs = stack.queries + 2 * keys
    if stack.fused:  # rotated queries and keys, and the whole matrix that the values are a slice of
        inputs = 2 * stack.queries + 3 * stack.queries
    return setup.compute * (inputs + stack.queries) + FLOAT32_BYTES * stack.heads


def _unsupervised_bytes(
    stack: TransformerStack, part: PartName, method: TrainingMethod, setup: TrainingSetup, *, masked: bool
) -> float:
    """Bytes a block saves per unsupervised position: keys, values, and the inputs of their layers."""
    keys = stack.queries if masked or not setup.fused_attention else stack.keys
    inputs = 0 if method == "none" else stack.width * (2 if setup.copies_inputs(part) else 1)
    return float(setup.compute * (2 * keys + inputs))


def _linear_input_bytes(stack: TransformerStack, part: PartName, method: TrainingMethod, setup: TrainingSetup) -> float:
    """Bytes per position of the inputs that linear layers save, and what LoRA adds."""
    if method == "none":
        return 0.0
    # Segments that attended separately are concatenated: a tensor of its own.
    apart = stack.queries if stack.fused or (part == "language" and setup.packed) else 0
    once = 2 * stack.width + apart + stack.intermediate  # after each norm, the attention's output, the MLP's product
    if method == "full":
        # The attention's output and the MLP's product are in the compute dtype: saved as they are.
        return setup.compute * (stack.linear_inputs - stack.queries + apart if setup.autocast else once)
    count = sum(linear.times for linear in stack.linears) / stack.depth
    extra = setup.compute * setup.rank * count
    if setup.dora:  # outputs of the layer and its adapter, for the gradient of the magnitude
        extra += 2 * setup.compute * stack.linear_outputs
    if setup.dropout:  # the dropout mask; the dropped-out input is a tensor per layer
        extra += BOOL_BYTES * stack.linear_inputs
    separate = setup.dropout or setup.copies_inputs(part)
    return extra + setup.compute * (stack.linear_inputs if separate else once)


def _rotary_bytes(stack: TransformerStack, setup: TrainingSetup) -> float:
    """Rotary embeddings in float32: queries and keys, the rotated queries, and three temporaries of the keys."""
    if not stack.rotary_in_float32:
        return 0.0
    return 6 * FLOAT32_BYTES * stack.queries + setup.compute * 3 * stack.queries


def _widest_input_bytes(
    stack: TransformerStack, part: PartName, method: TrainingMethod, setup: TrainingSetup, residual: int
) -> float:
    """The MLP's product as input of the widest layer, and the hidden states around it."""
    around = 2 * (residual + setup.compute) * stack.width
    if method != "lora":
        return around
    inner = stack.intermediate
    if part == "language" and setup.quantization == "int8":
        return around + INT8_INPUT_BYTES * inner
    if not setup.copies_inputs(part):  # the product is what LoRA saves
        return around
    return around + (setup.compute + FLOAT32_BYTES + (FLOAT32_BYTES if setup.dropout else 0)) * inner


def _weight_gradient_bytes(
    stack: TransformerStack, part: PartName, method: TrainingMethod, setup: TrainingSetup
) -> float:
    """Temporary matrices of the size of a weight in a layer's backward pass."""
    matrix = stack.largest_matrix_weights
    if method == "full":  # the gradient of the cast copy, and its float32 conversion
        return float(matrix * (setup.compute + FLOAT32_BYTES if setup.autocast else FLOAT32_BYTES))
    if part == "language" and setup.quantization == "nf4":
        return DEQUANTIZED_MATRICES * matrix * (setup.compute + FLOAT32_BYTES / NF4_BLOCK)
    if part == "language" and setup.quantization == "int8":
        return float(DEQUANTIZED_MATRICES * matrix * setup.compute)
    return 0.0


def frozen_forward_bytes(stack: TransformerStack, setup: TrainingSetup) -> float:
    """Bytes per position at the peak of a forward pass without autograd, as through a frozen tower."""
    around = 2 * setup.compute * stack.width  # the hidden state and its normalized value
    mlp = (3 if stack.gated else 2) * setup.compute * stack.intermediate
    attending = 5 * setup.compute * stack.queries
    return around + max(_rotary_bytes(stack, setup), attending, mlp)


def eager_attention_bytes(stack: TransformerStack, setup: TrainingSetup, work: Workload) -> float:
    """Bytes of the attention weights that one block saves with eager attention: twice per head."""
    if setup.fused_attention:
        return 0.0
    return stack.heads * work.rows * work.length**2 * 2 * setup.compute
