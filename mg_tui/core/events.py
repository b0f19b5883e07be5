"""Events: the lines of a run's journal.

One JSON object a line, `{"v": 1, "n": 17, "t": 1764000000.123, "kind": "step", ...}`: schema version, number (from 1,
without gaps), Unix time in seconds, kind, then the fields of that kind. Readers ignore kinds and fields they do not
know, so that an older dashboard can follow a newer worker. `KINDS` is the one list of kinds and what each carries.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = 1

KINDS: Final[Mapping[str, str]] = {
    # lifecycle: the newest of these, with the lock, is the run's state
    "created": "run folder created: name, spec_digest, cwd (what relative images are looked up in), versions",
    "queued": "run queued: gpus (what it asked for), by",
    "started": "worker acquired the lock: pid, host, attempt (1, 2, ...), resumed_from (step or null), home, "
    "lifetime (boot, container: what no process outlives), versions",
    "finished": "run completed: steps, seconds, result (folder), result_step, metrics, what it used (see step)",
    "stopped": "run stopped on request: step, checkpoint (folder or null), by, what it used (see step)",
    "failed": "run failed: error, what, where, why, hint, cause (of a failed step), step, rows, "
    "images, exit_code, what it used (see step)",
    # progress
    "phase": "what the worker is doing now: name (loading data, loading model, training, ...), detail",
    "plan": "what is going to happen: examples, eval_examples, steps, epochs, tokens_per_epoch, trainable (by part: "
    "method, parameters, trained, dtype, learning_rate), token_budget, estimate_bytes (of memory, at the peak), "
    "estimate (the same by part)",
    "measured": "what the worst forward pass took before the first step: tokens, held_bytes (before it), "
    "measured_bytes (at its peak), estimate_bytes, room_bytes (that can be had), budget (of tokens), why",
    "step": "an optimizer step; of an evaluation, step is the number of rows answered: step, epoch, loss, "
    "learning_rate, grad_norm, supervised_tokens, tokens, images, "
    "laid_out (tokens computed), images_encoded, images_cached, seconds, data_wait, device_memory, "
    "device_memory_peak, host_memory (bytes); at the logging interval what the run used of its GPUs so far, all "
    "attempts together: energy_j, gpu_seconds",
    "eval": "an evaluation: step, loss, seconds, examples",
    "checkpoint": "a checkpoint is whole: step, path (relative to the run folder), bytes, seconds, eval_loss (of an "
    "evaluation at this step), best (that loss is the lowest so far)",
    "checkpoint_removed": "retention removed a checkpoint: step, path, why",
    "sample": "a generation made while training: step, row, image, prompt, answer, expected",
    # talk
    "decision": "something chosen for the user: what, value, why",
    "relaid": "a step did not fit and was laid out smaller, with the same gradients: step, rows, tokens, why, budget",
    "warning": "something they should know: what, where, why, hint, stack (of every thread, when the run stands still)",
    "rows_skipped": "rows left out: count, file (relative to the run folder)",
    "request": "a request from a face was seen: request (stop, checkpoint, ...), by",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a journal. `n` counts from 1; `t` is Unix time in seconds; `data` is the kind's own fields."""

    n: int
    t: float
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    v: int = SCHEMA_VERSION

    def to_line(self) -> str:
        """The event as one line of JSON with its newline. NaN and infinities are written as strings."""
        record = {"v": self.v, "n": self.n, "t": round(self.t, 3), "kind": self.kind, **json_safe(self.data)}
        return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> "Event":
        """Read one line.

        Raises:
            ValueError: the line is not a JSON object with a number, a time and a kind.
        """
        record = json.loads(line)
        if not isinstance(record, dict):
            raise ValueError("an event is a JSON object")
        try:
            head = (int(record.pop("n")), float(record.pop("t")), str(record.pop("kind")), int(record.pop("v")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"an event needs v, n, t and kind: {error}") from error
        number, time, kind, schema = head
        return cls(n=number, t=time, kind=kind, data=record, v=schema)


def json_safe(value: Any) -> Any:
    """`value` for JSON, which has no NaN: a loss that became one must still reach the reader, as "nan" or "inf"."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value
