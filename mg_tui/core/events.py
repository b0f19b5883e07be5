"""Events: the lines of a run's journal.

One JSON object a line, `{"v": 1, "n": 17, "t": 1764000000.123, "kind": "step", ...}`: schema version, number (from 1,
without gaps), Unix time in seconds, kind, then the fields of that kind. Readers ignore kinds and fields they do not
know, so that an older dashboard can follow a newer worker. `KINDS` is the one list of kinds and what each carries.

The last field, `crc`, is the CRC-32 of the line up to it, as eight hexadecimal digits: a damaged line is not an event.
Lines of older versions have none: their fields, those that readers calculate with, are checked.
"""

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = 1

KINDS: Final[Mapping[str, str]] = {
    # lifecycle: the newest of these, with the lock, is the run's state
    "created": "run folder created: name, spec_digest, spec (its values), cwd (what relative images are "
    "looked up in), versions",
    "queued": "run queued: gpus (what it asked for), by",
    "started": "worker acquired the lock: pid, host, attempt (1, 2, ...), resumed_from (step or null), home, "
    "lifetime (boot, container: what no process outlives), heartbeat (seconds between two), versions",
    "finished": "run completed: steps, seconds, result (folder), result_step, metrics, what it used (see step); of a "
    "job, reply (what its command prints as JSON)",
    "stopped": "run stopped on request: step, checkpoint (folder or null), checkpoint_seconds (from the request to a "
    "whole checkpoint), by, what it used (see step)",
    "failed": "run failed: error, what, where, why, hint, cause (of a failed step), step, rows, "
    "images, rank (the training process that was lost), exit_code, what it used (see step)",
    "spec_accepted": "a changed spec.json was accepted: spec_digest, spec (its values), by",
    # progress
    "phase": "what the worker is doing now: name (loading data, loading model, training, ...), detail",
    "plan": "what is going to happen: examples, eval_examples, steps, epochs, tokens_per_epoch, trainable (by part: "
    "method, parameters, trained, dtype, learning_rate), token_budget, estimate_bytes (of memory, at the peak), "
    "estimate (the same by part)",
    "measured": "what the worst forward pass took before the first step: tokens, held_bytes (before it), "
    "measured_bytes (at its peak), estimate_bytes, room_bytes (that can be had), budget (of tokens), why",
    "step": "an optimizer step; of an evaluation, step is the number of rows answered; of a job, that of parts done or "
    "bytes sent: step, epoch, loss, "
    "learning_rate, grad_norm, supervised_tokens, tokens, images, "
    "laid_out (tokens computed), images_encoded, images_cached, seconds, data_wait, device_memory, "
    "device_memory_peak, host_memory (bytes); at the logging interval what the run used of its GPUs so far, all "
    "attempts together: energy_j, gpu_seconds",
    "ranks": "how the training processes are, where there are several: ranks, a list of rank, pid, host, step, doing, "
    "seconds (of its share of the last step, without waiting), device_memory, device_memory_peak, host_memory (bytes), "
    "utilization (percent of its GPU, or of one core), silent (seconds since it wrote this)",
    "eval": "an evaluation: step, loss, seconds, examples; with metrics of answers also metrics (scores by name), "
    "answered (rows), answer_seconds and answers (folder of the rows, relative to the run folder)",
    "checkpoint": "a checkpoint is whole: step, path (relative to the run folder), bytes, seconds, eval_loss and "
    "eval_metrics (of an evaluation at this step), best_by and higher_is_better (the metric that decides, unless it is "
    "the loss), best (it is the best so far)",
    "checkpoint_removed": "retention removed a checkpoint: step, path, why",
    "sample": "a generation made while training: step, row, image, prompt, answer, expected",
    "serving": "a server accepts requests: url, models (their names), engine, base",
    "proof": "a served model was asked the rows that the trained one answers: model, outcome (alike, different, none), "
    "rows, alike, source, why (of none), and the rest as of `verify`",
    # talk
    "notice": "something a job tells: text",
    "decision": "something chosen for the user: what, value, why",
    "relaid": "a step did not fit and was laid out smaller, with the same gradients: step, rows, tokens, why, budget, "
    "rank (where it did not fit, if there are several)",
    "warning": "something they should know: what, where, why, hint, stack (of every thread, when the run stands still)",
    "rows_skipped": "rows left out: count, file (relative to the run folder)",
    "request": "a request from a face was seen: request (stop, checkpoint, ...), by",
}

CHECKSUM_FIELD: Final = "crc"
_CHECKSUM_START: Final = f',"{CHECKSUM_FIELD}":"'.encode()
_CHECKSUM_BYTES: Final = len(_CHECKSUM_START) + 8 + len('"}')

# Fields that an event of a kind cannot be without.
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "step": ("step",),
    "eval": ("step",),
    "checkpoint": ("step", "path"),
    "checkpoint_removed": ("path",),
    "sample": ("step",),
}
_COUNTS: Final = ("step", "steps", "attempt", "resumed_from", "supervised_tokens", "result_step")
_NUMBERS: Final = (
    *("loss", "learning_rate", "grad_norm", "eval_loss", "epoch", "seconds", "data_wait", "tokens", "images", "bytes"),
    *("device_memory", "device_memory_peak", "host_memory", "energy_j", "gpu_seconds"),
)
_TEXTS: Final = ("cwd", "path")


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a journal. `n` counts from 1; `t` is Unix time in seconds; `data` is the kind's own fields."""

    n: int
    t: float
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    v: int = SCHEMA_VERSION

    def to_line(self) -> str:
        """The event as one line of JSON with its checksum and newline. NaN and infinities are written as strings."""
        record = {"v": self.v, "n": self.n, "t": round(self.t, 3), "kind": self.kind, **json_safe(self.data)}
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))[:-1]
        crc = zlib.crc32(text.encode("utf-8", "surrogatepass"))
        return f'{text},"{CHECKSUM_FIELD}":"{crc:08x}"}}\n'

    @classmethod
    def from_line(cls, line: str | bytes) -> "Event":
        """Read one line.

        Raises:
            ValueError: the line is not a JSON object with a number, a time and a kind, was damaged since it was
                written, or has a value that its field cannot have.
        """
        data = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
        text = _without_checksum(data)
        record = json.loads(text)
        if not isinstance(record, dict):
            raise ValueError("an event is a JSON object")
        try:
            head = (int(record.pop("n")), float(record.pop("t")), str(record.pop("kind")), int(record.pop("v")))
        except (KeyError, TypeError) as error:
            raise ValueError(f"an event needs v, n, t and kind: {error}") from error
        number, time, kind, schema = head
        if text is data and kind in KINDS and schema <= SCHEMA_VERSION:
            _check_fields(kind, record)
        return cls(n=number, t=time, kind=kind, data=record, v=schema)


def _without_checksum(line: bytes) -> bytes:
    """The line without its checksum, if it has one.

    Raises:
        ValueError: the line is not the one the checksum was made of.
    """
    bare = line.rstrip()
    text, end = bare[:-_CHECKSUM_BYTES], bare[-_CHECKSUM_BYTES:]
    if not end.startswith(_CHECKSUM_START):
        return line
    if end[len(_CHECKSUM_START) : -2] != f"{zlib.crc32(text):08x}".encode():
        raise ValueError("its checksum differs: it was changed after it was written")
    return text + b"}"


def _check_fields(kind: str, record: Mapping[str, Any]) -> None:
    """Raise ValueError for a missing field, or a value that its field cannot have."""
    for name in _REQUIRED.get(kind, ()):
        if record.get(name) is None:
            raise ValueError(f"{kind} has no {name}")
    for names, fits in ((_COUNTS, _is_count), (_NUMBERS, _is_number), (_TEXTS, _is_text)):
        for name in names:
            if name in record and record[name] is not None and not fits(record[name]):
                raise ValueError(f"{name} of {kind} cannot be {record[name]!r:.40}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("nan", "inf", "-inf")  # see `json_safe`
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_PLAIN_TYPES = frozenset({str, int, bool, type(None)})


def json_safe(value: Any) -> Any:
    """`value` for JSON, which has no NaN: a loss that became one must still reach the reader, as "nan" or "inf"."""
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Mapping):
        return {key: json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value
