"""The stream of a run's steps, prepared by worker processes ahead of training.

It continues across epochs and starts at any step, so that a resumed run reads no rows that it does not train on.
"""

import contextlib
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from mg_tui.engine.batching import data_workers
from mg_tui.engine.batching.batches import StepBatch, StepDataset, to_tensor
from mg_tui.engine.compute import malloc

if TYPE_CHECKING:
    from mg_tui.core.example import Example


class StepStream:
    """The loader that training iterates over epoch by epoch: one uninterrupted stream of steps.

    `start` is the first step (optimizer steps already done), `total` the number of steps of the whole run. Reading
    begins with `open`, which forks the workers: call it before a CUDA context or much memory would be forked.
    Without `shared_memory` batches come from the workers through pipes: slower, but a container's 64 MiB of shared
    memory do not hold a step with images. With `give_back` free memory goes back to the system between steps.
    """

    def __init__(
        self,
        dataset: StepDataset,
        *,
        start: int,
        total: int,
        workers: int,
        pin_memory: bool,
        shared_memory: bool = True,
        give_back: bool = False,
    ):
        self.dataset = dataset
        self.total = total
        self.next_step = start
        self._trim_memory = give_back
        self._stream: Iterator[StepBatch] | None = None
        self._loader: DataLoader[StepBatch] = DataLoader(
            dataset,
            batch_size=None,
            sampler=range(start, total),
            num_workers=workers,
            collate_fn=_identity if shared_memory or not workers else _to_arrays,
            pin_memory=pin_memory,
            prefetch_factor=2 if workers else None,
            multiprocessing_context="fork" if workers else None,
            worker_init_fn=_init_worker,
            # Not the global generator: the loader draws a seed, which must not change the run's random numbers.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.dataset)

    def examples_of(self, step: int) -> "list[Example]":
        """The examples of a step (from 0), including those that cannot be read."""
        return [self.dataset.examples[index] for index in self.dataset.plan.step(step)]

    def open(self) -> None:
        """Start the workers; they read ahead from now on."""
        if self._stream is None:
            self._stream = iter(self._loader)

    def __iter__(self) -> Iterator[StepBatch]:
        """The steps that are left of the current epoch."""
        self.open()
        assert self._stream is not None
        while self.next_step < self.total:
            if self._trim_memory:
                malloc.trim()
            try:
                batch = next(self._stream)
            except (RuntimeError, OSError, EOFError) as error:
                data_workers.raise_if_died(self._stream, error)
                raise
            batch = batch.map_values(to_tensor)
            self.next_step += 1
            yield batch
            if self.next_step % len(self) == 0:
                return

    def close(self) -> None:
        """End the workers."""
        stream, self._stream = self._stream, None
        shutdown = getattr(stream, "_shutdown_workers", None)
        if shutdown is not None:
            shutdown()


def choose_worker_count(requested: int | None, *, cuda: bool) -> tuple[int, str]:
    """The number of data workers and the reason, for the journal.

    Measured on two cores that train as well: steps are no faster with two workers, mostly a few percent slower, and
    each worker takes 20 to 50 MiB.
    """
    if requested is not None:
        return requested, "requested"
    if cuda:
        return 2, "they read while the GPU computes"
    return 0, "on a CPU training keeps the cores busy itself, and workers would only take memory"


def _identity(item: StepBatch) -> StepBatch:
    return item


def _to_arrays(item: StepBatch) -> StepBatch:
    return item.map_values(lambda value: value.numpy() if torch.is_tensor(value) else value)


def _init_worker(_worker: int) -> None:
    """Have the worker die with its parent and ignore signals: after a stop request the step's data is still needed."""
    malloc.trim_above(larger_than=2**16)  # of which a worker has few
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class DataWait:
    """Measures the seconds spent waiting for the next item of an iterator."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def next_item(self, iterator: Iterator[Any]) -> Any:
        """The next item, or None at the end; `seconds` is how long this one took."""
        start = time.perf_counter()
        item = next(iterator, None)
        self.seconds = time.perf_counter() - start
        return item
