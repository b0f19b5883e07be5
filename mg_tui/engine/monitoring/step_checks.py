"""Checks of every step. An error names the step and its rows."""

import math
from collections.abc import Sequence
from typing import Literal

from mg_tui.core.errors import RunFailed

_NAN_HINT = (
    "lower the learning rate, warm up longer, clip gradients (max_grad_norm), use bfloat16 or float32 where it was "
    "float16, and look at the rows named"
)


FailureCause = Literal["not finite", "nothing to learn", "no memory", "unreadable"]


class StepFailed(RunFailed):
    """A step that must not be applied. `step` counts from 1; `rows` are rows of the dataset file."""

    def __init__(
        self,
        what: str,
        *,
        step: int,
        rows: Sequence[int],
        cause: FailureCause,
        why: str | None = None,
        hint: str | None = None,
    ):
        super().__init__(what, where=f"step {step}, {format_rows(rows)}", why=why, hint=hint)
        self.step = step
        self.rows = tuple(rows)
        self.cause = cause


def format_rows(rows: Sequence[int], limit: int = 16) -> str:
    """ "rows 3, 17, 4 and 12 more" """
    listed = ", ".join(map(str, rows[:limit]))
    more = f" and {len(rows) - limit} more" if len(rows) > limit else ""
    return f"row{'s' if len(rows) != 1 else ''} {listed}{more}"


def require_finite_loss(loss: float, *, step: int, rows: Sequence[int]) -> None:
    """Raises StepFailed when the loss is NaN or infinite."""
    if not math.isfinite(loss):
        raise StepFailed(
            f"the loss became {loss} at step {step}",
            step=step,
            rows=rows,
            cause="not finite",
            why="usually the learning rate is too high, or float16 overflowed; the weights before this step are intact "
            "in the last checkpoint",
            hint=_NAN_HINT,
        )


def require_finite_gradient(norm: float | None, *, step: int, rows: Sequence[int], scaled: bool) -> None:
    """Raises StepFailed when the gradient is NaN or infinite; a loss scaler (float16) skips such steps by itself."""
    if norm is not None and not math.isfinite(norm) and not scaled:
        raise StepFailed(
            f"the gradient became {norm} at step {step}",
            step=step,
            rows=rows,
            cause="not finite",
            why="the loss was finite but its gradient overflowed; the step was not applied",
            hint=_NAN_HINT,
        )


def require_supervised_tokens(tokens: int, *, step: int, rows: Sequence[int]) -> None:
    """Raises StepFailed when a step has no supervised tokens."""
    if tokens == 0:
        raise StepFailed(
            f"step {step} has no token to learn",
            step=step,
            rows=rows,
            cause="nothing to learn",
            why="every answer of the step is empty after the template was applied",
            hint="look at the rows' response field",
        )


def require_readable_rows(*, step: int, rows: Sequence[int], readable: int, why: str | None, hint: str | None) -> None:
    """Raises StepFailed when none of a step's rows can be read any more: there is nothing to skip them for."""
    if readable == 0:
        raise StepFailed(
            f"no row of step {step} can be read any more",
            step=step,
            rows=rows,
            cause="unreadable",
            why=why,
            hint=hint or "they could be read when the run started; restore the images and resume the run",
        )


def step_out_of_memory(*, step: int, rows: Sequence[int], tokens: int, images: int, why: str) -> StepFailed:
    """The error for a step that did not fit on the device."""
    return StepFailed(
        f"out of GPU memory at step {step}",
        step=step,
        rows=rows,
        cause="no memory",
        why=f"{tokens:,} tokens and {images} images in one forward pass; {why.splitlines()[0] if why else ''}".rstrip(
            "; "
        ),
        hint="lower max_pixels or max_seq_length, keep gradient_checkpointing on, or quantize (quantization nf4)",
    )


def evaluation_out_of_memory(why: str) -> RunFailed:
    """The error for an evaluation that did not fit on the device one example at a time."""
    return RunFailed(
        "out of GPU memory in the evaluation",
        why=why.splitlines()[0] if why else None,
        hint="lower max_pixels or max_seq_length, or leave the evaluation out; the last checkpoint can be resumed",
    )
