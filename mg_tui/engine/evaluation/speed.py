"""How fast a model answers: latency, throughput and peak memory at batch 1, 4 and 16, over rows of the evaluation.

Of a server, a batch is so many requests at once, and memory is not known. The first batch of each size is a warm-up and
is not counted. Latencies are the seconds until the first and the last token of a row, from the start of its batch or
request. Rows of a batch are answered as in an evaluation: they share the images and texts they have in common.
"""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mg_tui.core.errors import EnvironmentProblem
from mg_tui.core.evaluation_spec import EvaluationSpec
from mg_tui.core.example import Example
from mg_tui.core.files import write_atomic
from mg_tui.engine.evaluation.answerer import Answerer, Poll
from mg_tui.engine.evaluation.endpoint import Endpoint
from mg_tui.engine.evaluation.local import LocalModel
from mg_tui.engine.evaluation.protocol import server_message

if TYPE_CHECKING:
    from mg_tui.engine.generation.budget import GenerationBudget
    from mg_tui.engine.generation.interface import GenerationModel

BATCH_SIZES: Final = (1, 4, 16)
_ROUNDS: Final = 3  # of a batch size, beside the warm-up; more for small ones
_LEAST_REQUESTS: Final = 8
_MEMORY_POLL: Final = 0.01  # seconds


@dataclass(frozen=True, slots=True)
class Timing:
    """One row: seconds from the start of its batch, or of its request, until its first and its last token; tokens
    generated, images read."""

    first: float
    whole: float
    tokens: int
    images: int


@dataclass(frozen=True, slots=True)
class Speed:
    """One batch size. Seconds; tokens and images a second over all rows; bytes. `batches`: how many rows were timed.

    Attributes:
        peak_memory: of the device with the model; of the whole process on a CPU; None of a server.
    """

    batch: int
    batches: int
    first_token_median: float
    first_token_p95: float
    whole_median: float
    whole_p95: float
    tokens_per_second: float
    images_per_second: float
    peak_memory: int | None


def measure_speed(
    path: Path, answerer: Answerer, examples: Sequence[Example], spec: EvaluationSpec, poll: Poll
) -> list[Speed]:
    """Measure each batch size and write the file.

    Raises:
        EnvironmentProblem: a batch does not fit into memory, or the server fails.
    """
    measured = []
    for batch in BATCH_SIZES:
        if isinstance(answerer, Endpoint):
            measured.append(_summary(batch, *_measure_endpoint(answerer, examples, batch, poll), None))
        else:
            assert isinstance(answerer, LocalModel)
            with _PeakMemory(answerer.loaded().device) as memory:
                samples = _measure_local(answerer, examples, batch, spec.max_new_tokens, poll)
            measured.append(_summary(batch, *samples, memory.peak))
    record = {
        "rows": len(examples),
        "max_new_tokens": spec.max_new_tokens,
        "speed": [asdict(each) for each in measured],
    }
    write_atomic(path, (json.dumps(record, indent=2) + "\n").encode())
    return measured


def _batches(examples: Sequence[Example], batch: int) -> list[list[Example]]:
    """Batches of rows, the first for warming up; rows come again when there are too few."""
    rounds = 1 + max(_ROUNDS, -(-_LEAST_REQUESTS // batch))
    return [[examples[(number * batch + place) % len(examples)] for place in range(batch)] for number in range(rounds)]


def _measure_local(
    model: LocalModel, examples: Sequence[Example], batch: int, max_new_tokens: int, poll: Poll
) -> tuple[list[Timing], float]:
    """Timings, and the seconds of all batches together."""
    from mg_tui.engine.evaluation.backend import answer_budget
    from mg_tui.engine.generation.interface import GenerationModel

    generation = GenerationModel.from_loaded(model.loaded())
    budget = answer_budget(generation, batch)
    timings: list[Timing] = []
    began = time.monotonic()
    with model.without_adapter():
        for number, rows in enumerate(_batches(examples, batch)):
            poll()
            if number == 1:
                began = time.monotonic()
            timed = _time_batch(generation, rows, budget, max_new_tokens)
            timings += timed if number else []
    return timings, time.monotonic() - began


def _time_batch(
    model: "GenerationModel", rows: Sequence[Example], budget: "GenerationBudget", max_new_tokens: int
) -> list[Timing]:
    """Answer one batch greedily, as an evaluation does; reading the images counts."""
    from mg_tui.engine.generation.generate import generate_rows
    from mg_tui.engine.inference.generation import Sampling

    timings = []
    began = time.monotonic()
    for found in generate_rows(model, rows, Sampling(max_new_tokens=max_new_tokens), budget):
        whole = time.monotonic() - began
        first = whole - found.answer.seconds + found.answer.first_token_seconds
        timings.append(Timing(max(first, 0.0), whole, found.answer.tokens, len(found.example.images)))
    return timings


def _measure_endpoint(
    endpoint: Endpoint, examples: Sequence[Example], batch: int, poll: Poll
) -> tuple[list[Timing], float]:
    return asyncio.run(_stream_batches(endpoint, _batches(examples, batch), poll))


async def _stream_batches(
    endpoint: Endpoint, batches: Sequence[Sequence[Example]], poll: Poll
) -> tuple[list[Timing], float]:
    timings: list[Timing] = []
    began = time.monotonic()
    async with endpoint.client() as client:
        for number, rows in enumerate(batches):
            poll()
            if number == 1:
                began = time.monotonic()
            samples = await asyncio.gather(*(_stream(endpoint, client, example) for example in rows))
            timings += samples if number else []
    return timings, time.monotonic() - began


async def _stream(endpoint: Endpoint, client: Any, example: Example) -> Timing:
    """One request, its answer streamed: server-sent events whose lines begin with `data:`."""
    import httpx

    body = await asyncio.to_thread(endpoint.request_body, example, stream=True, stream_options={"include_usage": True})
    began = time.monotonic()
    first, tokens, pieces = None, None, 0
    try:
        async with client.stream("POST", endpoint.url, json=body) as response:
            if response.status_code != 200:
                await response.aread()
                raise EnvironmentProblem(
                    f"the server refused a streamed answer with status {response.status_code}",
                    where=endpoint.url,
                    why=server_message(response),
                    hint="leave --speed out",
                )
            async for line in response.aiter_lines():
                text, used = _parse_event(line)
                tokens = used if used is not None else tokens
                if text:
                    pieces += 1
                    first = first or time.monotonic()
    except httpx.HTTPError as error:
        raise EnvironmentProblem(
            "the server failed while speed was measured", where=endpoint.url, why=str(error) or type(error).__name__
        ) from None
    ended = time.monotonic()
    return Timing((first or ended) - began, ended - began, pieces if tokens is None else tokens, len(example.images))


def _parse_event(line: str) -> tuple[str, int | None]:
    """The piece of text of a line, and the number of tokens where the server says it."""
    try:
        record = json.loads(line.removeprefix("data:"))
        usage, choices = record.get("usage"), record.get("choices") or []
        text = choices[0].get("delta", {}).get("content") if choices else ""
    except (ValueError, AttributeError, IndexError):
        return "", None
    return text or "", usage.get("completion_tokens") if isinstance(usage, dict) else None


def _summary(batch: int, timings: Sequence[Timing], seconds: float, peak: int | None) -> Speed:
    first, whole = [timing.first for timing in timings], [timing.whole for timing in timings]
    return Speed(
        batch=batch,
        batches=len(timings),
        first_token_median=round(statistics.median(first), 4),
        first_token_p95=round(_p95(first), 4),
        whole_median=round(statistics.median(whole), 4),
        whole_p95=round(_p95(whole), 4),
        tokens_per_second=round(sum(timing.tokens for timing in timings) / seconds, 2),
        images_per_second=round(sum(timing.images for timing in timings) / seconds, 2),
        peak_memory=peak,
    )


def _p95(values: Sequence[float]) -> float:
    """The least value that 95 % of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(-(-95 * len(ordered) // 100) - 1, 0)]


class _PeakMemory:
    """The most memory in use within a block: of the CUDA device, else of this process, looked at often."""

    def __init__(self, device: str):
        self._cuda = device == "cuda"
        self.peak: int | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "_PeakMemory":
        if self._cuda:
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            import psutil

            self._thread = threading.Thread(target=self._watch, args=(psutil.Process().memory_info,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._cuda:
            import torch

            self.peak = int(torch.cuda.max_memory_allocated())
        elif self._thread is not None:
            self._ended.set()
            self._thread.join()

    def _watch(self, memory: Callable[[], Any]) -> None:
        while True:
            self.peak = max(self.peak or 0, int(memory().rss))
            if self._ended.wait(_MEMORY_POLL):
                return
