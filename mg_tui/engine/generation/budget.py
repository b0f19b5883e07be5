"""Limits on what is in memory at once, from the device's free memory."""

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import torch

from mg_tui.engine.layout.budget import sufficient_tokens

# Rows. On a CPU, matrix products gain little beyond this number; on a GPU further rows cost next to nothing.
MAX_CPU_ROWS: Final = 32
MAX_CUDA_ROWS: Final = 256
# Tokens of a forward pass over prompts. On a CPU a pass of rows without a common prefix ends earlier (`layout.budget`).
MAX_CPU_PREFILL: Final = 2048
MAX_CUDA_PREFILL: Final = 8192
# Shares of the free memory for keys and values; activations and logits take from the rest.
CPU_SHARE: Final = 0.25
CUDA_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class GenerationBudget:
    """Limits on what is in memory at once.

    Attributes:
        rows: decoded together.
        kv_tokens: tokens whose keys and values are stored, of all rows together, including the tokens they may still
            generate. A row that needs more is decoded alone.
        prefill_tokens: of a forward pass over prompts; a longer row is prefilled alone.
        sufficient_tokens: see `packing.pack`; None on a GPU.
    """

    rows: int
    kv_tokens: int
    prefill_tokens: int
    sufficient_tokens: int | None = None

    def __post_init__(self) -> None:
        if min(self.rows, self.kv_tokens, self.prefill_tokens) < 1:
            raise ValueError(f"a budget must be positive, got {self}")

    @classmethod
    def from_free_memory(cls, model: Any) -> Self:
        """The budget for a model on its device."""
        device = torch.device(model.device)
        config = model.config.get_text_config()
        token_bytes = kv_bytes_per_token(config, model.dtype)
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            # Logits in the model's dtype, and in float32 for sampling.
            logit_bytes = config.vocab_size * (model.dtype.itemsize + 4)
            rows = max(1, min(MAX_CUDA_ROWS, int(free * CUDA_SHARE / 2) // logit_bytes))
            return cls(rows, max(1, int(free * CUDA_SHARE) // token_bytes), MAX_CUDA_PREFILL)
        import psutil

        kv_tokens = max(1, int(psutil.virtual_memory().available * CPU_SHARE) // token_bytes)
        return cls(MAX_CPU_ROWS, kv_tokens, MAX_CPU_PREFILL, sufficient_tokens(config.hidden_size, small=True))

    def halved(self) -> Self:
        """Half of each limit, at least one."""
        return replace(
            self,
            rows=max(1, self.rows // 2),
            kv_tokens=max(1, self.kv_tokens // 2),
            prefill_tokens=max(1, self.prefill_tokens // 2),
        )


def kv_bytes_per_token(config: Any, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of one token in all layers, from the configuration of a language model."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine has no free memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
