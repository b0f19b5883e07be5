"""How many rows decode together, from what memory there is. Arithmetic but for asking the device what is free."""

from dataclasses import dataclass, replace
from typing import Any, Final, Self

import torch

from mg_tui.engine.layout.budget import enough

# Rows. A CPU's products are full with these, and a further one costs its time; on a GPU more come for next to nothing.
CPU_ROWS: Final = 32
CUDA_ROWS: Final = 256
# Tokens of a pass over prompts. A pass on a CPU ends long before where rows share nothing (see `layout.budget`).
CPU_PASS: Final = 2048
CUDA_PASS: Final = 8192
# Of the memory that is free, for keys and values; passes and logits take from the rest.
CPU_SHARE: Final = 0.25
CUDA_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be on the device at once.

    Attributes:
        rows: that decode together.
        tokens: places of keys and values, of all rows together, those they may still generate included. A row that
            needs more goes alone.
        prompt: tokens of a forward pass over prompts; a longer row goes alone.
        enough: tokens from which on such a pass ends before a row that shares nothing with it; None on a GPU.
    """

    rows: int
    tokens: int
    prompt: int
    enough: int | None = None

    def __post_init__(self) -> None:
        if min(self.rows, self.tokens, self.prompt) < 1:
            raise ValueError(f"a budget is positive, got {self}")

    @classmethod
    def of(cls, model: Any) -> Self:
        """The budget for a model on its device, by its free memory."""
        device = torch.device(model.device)
        config = model.config.get_text_config()
        place = token_bytes(config, model.dtype)
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            # Logits come as numbers of the model, and once more as float32 where something is drawn.
            logits = config.vocab_size * (model.dtype.itemsize + 4)
            rows = max(1, min(CUDA_ROWS, int(free * CUDA_SHARE / 2) // logits))
            return cls(rows, max(1, int(free * CUDA_SHARE) // place), CUDA_PASS)
        import psutil

        tokens = int(psutil.virtual_memory().available * CPU_SHARE) // place
        return cls(CPU_ROWS, max(1, tokens), CPU_PASS, enough(config.hidden_size, small=True))

    def halved(self) -> Self:
        """Half of everything; what is one stays one."""
        return replace(
            self, rows=max(1, self.rows // 2), tokens=max(1, self.tokens // 2), prompt=max(1, self.prompt // 2)
        )


def token_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of the keys and values of one token, over all layers, by the configuration of a language model."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * dtype.itemsize)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the machine, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
