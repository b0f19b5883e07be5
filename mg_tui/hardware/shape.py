"""The shape of a model as memory sees it: parameter counts and widths, without weights and without torch.

A family turns a checkpoint's `config.json` into a `ModelShape`; the estimate needs nothing else of an architecture.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer: `inputs` x `outputs` weights, with `outputs` biases if `bias`; `name` as LoRA targets have it."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Entries of the matrix."""
        return self.inputs * self.outputs

    @property
    def parameters(self) -> int:
        """Entries of the matrix and of the bias."""
        return self.weights + (self.outputs if self.bias else 0)


@dataclass(frozen=True, slots=True)
class Stack:
    """Equal transformer blocks.

    Attributes:
        depth: number of blocks.
        width: features of the hidden state.
        intermediate: features inside the MLP.
        heads, head_dim: of the queries; `kv_heads` of keys and values.
        linears: the linear layers of one block.
        norms: entries of the norms of one block.
        outside: parameters of the stack outside its blocks (embeddings, patch embedding, last norm).
    """

    depth: int
    width: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    linears: tuple[Linear, ...]
    norms: int
    outside: int

    @property
    def matrix_weights(self) -> int:
        """Entries of all matrices of all blocks: what quantisation shrinks."""
        return self.depth * sum(linear.weights for linear in self.linears)

    @property
    def parameters(self) -> int:
        """All parameters of the stack."""
        return self.depth * (sum(linear.parameters for linear in self.linears) + self.norms) + self.outside


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A vision-language model: a vision tower, a projector and a language model.

    Attributes:
        language: the decoder; its `outside` holds the token embedding and the last norm, not the head.
        vision: the tower.
        projector: the linear layers between them, and `projector_norms` entries of norms.
        vocabulary: rows of the token embedding and of the head.
        tied_head: the head is the token embedding.
        patches_per_token: image patches that the projector makes into one token.
    """

    language: Stack
    vision: Stack
    projector: tuple[Linear, ...]
    projector_norms: int
    vocabulary: int
    tied_head: bool
    patches_per_token: int

    @property
    def head(self) -> int:
        """Parameters of the head that are not the embedding's."""
        return 0 if self.tied_head else self.vocabulary * self.language.width

    @property
    def projector_parameters(self) -> int:
        """Parameters of the projector."""
        return sum(linear.parameters for linear in self.projector) + self.projector_norms

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.language.parameters + self.head + self.vision.parameters + self.projector_parameters
