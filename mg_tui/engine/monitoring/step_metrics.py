"""What is known of the step that is being done, for the journal."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class StepMetrics:
    """What is known of the step being done, for the journal. `data_wait` in seconds; `rows` of the dataset file."""

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
