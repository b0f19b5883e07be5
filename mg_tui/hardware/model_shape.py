"""The shape of a model for memory estimates: parameter counts and widths, without weights or torch.

A family turns a checkpoint's `config.json` into a `ModelShape` (`ModelFamily.shape`); otherwise
`checkpoint_shape` derives one from the checkpoint's files. The estimate uses nothing else of an architecture.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinearLayers:
    """`times` equal linear layers, each with `inputs` x `outputs` weights and an optional bias."""

    name: str
    inputs: int
    outputs: int
    times: int = 1
    bias: bool = False

    @property
    def weights(self) -> int:
        """Entries of one matrix."""
        return self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        """Entries of all matrices and biases."""
        return self.times * (self.weights + (self.outputs if self.bias else 0))


@dataclass(frozen=True, slots=True)
class TransformerStack:
    """A stack of equal transformer blocks.

    Attributes:
        depth: number of blocks.
        width: features of the hidden state.
        intermediate: features inside the MLP.
        heads, head_dim: of the queries; `kv_heads` of keys and values.
        linears: every linear layer of the stack; LoRA is applied to these only.
        other_parameters: parameters outside `linears`: norms, patch embedding, positions; not token embeddings or the
            output layer.
        gated: the MLP multiplies two branches (`gate` and `up`), one of them activated.
        fused: queries, keys and values are one matrix, and segments of a sequence (images) attend separately.
        rotary_in_float32: rotary embeddings are applied in float32, independent of the compute dtype.
    """

    depth: int
    width: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    linears: tuple[LinearLayers, ...]
    other_parameters: int
    gated: bool = True
    fused: bool = False
    rotary_in_float32: bool = False

    @property
    def queries(self) -> int:
        """Features of the queries of all heads."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Features of the keys of all heads, and of the values."""
        return self.kv_heads * self.head_dim

    @property
    def matrix_weights(self) -> int:
        """Entries of all matrices: the part that quantization shrinks."""
        return sum(linear.times * linear.weights for linear in self.linears)

    @property
    def linear_parameters(self) -> int:
        """Entries of all matrices and their biases."""
        return sum(linear.parameters for linear in self.linears)

    @property
    def parameters(self) -> int:
        """All parameters of the stack."""
        return self.linear_parameters + self.other_parameters

    @property
    def linear_inputs(self) -> float:
        """Sum of the input features of one block's linear layers."""
        return sum(linear.times * linear.inputs for linear in self.linears) / max(self.depth, 1)

    @property
    def linear_outputs(self) -> float:
        """Sum of the output features of one block's linear layers."""
        return sum(linear.times * linear.outputs for linear in self.linears) / max(self.depth, 1)

    @property
    def largest_matrix_weights(self) -> int:
        """Entries of the largest matrix."""
        return max((linear.weights for linear in self.linears), default=0)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A vision-language model: a vision tower, a projector and a language model.

    Attributes:
        language: the decoder, without token embeddings and output layer.
        vision: the tower.
        projector: the linear layers between them.
        projector_other: parameters of the projector outside its linear layers.
        vocabulary: rows of the token embedding and of the output layer.
        tied_embeddings: the output layer is the token embedding.
        patches_per_token: patches of an image that the projector merges into one token.
        pixels_per_patch: pixels of an image that one patch covers.
        values_per_patch: numbers in the processor's output for one patch.
        exact: the counts are the architecture's; False where some of them are inferred.
    """

    language: TransformerStack
    vision: TransformerStack
    projector: tuple[LinearLayers, ...]
    projector_other: int
    vocabulary: int
    tied_embeddings: bool
    patches_per_token: int
    pixels_per_patch: int
    values_per_patch: int
    exact: bool = True

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding."""
        return self.vocabulary * self.language.width

    @property
    def head_parameters(self) -> int:
        """Parameters of the output layer that are not the embedding's."""
        return 0 if self.tied_embeddings else self.embedding_parameters

    @property
    def projector_parameters(self) -> int:
        """Parameters of the projector."""
        return sum(linear.parameters for linear in self.projector) + self.projector_other

    @property
    def language_parameters(self) -> int:
        """Parameters of the language part, embedding and output layer included."""
        return self.language.parameters + self.embedding_parameters + self.head_parameters

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.language_parameters + self.vision.parameters + self.projector_parameters

    @property
    def pixels_per_token(self) -> int:
        """Pixels of an image that become one token."""
        return self.pixels_per_patch * self.patches_per_token


def lora_parameters(linears: tuple[LinearLayers, ...], rank: int, *, dora: bool = False) -> int:
    """Parameters that LoRA of this rank adds to linear layers: two matrices each, and with DoRA a magnitude."""
    return sum(
        linear.times * (rank * (linear.inputs + linear.outputs) + (linear.outputs if dora else 0)) for linear in linears
    )
