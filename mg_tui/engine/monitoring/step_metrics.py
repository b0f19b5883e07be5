"""Measurements of the current step, for the journal."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class StepMetrics:
    """Measurements of the current step. `started` is `time.perf_counter()`, `data_wait` is in seconds, `rows` are rows
    of the dataset file; `laid_out` counts computed tokens, shared ones once."""

    started: float = 0.0
    data_wait: float = 0.0
    loss: float = 0.0
    grad_norm: float | None = None
    learning_rate: float = 0.0
    supervised_tokens: int = 0
    tokens: int = 0
    laid_out: int = 0
    images: int = 0
    images_encoded: int = 0
    images_cached: int = 0
    rows: tuple[int, ...] = field(default=())
