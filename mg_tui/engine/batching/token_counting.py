"""Counts the text tokens of many examples, in several processes where there are many.

The processes are forked, so that tokenizer and examples are not copied, and end with the call. Whatever ends one of
them early, its examples are counted by this process.
"""

import ctypes
import multiprocessing
import os
import signal
from array import array
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Final

from mg_tui.core.errors import GardenError
from mg_tui.core.example import Example
from mg_tui.data.checks.lengths import TextTokenCounts
from mg_tui.families.collate import ExampleEncoder
from mg_tui.hardware.host import usable_cores

_CHUNK_EXAMPLES: Final = 512
# Below, forking takes longer than it saves.
_MIN_EXAMPLES_PER_PROCESS: Final = 4096
_MAX_PROCESSES: Final = 8


class EncoderTokenCounter:
    """Counts with an encoder of this process; see `TextTokenCounter`.

    Args:
        encoder: the collator of the run.
        identity: see `mg_tui.preflight.token_counter.counter_identity`.
        processes: the most processes; by default one per usable core, at most eight.
    """

    def __init__(self, encoder: ExampleEncoder, identity: str, processes: int | None = None):
        self.identity = identity
        self._encoder = encoder
        self._processes = processes or min(usable_cores(), _MAX_PROCESSES)

    def count(self, examples: Sequence[Example]) -> list[TextTokenCounts]:
        """See `TextTokenCounter`."""
        processes = min(self._processes, len(examples) // _MIN_EXAMPLES_PER_PROCESS)
        if processes < 2:
            return self._count_span(examples, range(len(examples)))
        return self._count_in_processes(examples, processes)

    def _count_span(self, examples: Sequence[Example], span: range) -> list[TextTokenCounts]:
        counts: list[TextTokenCounts] = []
        for start in span[::_CHUNK_EXAMPLES]:
            chunk = list(examples[start : min(start + _CHUNK_EXAMPLES, span.stop)])
            counts += [
                describe_failure(count) if isinstance(count, GardenError) else count
                for count in self._encoder.count_tokens(chunk)
            ]
        return counts

    def _count_in_processes(self, examples: Sequence[Example], processes: int) -> list[TextTokenCounts]:
        context = multiprocessing.get_context("fork")
        bounds = [len(examples) * number // processes for number in range(processes + 1)]
        spans = [range(first, last) for first, last in pairwise(bounds)]
        children: list[tuple[ForkProcess, Connection]] = []
        counts: list[TextTokenCounts] = []
        try:
            for span in spans:
                receiver, sender = context.Pipe(duplex=False)
                child = context.Process(target=self._serve_span, args=(sender, examples, span), daemon=True)
                child.start()
                sender.close()
                children.append((child, receiver))
            for span, (_child, receiver) in zip(spans, children, strict=True):
                found = _receive(receiver, len(span))
                counts += self._count_span(examples, span) if found is None else found
        finally:
            for child, receiver in children:
                receiver.close()
                child.kill()
                child.join()
        return counts

    def _serve_span(self, sender: Connection, examples: Sequence[Example], span: range) -> None:
        """In a child: count and send."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive a run that is killed
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        counts = self._count_span(examples, span)
        failed = {index: count for index, count in enumerate(counts) if isinstance(count, str)}
        with suppress(OSError):
            for position in (0, 1):
                values = array("I", (0 if isinstance(count, str) else count[position] for count in counts))
                sender.send_bytes(values.tobytes())
            sender.send(failed)


def _receive(receiver: Connection, count: int) -> list[TextTokenCounts] | None:
    """The counts that a child sends; None when it has ended without."""
    try:
        totals, supervised = array("I", receiver.recv_bytes()), array("I", receiver.recv_bytes())
        failed: dict[int, str] = receiver.recv()
    except (EOFError, OSError):
        return None
    if len(totals) != count or len(supervised) != count:
        return None
    pairs = enumerate(zip(totals, supervised, strict=True))
    return [failed.get(index, pair) for index, pair in pairs]


def describe_failure(error: GardenError) -> str:
    """Why a conversation cannot be counted, without its row."""
    what = error.what.partition(": ")[2] if error.what.startswith("row ") else error.what
    return f"{what} ({error.why})" if error.why else what
